"""Which images a shard set holds, and in which order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.errors import PipelineError
from pipeline.files import typed
from pipeline.ledger import recorded_rows
from pipeline.samples import INVERTED
from pipeline.seeds import seed_of
from pipeline.shards import shard_formats
from pipeline.shards.base import Layout
from pipeline.store import read_attributes, read_rows
from stages.shard.config import ShardConfig

SHARD_BYTES = 2**30  # pixels of a shard: a task, and a file that is still easy to move
BASE = -1  # stands for "the sample itself" where variant sets have their number


@dataclass(frozen=True)
class ShardPlan:
    """One shard: `rows` index latents.zarr where `origin` is BASE, else the variant set of that number."""

    layout: Layout
    split: str
    index: int
    count: int
    start: int
    origin: NDArray[np.int64]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Items:
    """Every image of a set; all arrays [M]. `source` is the row of samples.parquet an image comes from."""

    origin: NDArray[np.int64]
    rows: NDArray[np.int64]
    source: NDArray[np.int64]
    split: NDArray[np.object_]


def plan_shards(
    build: Build,
    config: ShardConfig,
    variants: Sequence[str],
    limit: int | None,
    resolution: int,
    missing: Sequence[int],
) -> list[ShardPlan]:
    """Cut the images of a height and width into shards, once for each layout that the formats want.

    Of samples in rows `missing` there is nothing that needs their own pixels.

    Raises:
        PipelineError: there is nothing to put into shards.
    """
    items = collect_items(build, config, variants, limit, missing)
    if len(items.rows) == 0:
        if (build.samples("status")["status"] == "failed").all():
            raise PipelineError(
                f"all samples of {build.root} failed: `pipeline status --build {typed(build.root)}` says why"
            )
        raise PipelineError(f"there is nothing to put into shards in {build.root}: run `pipeline invert` first")
    labels, classes = build.labels(config.label)
    cuts: dict[Layout, Iterator[tuple[str, int, int, NDArray[np.int64]]]] = {
        "shuffled": shuffled(items, config, min(config.samples_per_shard, most_samples(resolution))),
        "by-class": by_class(items, labels, len(classes)),
    }
    plans: list[ShardPlan] = []
    start = 0
    for layout in sorted({writer.layout for writer in shard_formats(config.format).values()}):
        for split, index, count, mine in cuts[layout]:
            plans.append(ShardPlan(layout, split, index, count, start, items.origin[mine], items.rows[mine]))
            start += len(mine)
    return plans


def most_samples(resolution: int) -> int:
    """Samples of a shard by their pixels."""
    return max(1, SHARD_BYTES // (3 * resolution**2))


def shuffled(items: Items, config: ShardConfig, most: int) -> Iterator[tuple[str, int, int, NDArray[np.int64]]]:
    """Shuffle each split by the seed and cut it into shards of nearly equal size, at most so many samples each."""
    for split in pd.unique(pd.Series(items.split)):
        mine = np.flatnonzero(items.split == split)
        bits = np.random.PCG64(seed_of(config.seed, "shard order", str(split))).random_raw(len(mine))
        mine = mine[np.argsort(bits, kind="stable")]
        count = max(-(-len(mine) // most), min(config.min_shards, len(mine)))
        for index, part in enumerate(np.array_split(mine, count)):
            yield str(split), index, count, part


def by_class(
    items: Items, labels: NDArray[np.int64], classes: int
) -> Iterator[tuple[str, int, int, NDArray[np.int64]]]:
    """One shard for each class of a split, in the order of the samples."""
    for split in pd.unique(pd.Series(items.split)):
        for label in range(classes):
            mine = np.flatnonzero((items.split == split) & (labels[items.source] == label))
            if len(mine):
                yield str(split), label, classes, mine


def inverted_rows(build: Build, limit: int | None) -> NDArray[np.bool_]:
    """Which samples are inverted, and among the first so many; the images themselves are as good as any."""
    status = build.samples("status")["status"]
    return np.asarray(status.isin(INVERTED) & (np.arange(len(status)) < (limit or len(status))))


def collect_items(
    build: Build, config: ShardConfig, variants: Sequence[str], limit: int | None, missing: Sequence[int]
) -> Items:
    """Find the inverted samples and their valid variants."""
    samples = build.samples("split", "status")
    inverted = inverted_rows(build, limit)
    there = ~np.isin(np.arange(len(samples)), missing)
    if config.originals:
        inverted = inverted & there
    origins, rows, sources, splits = [], [], [], []
    if config.base != "none":
        faithful = (samples["status"] == "ok").to_numpy()
        base = np.flatnonzero(inverted & (there if config.base == "original" else faithful))
        origins.append(np.full(len(base), BASE))
        rows.append(base)
        sources.append(base)
        splits.append(samples["split"].to_numpy()[base])
    for number, name in enumerate(variants):
        path = build.variants_path(name)
        columns = read_rows(path, ("source", "valid", "flagged"), 0, recorded_rows(build, f"augment/{name}"))
        wanted = (columns["valid"] == 1) & ((columns["flagged"] == 0) | config.flagged)
        usable = np.flatnonzero(wanted & inverted[columns["source"]])
        origins.append(np.full(len(usable), number))
        rows.append(usable)
        sources.append(columns["source"][usable])
        splits.append(np.full(len(usable), read_attributes(path)["split"]))
    origin, row, source = (
        np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)
        for parts in (origins, rows, sources)
    )
    return Items(origin, row, source, np.concatenate(splits) if splits else np.empty(0, object))
