"""What is known of a shard's images before they are rendered: from variants/NAME.zarr, or the sample itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.images import Pixels
from pipeline.store import open_group, read_attributes, read_rows, read_scattered
from stages.shard.items import BASE

NUMBERS = ("source", "partner", "variant", "lam")
OPTIONAL = ("soft_label", "image")  # arrays that only some modes of `augment` make
HELD_BYTES = 2**27  # of an array that is held in memory


@dataclass(frozen=True)
class Facts:
    """What is known of M images, in their order.

    Attributes:
        name: their variant sets, "" for the samples themselves.
        kind: `original`, `reconstruction`, or the mode that made the variant.
        source: row of samples.parquet.
        partner: row of the sample mixed in, or -1.
        variant: number of the variant, or -1.
        lam: weight of the source; 1 where nothing was mixed.
        w: w+ float32 [M, num_ws, w_dim].
        soft_label: of those that have one, by place.
        stored: pixels uint8 [H, W, 3] of those that w does not render as, by place.
    """

    name: NDArray[np.object_]
    kind: NDArray[np.object_]
    source: NDArray[np.int64]
    partner: NDArray[np.int64]
    variant: NDArray[np.int64]
    lam: NDArray[np.float32]
    w: NDArray[np.float32]
    soft_label: dict[int, NDArray[np.float32]]
    stored: dict[int, Pixels]

    def __len__(self) -> int:
        return len(self.source)


def read_facts(
    build: Build, variants: Sequence[str], base: str, origin: NDArray[np.int64], rows: NDArray[np.int64], state: str
) -> Facts:
    """Read what is known of images [M], given as `ShardPlan` gives them.

    Args:
        variants: the variant sets that `origin` counts.
        base: kind of the samples themselves.
        state: digest of what the arrays hold.
    """
    found: list[tuple[NDArray[np.intp], str, str, dict[str, NDArray[Any]]]] = []
    for number in np.unique(origin):
        places = np.flatnonzero(origin == number)
        mine, name = rows[places], "" if number == BASE else variants[number]
        if number == BASE:
            columns = base_columns(mine) | read_shuffled(build.latents_path, ["w"], mine, state)
            found.append((places, name, base, columns))
        else:
            path = build.variants_path(name)
            group = open_group(path)
            names = ["w", *NUMBERS, *(column for column in OPTIONAL if column in group)]
            kind = str(read_attributes(path)["mode"])
            found.append((places, name, kind, read_shuffled(path, names, mine, state)))
    count, w = len(rows), found[0][-1]["w"]
    facts = Facts(
        name=np.empty(count, object),
        kind=np.empty(count, object),
        source=np.empty(count, np.int64),
        partner=np.empty(count, np.int64),
        variant=np.empty(count, np.int64),
        lam=np.empty(count, np.float32),
        w=np.empty((count, *w.shape[1:]), np.float32),
        soft_label={},
        stored={},
    )
    for places, name, kind, columns in found:
        facts.name[places], facts.kind[places] = name, kind
        for key in ("source", "partner", "variant", "w"):
            getattr(facts, key)[places] = columns[key]
        facts.lam[places] = np.nan_to_num(columns["lam"], nan=1.0)
        for key, by_place in (("soft_label", facts.soft_label), ("image", facts.stored)):
            if key in columns:
                by_place.update(zip(places.tolist(), columns[key], strict=True))
    return facts


def base_columns(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Source, partner, number and weight of the samples themselves."""
    none = np.full(len(rows), -1, dtype=np.int64)
    return {"source": rows, "partner": none, "variant": none, "lam": np.ones(len(rows), np.float32)}


def read_shuffled(path: Path, names: Sequence[str], rows: NDArray[np.int64], state: str) -> dict[str, NDArray[Any]]:
    """Read rows [N] in any order. Every shard takes some from everywhere, so small arrays are read once and held.

    `state` is the digest of what the arrays hold: where it is another, they are read again.
    """
    group = open_group(path)
    small = [name for name in names if cast(zarr.Array[Any], group[name]).nbytes <= HELD_BYTES]
    columns = read_scattered(path, [name for name in names if name not in small], rows)
    return columns | {name: held(path, name, state)[rows] for name in small}


@lru_cache(maxsize=8)
def held(path: Path, name: str, state: str) -> NDArray[Any]:
    """A whole array."""
    return read_rows(path, [name], 0, cast(zarr.Array[Any], open_group(path)[name]).shape[0])[name]
