"""Reads a split of a shard set, as a trainer would that knows nothing of the build: to memory, or a mapped file."""

import sys
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.config import digest_of
from pipeline.datasets.decoding import decode_whole
from pipeline.errors import PipelineError, SampleError
from pipeline.images import Pixels
from pipeline.mapped import Filled, check_room
from stages.evaluate.formats import ROWS, class_names, count_rows, split_files


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
                images.put(place, decode(row["image"], size, f"{folder}, split '{split}', sample {row['id']}"))
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


def check_split(folder: Path, split: str, size: int, limit: int | None, cache: Path) -> None:
    """Raise PipelineError if a split is not there, or there is no room for it; reads one sample of it."""
    files = split_files(folder, split)
    first = next(ROWS[files[0].suffix](files[0], False))
    pixels = decode(first["image"], size, f"{files[0]}, sample {first['id']}")
    check_room(min(count_rows(files), limit or sys.maxsize) * pixels.nbytes, cache)


def decode(data: bytes, size: int, what: str) -> Pixels:
    """Pixels uint8 [H, W, 3] of an encoded image, averaged down to `size` unless that is 0.

    Raises:
        PipelineError: it cannot be decoded; names it as `what`.
    """
    try:
        pixels = decode_whole(data)
    except SampleError as error:
        raise PipelineError(
            f"{what}: {error}; run `pipeline shard` again, which makes what is damaged anew"
        ) from error
    if size and pixels.shape[1] != size:
        pixels = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX))
    return pixels


def soft_targets(soft: list[Any], labels: list[int], classes: int) -> NDArray[np.float32] | None:
    """Probabilities [N, classes]: the soft label where a sample has one, else its class; None if none has."""
    if not any(soft):
        return None
    targets = np.eye(classes, dtype=np.float32)[labels]
    for row, given in enumerate(soft):
        if given:
            targets[row] = given
    return targets
