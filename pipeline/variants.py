"""Variant sets: what their variants were made from, and of which samples that is another picture by now."""

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.ledger import all_records, recorded_rows
from pipeline.sources import named
from pipeline.store import read_attributes, read_rows

MARK = 16  # hex digits


def marks(samples: pd.DataFrame) -> list[str]:
    """What tells a sample's picture from others: a digest of its id and of its bytes, for each row [N]."""
    pairs = zip(samples["id"], samples["sha256"], strict=True)
    return [hashlib.sha256(f"{name} {sha256}".encode()).hexdigest()[:MARK] for name, sha256 in pairs]


def outdated_sources(build: Build, name: str) -> NDArray[np.int64]:
    """Rows of samples whose variants in a set were made from another picture, or for another split."""
    samples = build.samples("id", "split", "sha256")
    path, stage = build.variants_path(name), f"augment/{name}"
    split, each = (read_attributes(path)[key] for key in ("split", "variants"))
    source = read_rows(path, ["source"], 0, recorded_rows(build, stage))["source"]
    now = np.array(marks(samples), object)
    now[(samples["split"] != split).to_numpy()] = ""
    found: list[int] = []
    for record in all_records(build, stage):
        rows = source[record["start"] : record["stop"] : each]
        made_from = np.array(record["details"].get("made_from", ["?"] * len(rows)), object)
        known = rows < len(now)
        other = ~known
        other[known] = (now[rows[known]] != made_from[known]) & (made_from[known] != "?")
        found += rows[other].tolist()
    return np.array(found, np.int64)


def outdated_note(build: Build, name: str, rows: NDArray[np.int64]) -> str:
    """One sentence about samples whose variants are outdated."""
    there = [int(row) for row in rows if row < build.count()]
    what = named(build, there) if there else f"{len(rows):,} source images"
    return (
        f"the variants '{name}' of {what} were made from other pictures, or for another split, than these samples "
        f"have now: run `pipeline augment --name {name}` again, as it was run before"
    )
