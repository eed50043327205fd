"""Arrays of many images lie in files, and leave none behind that they should not."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pipeline import mapped
from pipeline.datasets.loading import load_split
from pipeline.errors import PipelineError
from pipeline.listing import create_build
from pipeline.mapped import Filled, scratch


@pytest.fixture
def nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)


def rows(count: int) -> np.ndarray:
    return np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)


def fill(path: Path, given: Iterable[np.ndarray]) -> Filled:
    with Filled(path, 4) as filled:
        for place, row in enumerate(given):
            filled.put(place, row)
            assert not path.exists()
    return filled


def test_small_ones_stay_in_memory(tmp_path: Path) -> None:
    filled = fill(tmp_path / "a.npy", rows(4))
    assert not isinstance(filled.array(), np.memmap)
    assert not isinstance(scratch(tmp_path, (2, 3), "uint8"), np.memmap)
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_when_it_is_whole(tmp_path: Path, nothing_in_memory: None) -> None:
    path = tmp_path / "new" / "a.npy"
    with pytest.raises(ValueError, match="broadcast"):
        fill(path, [rows(4)[0], np.zeros(99)])  # which are not alike
    assert list(path.parent.iterdir()) == []
    filled = fill(path, rows(4))
    for found in (filled, Filled(path, 4)):
        assert found.there
        np.testing.assert_array_equal(found.array(), rows(4))
    Filled(path, 4).array()[0] = 7  # a process that writes to it changes its own copy
    np.testing.assert_array_equal(Filled(path, 4).array(), rows(4))


def test_scratch_leaves_no_file(tmp_path: Path, nothing_in_memory: None) -> None:
    array = scratch(tmp_path / "new", (4, 2, 3), "float32")
    array[:] = rows(4)
    assert isinstance(array, np.memmap)
    assert list((tmp_path / "new").iterdir()) == []
    np.testing.assert_array_equal(array, rows(4))


def test_a_full_disk_is_told_before(
    tmp_path: Path, nothing_in_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "MOST_OF_DISK", 1e-15)
    with pytest.raises(PipelineError, match=r"take 0\.0 GB, and .* GB left: make room"):
        scratch(tmp_path, (1000, 1000), "uint8")


def test_splits_that_are_trained_on_are_the_same_from_a_file(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = create_build(tmp_path / "b", str(few_digits))
    pixels, labels = load_split(build, "train")
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    large, same = load_split(build, "train")
    assert isinstance(large, np.memmap)
    np.testing.assert_array_equal(large, pixels)
    np.testing.assert_array_equal(same, labels)
    few, first = load_split(build, "train", 3)
    np.testing.assert_array_equal(few, pixels[:3])
    np.testing.assert_array_equal(first, labels[:3])
