"""What a shard format is, and what a shard holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ShardSample:
    """One training sample.

    Attributes:
        id: unique in the set, without a dot.
        image: PNG bytes.
        latent: w+ float32 [num_ws, w_dim], or None if latents are left out.
        source: id of the source sample.
        kind: `original`, `reconstruction`, or the mode that made the variant.
        partner: id of the sample whose layers were mixed in, or "".
        variant: number of the variant; -1 for the sample itself.
    """

    id: str
    image: bytes
    label: int
    class_name: str
    latent: NDArray[np.float32] | None
    source: str
    kind: str
    partner: str
    variant: int


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


class ShardFormat(Protocol):
    """One writer for each format. A file appears whole under its final name, or not at all."""

    folder: str

    def file_name(self, split: str, index: int, count: int) -> str:
        """Name of a shard's file inside the format's folder."""
        ...

    def write(self, path: Path, samples: Sequence[ShardSample], info: ShardInfo) -> None:
        """Write one shard; the same samples give the same bytes."""
        ...

    def write_index(self, folder: Path, files: Sequence[ShardFile]) -> list[str]:
        """Write what readers need besides the shards; return the names of those files."""
        ...
