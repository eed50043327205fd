"""Labels from a column of a table: numbers, names or yes and no."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import DatasetError

Labels = tuple[NDArray[np.int64], tuple[str, ...]]

MOST_CLASSES = 100_000  # four times ImageNet-21k's; what has more values than that is no class


def binary_classes(attribute: str) -> tuple[str, str]:
    """Class names of an attribute that is 0 or 1."""
    name = attribute.replace("_", " ")
    return f"not {name}", name


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean A or B?`, or all the names if none is near."""
    by_lower = {text.lower(): text for text in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(by_lower[text] for text in near)}?"
    return f"there are: {', '.join(sorted(by_lower.values()))}"


def encode_labels(
    values: pd.Series,
    declared: tuple[str, ...],
    attribute: str,
    dataset: str,
    where: "pd.Series[str] | None" = None,
) -> Labels:
    """Turn a column into labels int64 [N] and the classes they number; `declared` classes come first.

    Args:
        values: [N] numbers, names, or yes and no.
        declared: names of the classes, where they are known.
        attribute: what the column is called.
        dataset: the name that sentences begin with.
        where: [N] where each value comes from, so that a bad one can be found.

    Raises:
        DatasetError: a label has no class, or the column holds something else than numbers, names or booleans.
    """
    label = f"dataset '{dataset}': the label '{attribute}'"

    def at(bad: "pd.Series[bool]") -> str:
        return "" if where is None else f" ({where[bad.to_numpy(bool)].iloc[0]} is the first)"

    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.dtype.categories.dtype)
    if pd.api.types.is_string_dtype(values):
        values = values.where(values.str.strip() != "")  # an empty text is no name
    if values.isna().any():
        raise DatasetError(
            f"{label} is missing in {int(values.isna().sum())} samples{at(values.isna())}; choose another with "
            f"'label', or remove them"
        )
    if len(set(declared)) != len(declared):
        raise DatasetError(f"{label}: two of the declared classes have the same name; correct 'classes'")
    if pd.api.types.is_bool_dtype(values):
        if declared and len(declared) != 2:
            raise DatasetError(f"{label} is yes or no, but there are {len(declared)} classes; correct 'classes'")
        return values.to_numpy(np.int64), declared or binary_classes(attribute)
    if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all() and (values.abs() < 2**53).all():
        values = values.astype(np.int64)
    if pd.api.types.is_integer_dtype(values):
        low, high = (int(values.min()), int(values.max())) if len(values) else (0, -1)
        if not declared and high >= MOST_CLASSES:
            raise DatasetError(
                f"{label} runs up to {high}, which is no number of a class; choose another with 'label'"
            )
        classes = declared or tuple(str(i) for i in range(high + 1))
        if low < 0 or high >= len(classes):
            first = at((values < 0) | (values >= len(classes)))
            raise DatasetError(
                f"{label} runs from {low} to {high}, but there are {len(classes)} classes, numbered from 0{first}: "
                f"leave unlabelled samples out, or correct 'classes' in the manifest"
            )
        return values.to_numpy(np.int64), classes
    found: list[Any] = list(values.unique()) if pd.api.types.is_string_dtype(values) else [None]
    if not all(isinstance(value, str) for value in found):
        raise DatasetError(f"{label} is neither a number nor a name; choose another with 'label'")
    if not declared and len(found) > MOST_CLASSES:
        raise DatasetError(f"{label} has {len(found)} values, too many to be classes; choose another with 'label'")
    classes = declared or tuple(sorted(found))
    codes = pd.Index(classes).get_indexer(pd.Index(values))
    if (codes < 0).any():
        stranger, first = values[codes < 0].iloc[0], at(pd.Series(codes < 0))
        raise DatasetError(
            f"{label} has the class {stranger!r}, which 'classes' in the manifest does not list{first}"
        )
    return codes.astype(np.int64), classes


def attribute_labels(
    values: "pd.Series[Any]", named: Mapping[str, str] | None, attribute: str, dataset: str
) -> Labels:
    """Labels int64 [N] by an attribute, and the classes they number.

    Args:
        named: names of the attribute's values, {value as text: name}, in the order of the labels; None where a
            value is its own name.

    Raises:
        DatasetError: a value is missing, or is none of those.
    """
    if named is None:
        return encode_labels(values, (), attribute, dataset)
    if values.isna().any():
        raise DatasetError(
            f"dataset '{dataset}': the label '{attribute}' is missing in {int(values.isna().sum())} samples; "
            f"choose another with 'label'"
        )
    codes = pd.Index(list(named)).get_indexer(pd.Index(values.astype("str")))
    if (codes < 0).any():
        stranger = values[codes < 0].iloc[0]
        raise DatasetError(
            f"dataset '{dataset}': the label '{attribute}' has the value {stranger!r}, which has no name"
        )
    return codes.astype(np.int64), tuple(named.values())
