"""The annotation tables of CelebA and CelebA-HQ: as published, as on Kaggle, or saved by a spreadsheet."""

import codecs
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.datasets.formats import IMAGE_SUFFIXES
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


@dataclass(frozen=True)
class Table:
    """Rows by image: their index is the image's name in lower case without suffix, `000001`."""

    names: "pd.Series[str]"  # as they are written in the table
    values: pd.DataFrame
    notes: list[str]


@dataclass(frozen=True)
class Rows:
    """The rows of a file."""

    announced: int | None  # how many rows there are, by its first line
    columns: dict[str, int]  # heading -> number
    names: "pd.Series[str]"  # of the images, by their keys
    name_column: int
    values: pd.DataFrame  # columns by number, rows by the images' keys


def read_attributes(path: Path) -> Table:
    """The forty attributes as int8 0 or 1.

    Raises:
        DatasetError: the file is not such a table, is cut short, or contradicts itself.
    """
    what = "a table of CelebA's attributes"
    rows = read_rows(path, what)
    columns = {name.lower().replace(" ", "_"): column for name, column in rows.columns.items()}
    missing = [name for name in ATTRIBUTES if name.lower() not in columns]
    if missing:
        raise DatasetError(f"{path} lacks the attributes {', '.join(missing)}: download it again")
    values = rows.values[[columns[name.lower()] for name in ATTRIBUTES]].set_axis(list(ATTRIBUTES), axis="columns")
    announced = rows.announced
    if (announced is not None and len(values) != announced) or values.isna().any(axis=None):
        of = "" if announced is None else f" of {announced:,}"
        raise DatasetError(f"{path} is cut short: {len(values):,} rows{of}; download it again")
    numbers = whole_numbers(values, path, what)
    found = {int(value) for value in np.unique(numbers)}
    if not (found <= {-1, 1} or found <= {0, 1}):
        raise DatasetError(
            f"{path} is not {what}, which are -1 or 1: it has {sorted(found)[:5]}; download it again"
        )
    return without_repeats(Table(rows.names, (numbers > 0).astype("int8"), []), path)


def read_pairs(path: Path, name: str) -> Table:
    """The whole numbers of a table `file number`, as a column of that name. Raises DatasetError."""
    what = "a table of file names and numbers"
    rows = read_rows(path, what)
    following = [column for column in rows.values if int(str(column)) > rows.name_column]
    if not following:
        raise DatasetError(f"{path} is not {what}: no number follows a name; download it again")
    values = rows.values[following[:1]]
    there = values[following[0]].notna().to_numpy()
    numbers = whole_numbers(values[there], path, what).set_axis([name], axis="columns")
    return without_repeats(Table(rows.names[there], numbers, []), path)


def read_mapping(path: Path) -> Table:
    """CelebA-HQ's `idx orig_idx orig_file`: the number of the original image, by `idx`. Raises DatasetError."""
    what = "CelebA-HQ's mapping to CelebA"
    rows = read_rows(path, what)
    if "idx" not in rows.columns:
        raise DatasetError(f"{path} is not {what}: it has no column 'idx'; download it again")
    original = pd.DataFrame({"idx": rows.values[rows.columns["idx"]], "original": rows.names.index})
    original = whole_numbers(original, path, what)
    keys = pd.Index(original["idx"].astype("str"), name=None)
    values = original[["original"]].set_axis(keys, axis="index")
    return without_repeats(Table(rows.names.set_axis(keys), values, []), path)


def read_rows(path: Path, what: str) -> Rows:
    """A table whose columns are parted by commas, semicolons, tabs or blanks, with or without headings.

    Raises DatasetError if the file is not `what` it should be.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    announced = int(re.sub(r"\D", "", lines.pop(0))) if lines and re.fullmatch(r"\s*\d+[\s,;]*", lines[0]) else None
    mark = next((mark for mark in ",;\t" if lines and mark in lines[-1]), None)
    header = [] if not lines or any(map(is_picture, fields(lines[0], mark))) else fields(lines.pop(0), mark)
    first = fields(lines[0], mark) if lines else []
    name_column = next((column for column, text in enumerate(first) if is_picture(text)), 0)
    if len(first) < 2 or (header and len(header) not in (len(first), len(first) - 1)):
        raise DatasetError(f"{path} is not {what}: its lines are no names with numbers; download it again")
    if len(header) == len(first) - 1:
        header = ["", *header]  # as published: the names of the files have no heading
    try:
        table = pd.read_csv(
            io.StringIO("\n".join(lines)),
            sep=mark or r"\s+",
            header=None,
            dtype={name_column: "str"},
            skipinitialspace=True,
        )
    except ValueError as error:
        raise DatasetError(f"{path} is not {what}: {str(error).strip()}; download it again") from error
    names = table[name_column].fillna("").str.strip()
    table.index = pd.Index(key_of(names), name=None)
    columns = {name: column for column, name in enumerate(header)}
    return Rows(announced, columns, names.set_axis(table.index), name_column, table.drop(columns=name_column))


def read_text(path: Path) -> str:
    """A file's text: UTF-8, or UTF-16 that says so, as Windows writes it. Raises DatasetError."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not text in UTF-8: save it as that, or download it again") from None
    if "\0" in text:
        raise DatasetError(f"{path} is not text: save it as text in UTF-8, or download it again")
    return text


def fields(line: str, mark: str | None) -> list[str]:
    """The fields of a line, without quotes."""
    return [text.strip().strip('"') for text in line.strip().split(mark)]


def is_picture(text: str) -> bool:
    """Whether a field is the name of a picture."""
    return "." + text.rpartition(".")[2].lower() in IMAGE_SUFFIXES and "." in text


def key_of(names: "pd.Series[str]") -> "pd.Series[str]":
    """Names without the suffix of a picture, in lower case: tables and files may differ in both."""
    suffixes = "|".join(suffix[1:] for suffix in sorted(IMAGE_SUFFIXES))
    return names.str.lower().str.replace(rf"\.({suffixes})$", "", regex=True)


def whole_numbers(values: pd.DataFrame, path: Path, what: str) -> pd.DataFrame:
    """Columns as int64. Raises DatasetError if they hold anything else."""
    try:
        numbers: pd.DataFrame = values.apply(pd.to_numeric)
        if not ((numbers == numbers.round()) & (numbers.abs() < 2**53)).all(axis=None):
            raise ValueError("it holds numbers that are not whole")
        return numbers.astype("int64")
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} is not {what}: {error}; download it again") from error


def without_repeats(table: Table, path: Path) -> Table:
    """A table whose images occur once, and a note if some did not. Raises DatasetError if their rows differ."""
    twice = table.values.index.duplicated()
    if not twice.any():
        return table
    others = table.values.index.duplicated(keep=False)
    apart = table.values[others].groupby(level=0).nunique().gt(1).any(axis="columns")
    if apart.any():
        name = table.names.loc[apart.index[apart][:1]].iloc[0]
        raise DatasetError(f"{path} has two rows for {name} that differ: correct it, or download it again")
    note = f"{path.name} lists {int(twice.sum()):,} images more than once, with the same values"
    return Table(table.names[~twice], table.values[~twice], [*table.notes, note])
