"""samples.parquet: what is read of it, and what a rewriting changes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import samples
from pipeline.errors import BuildError
from pipeline.kept import acceptable, problem_of_copy, restore_kept
from pipeline.samples import About, count_samples, read_about, read_samples, update_samples, write_samples

ROWS = 50
ABOUT = About(("cat", "dog"), {"eyes": {"0": "shut", "1": "open"}}, ("a note",))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A table of groups of seven rows."""
    frame = pd.DataFrame({"id": [f"s{i}" for i in range(ROWS)], "label": np.arange(ROWS) % 3, "status": "pending"})

    path = tmp_path_factory.mktemp("table") / "samples.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "GROUP", 7)
        write_samples(path, frame, ABOUT)
    return path, frame


@given(start=st.integers(0, ROWS), length=st.integers(0, ROWS))
def test_any_rows(table: tuple[Path, pd.DataFrame], start: int, length: int) -> None:
    path, frame = table
    stop = min(ROWS, start + length)
    found = read_samples(path, ("label", "id"), start, stop)
    wanted = frame[["label", "id"]].iloc[start:stop]
    assert found.to_dict("list") == wanted.to_dict("list")


def test_the_whole_table_its_length_and_its_notes(table: tuple[Path, pd.DataFrame]) -> None:
    path, frame = table
    pd.testing.assert_frame_equal(read_samples(path), frame, check_like=False)
    assert count_samples(path) == ROWS
    assert read_about(path) == ABOUT


def test_an_update_changes_what_it_names(table: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(table[0].read_bytes())
    restore_kept(path)
    update_samples(path, lambda rows, first: {"status": [f"{i}" for i in range(first, first + len(rows))]})
    assert read_samples(path)["status"].tolist() == [str(i) for i in range(ROWS)]
    assert read_samples(path, ("id", "label")).equals(table[1][["id", "label"]])
    assert read_about(path) == ABOUT


def test_an_update_that_fails_leaves_the_table(table: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(table[0].read_bytes())
    restore_kept(path)

    def change(rows: pd.DataFrame, first: int) -> dict[str, list[str]]:
        if first:
            raise KeyboardInterrupt
        return {"status": ["ok"] * len(rows)}

    with pytest.raises(KeyboardInterrupt):
        update_samples(path, change)
    assert path.read_bytes() == table[0].read_bytes()
    assert sorted(tmp_path.iterdir()) == [tmp_path / ".ledger", path]


def test_a_damaged_table_is_named_and_restored(table: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(table[0].read_bytes())
    restore_kept(path)
    whole = path.read_bytes()
    for damage in (whole[:-9], whole + b"0", b"", bytes([whole[0] ^ 1]) + whole[1:], None):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        with pytest.raises(BuildError, match=r"samples\.parquet (differs from what was written|is missing)"):
            read_samples(path)
        restore_kept(path)
        assert path.read_bytes() == whole
    assert read_samples(path)["id"].tolist() == table[1]["id"].tolist()


@pytest.mark.parametrize("killed_at", ["samples.parquet", ".ledger/samples.parquet"])
def test_a_kill_in_an_update_is_no_damage(
    table: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    path, replace = tmp_path / "samples.parquet", Path.replace
    path.write_bytes(table[0].read_bytes())
    restore_kept(path)

    def replace_unless_killed(partial: Path, target: Path) -> Path:
        if target == tmp_path / killed_at:
            raise KeyboardInterrupt
        return replace(partial, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace_unless_killed)
        with pytest.raises(KeyboardInterrupt):
            update_samples(path, lambda rows, first: {"status": ["ok"] * len(rows)})
        for again in ("read", "poor"):  # and is killed again, while what is there is as old
            with pytest.raises(KeyboardInterrupt):
                update_samples(path, lambda rows, first, word=again: {"status": [word] * len(rows)})
    done = set(read_samples(path)["status"]) != set(table[1]["status"])
    assert done == killed_at.startswith(".ledger")
    assert problem_of_copy(path) is None
    update_samples(path, lambda rows, first: {"status": ["ok"] * len(rows)})
    assert len(acceptable(path)) == 1
