"""samples.parquet: what is read of it, and what a rewriting changes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import samples
from pipeline.errors import BuildError
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
    update_samples(path, lambda rows, first: {"status": [f"{i}" for i in range(first, first + len(rows))]})
    assert read_samples(path)["status"].tolist() == [str(i) for i in range(ROWS)]
    assert read_samples(path, ("id", "label")).equals(table[1][["id", "label"]])
    assert read_about(path) == ABOUT


def test_an_update_that_fails_leaves_the_table(table: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(table[0].read_bytes())

    def change(rows: pd.DataFrame, first: int) -> dict[str, list[str]]:
        if first:
            raise KeyboardInterrupt
        return {"status": ["ok"] * len(rows)}

    with pytest.raises(KeyboardInterrupt):
        update_samples(path, change)
    assert path.read_bytes() == table[0].read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(b"not a table")
    with pytest.raises(BuildError, match=r"cannot read .*samples\.parquet"):
        read_samples(path)
