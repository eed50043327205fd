"""Sample ids: unique, and of characters that every shard format takes."""

import re

import numpy as np
import pandas as pd


def sample_id(text: str, used: set[str]) -> str:
    """A unique id of letters, digits, - and _ (a dot would end a WebDataset key)."""
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", text.replace("/", "-"))
    key, number = base, 2
    while key in used:
        key, number = f"{base}_{number}", number + 1
    used.add(key)
    return key


def sample_ids(texts: "pd.Series[str]") -> "pd.Series[str]":
    """The same for a whole column at once; the slow way only where two collide."""
    ids = texts.str.replace("/", "-", regex=False).str.replace(r"[^A-Za-z0-9_-]+", "_", regex=True)
    if ids.is_unique:
        return ids
    used: set[str] = set()
    return pd.Series([sample_id(text, used) for text in texts], index=texts.index)


def numbered_ids(splits: "pd.Series[str]") -> "pd.Series[str]":
    """`train-00000000`, … for samples that have no names."""
    return splits + "-" + pd.Series(np.arange(len(splits)), index=splits.index).astype(str).str.zfill(8)
