"""What is known of the images of a shard besides w: read from variants/NAME.zarr, or the sample itself."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.store import open_group, read_scattered

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
    facts = read_scattered(path, names, rows)
    facts["lam"] = np.nan_to_num(facts["lam"], nan=1.0)
    return facts
