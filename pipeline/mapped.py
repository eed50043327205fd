"""Arrays of many images: in memory while they are small, else in a file of which the system loads what is used."""

import math
import shutil
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.files import partial_path

IN_MEMORY = 2**28  # bytes of an array up to which each process keeps one of its own
MOST_OF_DISK = 0.9  # share of what is free there that an array in a file may take


class Filled:
    """An array of `count` rows that is filled row by row: in memory, or in the file `path` if it is large.

    A file that is there already is taken as it is; it appears under its name when the block ends without an error.
    """

    def __init__(self, path: Path | None, count: int):
        self.path, self.count = path, count
        self.values: NDArray[Any] | None = None
        self.partial: Path | None = None
        self.there = path is not None and path.is_file()

    @property
    def begun(self) -> bool:
        """Whether there is anything in it."""
        return self.there or self.values is not None

    def put(self, place: int, row: NDArray[Any]) -> None:
        """Fill a row; the first one tells what all are like."""
        if self.values is None:
            self.values = self.room((self.count, *row.shape), row.dtype)
        self.values[place] = row

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array without values. Raises PipelineError where a file would fill the disk."""
        needed = math.prod(shape) * dtype.itemsize
        if self.path is None or needed <= IN_MEMORY:
            return np.empty(shape, dtype)
        check_room(needed, self.path.parent)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.partial = partial_path(self.path)
        made: NDArray[Any] = np.lib.format.open_memmap(self.partial, "w+", dtype, shape)
        return made

    def array(self) -> NDArray[Any]:
        """All rows; of a file those that are looked at."""
        if self.there:
            assert self.path is not None
            self.values = np.lib.format.open_memmap(self.path, "c")
        assert self.values is not None
        return self.values

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.partial is None:
            return
        assert self.path is not None
        if error is None:
            self.partial.replace(self.path)
            self.there = True
        else:
            self.partial.unlink(missing_ok=True)


def scratch(folder: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """An array of this process alone, without values; in a file that is gone when the process is, if it is large.

    Raises:
        PipelineError: it would fill the disk of `folder`.
    """
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    if needed <= IN_MEMORY:
        return np.empty(shape, dtype)
    check_room(needed, folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = partial_path(folder / "scratch")
    made: NDArray[Any] = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
    path.unlink()  # the mapping keeps it
    return made


def check_room(needed: int, folder: Path) -> None:
    """Raise PipelineError if an array is too large for memory, and its file for the disk of `folder`."""
    if needed <= IN_MEMORY:
        return
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if needed > MOST_OF_DISK * free:
        raise PipelineError(
            f"the decoded images take {needed / 1e9:.1f} GB, and {there} has {free / 1e9:.1f} GB left: make room, "
            f"or give a smaller --input-size, or --limit"
        )
