"""Which images a shard set holds, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.errors import PipelineError
from pipeline.ledger import data_digests
from pipeline.seeds import seed_of
from pipeline.store import read_attributes, read_rows
from stages.shard.config import ShardConfig

BASE = -1  # stands for "the sample itself" where variant sets have their number


@dataclass(frozen=True)
class ShardPlan:
    """One shard: `rows` index latents.zarr where `origin` is BASE, else the variant set of that number."""

    split: str
    index: int
    count: int
    start: int
    origin: NDArray[np.int64]
    rows: NDArray[np.int64]


def plan_shards(build: Build, config: ShardConfig, variants: Sequence[str], limit: int | None) -> list[ShardPlan]:
    """Shuffle each split's images by the seed and cut them into shards of nearly equal size.

    Raises:
        PipelineError: there is nothing to put into shards.
    """
    samples = build.samples()
    inverted = (samples["status"] == "ok").to_numpy()
    if limit is not None:
        inverted &= np.arange(len(samples)) < limit
    origins, rows, splits = [], [], []
    if config.base != "none":
        base = np.flatnonzero(inverted)
        origins.append(np.full(len(base), BASE))
        rows.append(base)
        splits.append(samples["split"].to_numpy()[base])
    for number, name in enumerate(variants):
        path = build.variants_path(name)
        recorded = [stop for _, stop, _ in data_digests(build, f"augment/{name}")]
        columns = read_rows(path, ("source", "valid"), 0, max(recorded, default=0))
        usable = np.flatnonzero((columns["valid"] == 1) & inverted[columns["source"]])
        origins.append(np.full(len(usable), number))
        rows.append(usable)
        splits.append(np.full(len(usable), read_attributes(path)["split"]))
    origin, row = (
        np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64) for parts in (origins, rows)
    )
    split = np.concatenate(splits) if splits else np.empty(0, object)
    plans: list[ShardPlan] = []
    start = 0
    for name in pd.unique(pd.Series(split)):
        mine = np.flatnonzero(split == name)
        order = np.argsort(
            np.random.PCG64(seed_of(config.seed, "shard order", str(name))).random_raw(len(mine)),
            kind="stable",
        )
        mine = mine[order]
        count = max(-(-len(mine) // config.samples_per_shard), min(config.min_shards, len(mine)))
        for index, part in enumerate(np.array_split(mine, count)):
            plans.append(ShardPlan(str(name), index, count, start, origin[part], row[part]))
            start += len(part)
    if not plans:
        raise PipelineError(f"there is nothing to put into shards in {build.root}: run `pipeline invert` first")
    return plans
