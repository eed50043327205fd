"""What is known of the images of a shard besides w: read from variants/NAME.zarr, or the sample itself."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.store import open_group, read_rows, read_scattered

Facts = dict[str, NDArray[Any]]

FACTS = ("source", "partner", "variant", "lam")
HELD_BYTES = 2**25  # of an array that is held in memory
OPTIONAL = ("soft_label", "image")  # arrays that only some modes of `augment` make


def base_facts(rows: NDArray[np.int64]) -> Facts:
    """Source, partner, number and weight of the samples themselves."""
    none = np.full(len(rows), -1, dtype=np.int64)
    return {"source": rows, "partner": none, "variant": none, "lam": np.ones(len(rows), np.float32)}


def variant_facts(build: Build, name: str, rows: NDArray[np.int64], state: str) -> Facts:
    """Source, partner, number and weight (1 where nothing was mixed), soft label and stored image of variants."""
    path = build.variants_path(name)
    group = open_group(path)
    names = [*FACTS, *(column for column in OPTIONAL if column in group)]
    facts = read_shuffled(path, names, rows, state)
    facts["lam"] = np.nan_to_num(facts["lam"], nan=1.0)
    return facts


def read_shuffled(path: Path, names: Sequence[str], rows: NDArray[np.int64], state: str) -> Facts:
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
