"""A file is whole or absent."""

from pathlib import Path

import pytest

from pipeline.files import atomic_write, remove, sha256_file, sweep_partial, write_bytes


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def fail_in_the_middle() -> None:
        with atomic_write(path) as file:
            file.write(b"half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_in_the_middle()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_are_swept(tmp_path: Path) -> None:
    write_bytes(tmp_path / "sub" / "whole", b"x")
    (tmp_path / "sub" / "half.123.partial").write_bytes(b"y")
    assert sweep_partial(tmp_path) == 1
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["whole"]


def test_digest_and_removal(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"")
    assert sha256_file(tmp_path / "a").startswith("e3b0c44298fc1c14")
    remove(tmp_path / "a")
    remove(tmp_path / "a")
    remove(tmp_path)
    assert not tmp_path.exists()
