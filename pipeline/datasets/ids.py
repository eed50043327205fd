"""Sample ids: unique, and of characters and a length that every shard format and file system takes."""

import hashlib

import numpy as np
import pandas as pd

LONGEST = 80  # `ID.original.png` has to fit into the 100 bytes of a USTAR header's name
DIGEST = 12  # hex digits: a million names share none
DEVICES = r"(?i)con|prn|aux|nul|(?:com|lpt)[0-9]"  # names that Windows keeps for itself


def sample_ids(texts: "pd.Series[str]", keys: "pd.Series[str] | None" = None) -> "pd.Series[str]":
    """Ids of letters, digits, - and _ (a dot would end a WebDataset key), at most 80 characters.

    `/` becomes -, and any other character _. An id ends in a digest where that leaves it empty, hides letters
    that are not ASCII, is too long, is a device of Windows, or is the same as another's but for capitals. So it
    depends on no order, and an id that is as it should be comes back as it was.

    Args:
        texts: what a sample is called.
        keys: what tells samples of the same name apart, digested instead of the names.
    """
    plain = texts.str.replace("/", "-", regex=False).str.replace(r"[^A-Za-z0-9_-]+", "_", regex=True)
    marked = texts.str.contains(r"[^\x00-\x7f]", regex=True) | plain.str.fullmatch(DEVICES) | plain.eq("")
    marked |= plain.str.len() > LONGEST
    marked |= plain.str.lower().duplicated(keep=False)
    if not marked.any():
        return plain
    ids = plain.to_numpy(object)
    told_apart = (texts if keys is None else keys).to_numpy(object)
    for row in np.flatnonzero(marked.to_numpy(bool)):
        ids[row] = with_digest(ids[row], told_apart[row])
    return pd.Series(numbered_where_equal(ids.tolist()), index=texts.index, dtype="str")


def with_digest(text: str, key: str) -> str:
    """As much of `text` as an id holds, and a digest of `key`."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST]
    return f"{text[: LONGEST - DIGEST - 1]}-{digest}"


def short_id(text: str) -> str:
    """`text`, or its beginning and its digest if it is longer than an id may be."""
    return text if len(text) <= LONGEST else with_digest(text, text)


def numbered_where_equal(ids: list[str]) -> list[str]:
    """Give the second of two ids that are equal but for capitals a number, and so on."""
    used: set[str] = set()
    unique = []
    for text in ids:
        candidate, number = text, 2
        while candidate.lower() in used:
            end = f"_{number}"
            candidate, number = text[: LONGEST - len(end)] + end, number + 1
        used.add(candidate.lower())
        unique.append(candidate)
    return unique
