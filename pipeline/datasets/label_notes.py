"""What the user should know of a dataset's classes and splits once it is listed, in sentences."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

import pandas as pd

from pipeline.datasets.split_names import splits_in

MOST_SPLITS = 20  # values of a column that may say the splits
NUMBER = re.compile(r"\s*\d+\s*")


def label_notes(samples: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Notes on classes that lack images, are hardly different or numbered oddly, and on splits said elsewhere.

    Args:
        samples: a scan's table.
        classes: names in the order of the labels.
    """
    notes = []
    there = set(samples["label"].unique().tolist())
    if lacking := [name for label, name in enumerate(classes) if label not in there]:
        notes.append(f"no sample has the label of these classes, which keep their numbers: {quoted(lacking)}")
    splits = samples.groupby("split", sort=False)["label"].unique()
    for split, labels in splits.items() if len(splits) > 1 else ():
        if absent := there - set(labels.tolist()):
            names = quoted(classes[label] for label in absent)
            notes.append(f"the split '{split}' has no images of some classes: {names}")
    return notes + alike_notes(classes) + number_notes(classes) + split_notes(samples)


def alike_notes(classes: Iterable[str]) -> list[str]:
    """Notes on names that are hardly different."""
    variants: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        variants[alike(name)].append(name)
    return [
        f"the classes {quoted(names)} differ only in case, blanks or how Unicode writes them, and are kept apart"
        for names in variants.values()
        if len(names) > 1
    ]


def number_notes(classes: Sequence[str]) -> list[str]:
    """A note if the names are numbers, and not in the order of the numbers, as texts are not: 10 before 9."""
    if not all(NUMBER.fullmatch(name) for name in classes):
        return []
    numbers = [int(name) for name in classes]
    if numbers == sorted(numbers):
        return []
    label = next(label for label, number in enumerate(numbers) if numbers[:label] and number < numbers[label - 1])
    return [
        f"the classes' names are numbers, which sort as texts do: {classes[label]!r} has the label {label}; list "
        f"them in 'classes' of the manifest in the order that you want"
    ]


def split_notes(samples: pd.DataFrame) -> list[str]:
    """Notes on columns that say other splits than the samples are in, since those go by the names of files."""
    notes = []
    for name in samples.columns.difference(["id", "split", "label", "source"], sort=False):
        values = samples[name].dropna()
        if not pd.api.types.is_string_dtype(values) or len(different := values.unique()) > MOST_SPLITS:
            continue
        said = splits_in(different.tolist(), alone=True)
        if len(said) < len(different):
            continue
        apart = values[values.map(said) != samples["split"].loc[values.index]]
        if len(apart):
            notes.append(
                f"{len(apart):,} samples are called {quoted(apart.unique())} by '{name}', but taken as "
                f"{quoted(samples['split'].loc[apart.index].unique())}, for the split is in the name of a file or "
                f"its folder: write each split into files of its own"
            )
    return notes


def folder_notes(paths: Sequence[str], splits: Sequence[str]) -> list[str]:
    """A note on samples in folders of an archive that are called like another split than the archive's.

    Args:
        paths: [N] of the samples in their archives.
        splits: [N] of the samples.
    """
    folders = {path.rpartition("/")[0] for path in paths}
    known = splits_in({part for folder in folders for part in folder.split("/")}, alone=True)
    said = {f: next((known[part] for part in f.split("/")[::-1] if part in known), None) for f in folders}
    apart = [
        (path.rpartition("/")[0], split)
        for path, split in zip(paths, splits, strict=True)
        if said[path.rpartition("/")[0]] not in (None, split)
    ]
    if not apart:
        return []
    return [
        f"{len(apart):,} samples lie in folders called like splits ({quoted({folder for folder, _ in apart})}) "
        f"inside archives, but are taken as {quoted({split for _, split in apart})}, since the split is in the "
        f"name of an archive: write one for each split"
    ]


def alike(name: str) -> str:
    """The same for names that differ only in case, outer blanks, or in how Unicode writes them."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def quoted(names: Iterable[str], most: int = 5) -> str:
    """Names in quotes, the first of many."""
    names = sorted(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
