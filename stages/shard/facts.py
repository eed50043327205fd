"""What is known of the images of a shard besides w: read from variants/NAME.zarr, or the sample itself."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.store import open_group

Facts = dict[str, NDArray[Any]]

FACTS = ("source", "partner", "variant", "lam")
OPTIONAL = ("soft_label", "image")  # arrays that only some modes of `augment` make


def base_facts(rows: NDArray[np.int64]) -> Facts:
    """Source, partner, number and weight of the samples themselves."""
    none = np.full(len(rows), -1, dtype=np.int64)
    return {"source": rows, "partner": none, "variant": none, "lam": np.ones(len(rows), np.float32)}


def variant_facts(build: Build, name: str, rows: NDArray[np.int64]) -> Facts:
    """Source, partner, number and weight (1 where nothing was mixed), soft label and stored image of variants."""
    path = build.variants_path(name)
    group = open_group(path)
    names = [*FACTS, *(column for column in OPTIONAL if column in group)]
    facts = {column: read_scattered(path, column, rows) for column in names}
    facts["lam"] = np.nan_to_num(facts["lam"], nan=1.0)
    return facts


def read_scattered(path: Path, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read rows of an array in any order."""
    wanted, place = np.unique(rows, return_inverse=True)
    array: Any = open_group(path)[name]
    return np.asarray(array.oindex[wanted])[place]
