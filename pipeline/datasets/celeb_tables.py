"""The annotation tables of CelebA and CelebA-HQ, as published (.txt) or as Kaggle carries them (.csv)."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.datasets.labels import nearest
from pipeline.errors import DatasetError

# fmt: off
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)
# fmt: on
IDENTITY = "identity"
SPLITS = {0: "train", 1: "val", 2: "test"}


def attribute_name(label: str) -> str:
    """The published spelling of an attribute's name (or of `identity`). Raises ValueError with the nearest."""
    spelt = {name.lower(): name for name in (*ATTRIBUTES, IDENTITY)}
    name = spelt.get(label.strip().lower().replace(" ", "_"))
    if name is None:
        raise ValueError(f"CelebA has no such attribute, {nearest(label, spelt.values())}")
    return name


def read_attributes(path: Path) -> pd.DataFrame:
    """The forty attributes as int8 0 or 1, a row for each image file name.

    Raises:
        DatasetError: the file is not such a table, or is cut short.
    """
    announced = None
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, index_col=0)
        else:
            with path.open(encoding="utf-8") as file:
                announced = int(file.readline())
            table = pd.read_csv(path, sep=r"\s+", skiprows=1)  # a name less than columns: the first is the index
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is not a table of CelebA's attributes: {error}") from error
    missing = [name for name in ATTRIBUTES if name not in table.columns]
    if missing:
        raise DatasetError(f"{path} lacks the attributes {', '.join(missing)}: download it again")
    values = table[list(ATTRIBUTES)]
    if (announced is not None and len(values) != announced) or values.isna().any(axis=None):
        raise DatasetError(f"{path} is cut short: {len(values)} rows of {announced}; download it again")
    return (values > 0).astype("int8").rename_axis(None)


def read_pairs(path: Path, name: str) -> "pd.Series[int]":
    """The whole numbers of a table `file number`, by file name. Raises DatasetError."""
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, index_col=0)
        else:
            table = pd.read_csv(path, sep=r"\s+", header=None, index_col=0)
        return table.iloc[:, 0].astype("int64").rename(name).rename_axis(None)
    except (OSError, ValueError, IndexError) as error:
        raise DatasetError(f"{path} is not a table of file names and numbers: {error}") from error


def read_mapping(path: Path) -> pd.DataFrame:
    """CelebA-HQ's `idx orig_idx orig_file`. Raises DatasetError."""
    try:
        table = pd.read_csv(path, sep=r"\s+")
        return table[["idx", "orig_file"]]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path} is not CelebA-HQ's mapping to CelebA: {error}") from error


def labels_of(table: pd.DataFrame, label: str) -> NDArray[np.int64]:
    """Labels [N]: an attribute's 0 or 1, or the rank of an identity among those that occur."""
    if label == IDENTITY:
        return np.unique(table[IDENTITY], return_inverse=True)[1].astype(np.int64)
    return table[label].to_numpy(np.int64)


def absent_images(names: "pd.Series[str]", folder: Path) -> list[str]:
    """A note if images that are listed are not in their folder."""
    absent = int((~names.isin({path.name for path in folder.iterdir()})).sum())
    return (
        [f"{absent:,} of the {len(names):,} images listed are not in {folder}: unpack it again"] if absent else []
    )


def identity_classes(identities: "pd.Series[int]") -> tuple[str, ...]:
    """The identities that occur, by number: the classes of the label `identity`."""
    return tuple(str(number) for number in sorted(identities.unique()))
