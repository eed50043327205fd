"""What a shard format is, and what a shard holds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.images import Pixels, encode_png

# How a format wants a split cut: shuffled into shards of equal size, or one file for each class.
Layout = Literal["shuffled", "by-class"]
TOGETHER = 64  # samples that are encoded in one go
HELD_BYTES = 2**26  # of pixels of such samples


@dataclass(frozen=True)
class ShardSample:
    """One training sample.

    Attributes:
        id: unique in the set, without a dot.
        pixels: the image, uint8 [H, W, 3].
        latent: w+ float32 [num_ws, w_dim], or None if latents are left out.
        source: id of the source sample.
        kind: `original`, `reconstruction`, or the mode that made the variant.
        partner: id of the sample whose layers were mixed in, or "".
        variant: number of the variant; -1 for the sample itself.
        original_pixels: the source's own pixels, where the set carries them.
        soft_label: probability of each class, where the set has soft labels (then every sample has one).
        lam: weight of the source in a mix with its partner; 1 where nothing was mixed.
    """

    id: str
    pixels: Pixels
    label: int
    class_name: str
    latent: NDArray[np.float32] | None
    source: str
    kind: str
    partner: str
    variant: int
    original_pixels: Pixels | None = None
    soft_label: NDArray[np.float32] | None = None
    lam: float = 1.0

    @cached_property
    def image(self) -> bytes:
        """PNG of the image."""
        return encode_png(self.pixels)

    @cached_property
    def original(self) -> bytes | None:
        """PNG of the source's own pixels."""
        return None if self.original_pixels is None else encode_png(self.original_pixels)


def together(samples: Iterable[ShardSample]) -> Iterator[list[ShardSample]]:
    """The samples, some at a time: encoding these in a row is faster than one by one between other work."""
    some: list[ShardSample] = []
    held = 0
    for sample in samples:
        some.append(sample)
        held += sample.pixels.nbytes + (0 if sample.original_pixels is None else sample.original_pixels.nbytes)
        if len(some) == TOGETHER or held >= HELD_BYTES:
            yield some
            some, held = [], 0
    if some:
        yield some


@dataclass(frozen=True)
class ShardInfo:
    """What all shards of a set share."""

    name: str
    dataset: str
    licence: str
    homepage: str
    description: str
    classes: tuple[str, ...]
    resolution: int
    latent_shape: tuple[int, int] | None
    originals: bool = False
    soft_labels: bool = False


@dataclass(frozen=True)
class ShardFile:
    """A finished file of the set, its path relative to the set's folder."""

    path: str
    split: str
    samples: int
    bytes: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for manifest.json and for records."""
        return dict(vars(self))


# Takes the next samples of a shard.
Put = Callable[[Sequence[ShardSample]], None]


class ShardFormat(Protocol):
    """One writer for each format. A file appears whole under its final name, or not at all."""

    folder: str
    layout: Layout
    indexes: tuple[str, ...]

    def check(self, info: ShardInfo) -> None:
        """Raise PipelineError if the format cannot hold such a set."""
        ...

    def file_name(self, split: str, index: int, count: int) -> str:
        """Name of a shard's file inside the format's folder."""
        ...

    def writing(self, path: Path, count: int, info: ShardInfo) -> AbstractContextManager[Put]:
        """Begin a shard of `count` samples; it takes them some at a time, and the same ones give the same bytes."""
        ...

    def write_index(self, folder: Path, files: Sequence[ShardFile]) -> None:
        """Write what readers need besides the shards: the files that `indexes` names."""
        ...


def write_shard(
    files: Mapping[Path, ShardFormat], samples: Iterable[ShardSample], count: int, info: ShardInfo
) -> None:
    """Write the same `count` samples to a file in each format, holding few of them at a time."""
    with ExitStack() as stack:
        puts = [stack.enter_context(writer.writing(path, count, info)) for path, writer in files.items()]
        for some in together(samples):
            for put in puts:
                put(some)
            some.clear()  # before the next are made
