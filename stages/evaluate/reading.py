"""Reads a split of a shard set, as a trainer would that knows nothing of the build: to memory, or a mapped file."""

import io
import math
import os
import shutil
import sys
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.config import digest_of
from pipeline.errors import PipelineError
from pipeline.files import PARTIAL
from pipeline.images import Pixels
from stages.evaluate.formats import ROWS, class_names, count_rows, split_files

IN_MEMORY = 2**28  # bytes of an array up to which each process keeps one of its own
MOST_OF_DISK = 0.9  # share of what is free there that an array in a file may take


@dataclass(frozen=True, eq=False)
class Samples:
    """The images of a split.

    Attributes:
        pixels: uint8 [N, H, W, 3]; like `latents` in memory, or in a file that all processes share.
        labels: [N].
        soft: probabilities [N, C] where the set has soft labels, else None.
        latents: w+ float32 [N, num_ws, w_dim], where asked for and there.
        kinds: what kinds of samples there are: `original`, `reconstruction`, or modes.
        classes: their names, where the set tells them.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    soft: NDArray[np.float32] | None
    ids: list[str]
    latents: NDArray[np.float32] | None
    num_classes: int
    classes: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()

    def targets(self) -> Tensor:
        """What a classifier is to answer: the soft labels, or one class each; float32 [N, C]."""
        if self.soft is not None:
            return torch.from_numpy(self.soft)
        return F.one_hot(torch.from_numpy(self.labels), self.num_classes).float()


@lru_cache(maxsize=2)
def read_split(
    folder: Path,
    split: str,
    digest: str,
    size: int = 0,
    limit: int | None = None,
    alone: bool = False,
    latents: bool = False,
    cache: Path | None = None,
) -> Samples:
    """Read a split of the set in `folder`; a process keeps the last two.

    Args:
        digest: of the files' contents; only keeps apart what was written at different times.
        size: shrink the images to size x size by averaging; 0 leaves them.
        limit: the first so many only.
        alone: the samples themselves, without variants.
        latents: with w+, where the set has it.
        cache: folder for files of arrays that are too large for every process's memory; None keeps all there.

    Raises:
        PipelineError: the set has no such split, or there is no room for it.
    """
    files = split_files(folder, split)
    rows = chain.from_iterable(ROWS[path.suffix](path, latents) for path in files)
    chosen = islice((row for row in rows if not alone or row["variant"] == -1), limit)
    count = min(count_rows(files), limit or sys.maxsize)
    key = digest_of([str(folder), split, digest, size, limit, alone])[:16]
    pixels, codes = (None if cache is None else cache / f"{key}-{name}.npy" for name in ("pixels", "latents"))
    images, w = Filled(pixels, count), Filled(codes, count)
    labels: list[int] = []
    ids: list[str] = []
    soft: list[Any] = []
    kinds: set[str] = set()
    with images, w:
        for place, row in enumerate(chosen):
            if not images.there:
                images.put(place, decode(row["image"], size))
            if row.get("w") is not None and not w.there:
                w.put(place, np.asarray(row["w"], np.float32))
            labels.append(int(row["label"]))
            ids.append(str(row["id"]))
            soft.append(row.get("soft_label"))
            kinds.add(str(row.get("kind", "original")))
        if not labels:
            raise PipelineError(
                f"split '{split}' of {folder} holds no sample itself, only variants: make the set with --base "
                f"original"
            )
    names = class_names(files[0])
    classes = max(len(names), max(labels) + 1, 2, *(len(given) for given in soft if given))
    return Samples(
        images.array()[: len(labels)],
        np.array(labels),
        soft_targets(soft, labels, classes),
        ids,
        w.array()[: len(labels)] if latents and w.begun else None,
        classes,
        names,
        frozenset(kinds),
    )


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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        check_room(needed, self.path.parent)
        self.partial = self.path.with_name(f"{self.path.name}.{os.getpid()}{PARTIAL}")
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


def check_split(folder: Path, split: str, size: int, limit: int | None, cache: Path) -> None:
    """Raise PipelineError if a split is not there, or there is no room for it; reads one sample of it."""
    files = split_files(folder, split)
    first = next(ROWS[files[0].suffix](files[0], False))
    needed = min(count_rows(files), limit or sys.maxsize) * decode(first["image"], size).nbytes
    if needed > IN_MEMORY:
        check_room(needed, cache)


def check_room(needed: int, folder: Path) -> None:
    """Raise PipelineError if a file of so many bytes would fill the disk that `folder` is, or will be, on."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if needed > MOST_OF_DISK * free:
        raise PipelineError(
            f"the decoded images take {needed / 1e9:.1f} GB, and {there} has {free / 1e9:.1f} GB left: make room, "
            f"or give a smaller --input-size, or --limit"
        )


def decode(data: bytes, size: int) -> Pixels:
    """Pixels uint8 [H, W, 3] of an encoded image, averaged down to `size` unless that is 0."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if size and image.width != size:
        image = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)


def soft_targets(soft: list[Any], labels: list[int], classes: int) -> NDArray[np.float32] | None:
    """Probabilities [N, classes]: the soft label where a sample has one, else its class; None if none has."""
    if not any(soft):
        return None
    targets = np.eye(classes, dtype=np.float32)[labels]
    for row, given in enumerate(soft):
        if given:
            targets[row] = given
    return targets
