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


def encode_labels(values: pd.Series, declared: tuple[str, ...], attribute: str, dataset: str) -> Labels:
    """Turn a column into labels int64 [N] and the classes they number; `declared` classes come first.

    Raises:
        DatasetError: a label has no class, or the column holds something else than numbers, names or booleans.
    """
    where = f"dataset '{dataset}': the label '{attribute}'"
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.dtype.categories.dtype)
    if values.isna().any():
        raise DatasetError(f"{where} is missing in {int(values.isna().sum())} samples; choose another with 'label'")
    if len(set(declared)) != len(declared):
        raise DatasetError(f"{where}: two of the declared classes have the same name; correct 'classes'")
    if pd.api.types.is_bool_dtype(values):
        if declared and len(declared) != 2:
            raise DatasetError(f"{where} is yes or no, but there are {len(declared)} classes; correct 'classes'")
        return values.to_numpy(np.int64), declared or binary_classes(attribute)
    if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all() and (values.abs() < 2**53).all():
        values = values.astype(np.int64)
    if pd.api.types.is_integer_dtype(values):
        low, high = (int(values.min()), int(values.max())) if len(values) else (0, -1)
        if not declared and high >= MOST_CLASSES:
            raise DatasetError(
                f"{where} runs up to {high}, which is no number of a class; choose another with 'label'"
            )
        classes = declared or tuple(str(i) for i in range(high + 1))
        if low < 0 or high >= len(classes):
            raise DatasetError(
                f"{where} runs from {low} to {high}, but there are {len(classes)} classes, "
                f"numbered from 0: leave unlabelled samples out, or correct 'classes' in the manifest"
            )
        return values.to_numpy(np.int64), classes
    found = values.unique()
    if not pd.api.types.is_string_dtype(values) or not all(isinstance(value, str) for value in found):
        raise DatasetError(f"{where} is neither a number nor a name; choose another with 'label'")
    if not declared and len(found) > MOST_CLASSES:
        raise DatasetError(f"{where} has {len(found)} values, too many to be classes; choose another with 'label'")
    classes = declared or tuple(sorted(found))
    codes = pd.Index(classes).get_indexer(pd.Index(values))
    if (codes < 0).any():
        stranger = values[codes < 0].iloc[0]
        raise DatasetError(f"{where} has the class {stranger!r}, which 'classes' in the manifest does not list")
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
