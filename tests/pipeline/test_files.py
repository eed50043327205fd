"""A file is whole or absent."""

from pathlib import Path

import pytest

from pipeline.files import PARTIAL, atomic_write, remove, sha256_file, sweep_partial, write_bytes


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
    ours, zarrs = f"half.123{PARTIAL}", f"0.{'0a' * 16}.partial"
    others = ["video.mp4.partial", f"{zarrs}", "a.12.partial"]
    for name in (ours, *others):
        (tmp_path / "sub" / name).write_bytes(b"y")
    (tmp_path / "latents.zarr" / "w").mkdir(parents=True)
    for name in (zarrs, "b.12.partial"):
        (tmp_path / "latents.zarr" / "w" / name).write_bytes(b"y")
    (tmp_path / f"folder.7{PARTIAL}").mkdir()
    assert sweep_partial(tmp_path) == 3
    assert {path.name for path in (tmp_path / "sub").iterdir()} == {"whole", *others}
    assert [path.name for path in (tmp_path / "latents.zarr" / "w").iterdir()] == ["b.12.partial"]


def test_digest_and_removal(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"")
    assert sha256_file(tmp_path / "a").startswith("e3b0c44298fc1c14")
    remove(tmp_path / "a")
    remove(tmp_path / "a")
    remove(tmp_path)
    assert not tmp_path.exists()
