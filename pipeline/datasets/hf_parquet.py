"""Images in Parquet as Hugging Face keeps them: a column of struct<bytes, path> and columns of labels."""

import os
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
from pydantic import Field, field_validator

from pipeline.datasets.attributes import Attributes, Unfit
from pipeline.datasets.files import ImageManifest, ImageReader, read_sample, stamp_of, with_notes
from pipeline.datasets.ids import sample_ids
from pipeline.datasets.label_notes import label_notes
from pipeline.datasets.labels import Labels, encode_labels, nearest
from pipeline.datasets.parquet_file import ParquetFile, cells
from pipeline.datasets.spelling import quoted
from pipeline.datasets.split_names import splits_of
from pipeline.datasets.walk import Listing, list_files
from pipeline.errors import DatasetError, ManifestError, SampleError

LABEL, ID = "label", "id"
ARROW = " (but .arrow of `save_to_disk` or of a cache: write the dataset with `to_parquet`)"
NO_ROW = "a Parquet file without rows"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# What begins a picture, or the name of its kind, written as text
ENCODED = ("data:", "iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
LONGEST_PATH = 4096


class ParquetManifest(ImageManifest):
    """Manifest of a set of Parquet files."""

    format: Literal["parquet"]
    root: str = Field(description="folder of the Parquet files, absolute or relative to this manifest")
    image: str = Field(default="image", description="column of the images")
    label: str = Field(default=LABEL, description="column that is the label: numbers, names or booleans")

    @field_validator("label")
    @classmethod
    def check_label(cls, label: str) -> str:  # type: ignore[override]
        """Which columns there are is only known once the files are read."""
        return label


class ParquetImages(ImageReader):
    """Reader of Parquet files. A scan reads what could be labels; an image is read with its neighbours."""

    manifest_model = ParquetManifest
    manifest: ParquetManifest

    @property
    def classes(self) -> tuple[str, ...]:
        """As declared here or in the files, or those that occur."""
        return self.manifest.classes or self._scanned[1][1]

    def listing(self) -> Listing:
        """The Parquet files below the root, and the rest."""
        return list_files(self.root, frozenset({".parquet"}), {}, "not a Parquet file")

    def lacking(self) -> list[str]:
        """Parquet files."""
        listing = self.listing()
        arrow = any(path.endswith(".arrow") for path, _ in listing.skipped)
        return [] if listing.taken else [f"*.parquet{ARROW if arrow else ''}"]

    @cached_property
    def _scanned(self) -> tuple[pd.DataFrame, Labels]:
        self.check_present()
        listing = self.listing()
        splits, notes = splits_of(listing.taken)
        table = Columns(self.manifest)
        skipped = list(listing.skipped)
        for name, split in zip(listing.taken, splits, strict=True):
            file = ParquetFile.open(self.root / name)
            table.add(file, name, split)
            skipped += [] if file.rows else [(name, NO_ROW)]
        if not table.sources:
            raise DatasetError(f"dataset '{self.manifest.name}': no rows in the Parquet files of {self.root}")
        samples, labels = table.samples()
        notes += label_notes(samples, labels[1]) + listing.notes()
        return with_notes(samples, notes + table.attributes.note(), skipped), labels

    def scan(self) -> pd.DataFrame:
        """List the rows in the order of the files; the split is in a file's name."""
        return self._scanned[0].copy()

    def key(self, source: str) -> str:
        """The file and the row's own `id`, or its number in the file; earlier versions counted by row group."""
        name, _, place = source.rpartition("#")
        row, at, own = place.partition("@")
        if at:
            return f"{name}#@{own}"
        group, slash, row = place.partition("/")
        if not slash:
            return source
        try:
            path = self.file_of(source)
            return f"{name}#{cells(path, stamp_of(path), self.manifest.image).starts[int(group)] + int(row)}"
        except (SampleError, ValueError, IndexError):
            return source

    def file_of(self, source: str) -> Path:
        """The Parquet file."""
        return self.root / source.rpartition("#")[0]

    def stamp(self, source: str) -> str:
        """That of the Parquet file, and of the image's own where the row has only its path."""
        path = self.file_of(source)
        stamp = stamp_of(path)
        column = path_column(path, stamp, self.manifest.image)
        beside = None if column is None else cells(path, stamp, column).value(row_of(source))
        if isinstance(beside, dict):
            beside = beside.get("path")
        image = None if not beside else self.beside(path, beside)
        return f"{stamp} {stamp_of(image)}" if image is not None and image.exists() else stamp

    def read(self, source: str) -> bytes:
        """Read an image's bytes, or the file that the row has the path of."""
        path = self.file_of(source)
        value = cells(path, stamp_of(path), self.manifest.image).value(row_of(source))
        content = value.get("bytes") if isinstance(value, dict) else value
        beside = value.get("path") if isinstance(value, dict) else value
        if content is None or isinstance(content, str):
            content = read_sample(self.beside(path, beside)) if isinstance(beside, str) and beside else None
        if not isinstance(content, bytes):
            raise SampleError("the row has no image")
        return content

    def beside(self, path: Path, name: str) -> Path:
        """An image's file, by its path from the Parquet file or the root.

        Raises:
            SampleError: it leads out, or is no path.
        """
        if ADDRESS.match(name):
            raise SampleError("the row has only an address, and nothing is downloaded: put the image into the row")
        if len(name) > LONGEST_PATH or name.startswith(ENCODED):
            raise SampleError("the row has text instead of an image's bytes or path: decode it from base64 first")
        places = [Path(os.path.normpath(folder / name)) for folder in (path.parent, self.root)]
        inside = [place for place in places if place.is_relative_to(os.path.normpath(self.root))]
        if not inside or "\0" in name:
            raise SampleError("the row has only a path, which leads out of the dataset's folder")
        return next((place for place in inside if place.exists()), inside[0])


class Columns:
    """What the files say of all rows so far."""

    def __init__(self, manifest: ParquetManifest):
        self.manifest = manifest
        self.attributes, self.labels = Attributes(), Attributes()
        self.names: dict[str, dict[str, None]] = {}  # of columns whose values have names: those names, in order
        self.lists: set[tuple[str, ...]] = set()  # of class names that files declare
        self.texts: list[str] = []
        self.splits: list[str] = []
        self.sources: list[str] = []

    def add(self, file: ParquetFile, name: str, split: str) -> None:
        """Append the rows of a file."""
        self.check(file, name)
        label, where = self.manifest.label, f"dataset '{self.manifest.name}'"
        values = file.values(label)
        if isinstance(values, Unfit):
            raise DatasetError(
                f"{where}: the label '{label}' is neither a number nor a name ({values.reason}, in {name}); choose "
                f"another with 'label'"
            )
        if declared := file.class_names(label):
            self.lists.add(declared)
        self.labels.add(file.rows, {LABEL: values})
        if LABEL in self.labels.left_out:
            raise DatasetError(
                f"{where}: the label '{label}' has names in some files and numbers in others ({name} differs from "
                f"those before it): declare in each file which names its numbers have, or write the names"
            )
        used = {self.manifest.image, ID, LABEL} if label == LABEL else {self.manifest.image, ID}
        others = [column for column in dict.fromkeys(file.columns) if column not in used]
        for column in (label, *others):
            self.names.setdefault(column, {}).update(dict.fromkeys(file.class_names(column)))
        self.attributes.add(
            file.rows, {column: values if column == label else file.values(column) for column in others}
        )
        stem = name.removesuffix(".parquet")
        numbered = [f"{stem}-{row:06d}" for row in range(file.rows)]
        given = file.values(ID) if ID in file.columns else Unfit("")
        own = [None] * file.rows if isinstance(given, Unfit) else given.to_pylist()
        self.texts += [n if o is None else f"{split}-{o}" for n, o in zip(numbered, own, strict=True)]
        self.splits += [split] * file.rows
        self.sources += [f"{name}#{row}" + ("" if o is None else f"@{quoted(str(o))}") for row, o in enumerate(own)]

    def check(self, file: ParquetFile, name: str) -> None:
        """Raise PipelineError unless the file has the columns that are needed."""
        where = f"dataset '{self.manifest.name}': {name}"
        for key, wanted in (("image", self.manifest.image), ("label", self.manifest.label)):
            if wanted not in file.columns:
                raise ManifestError(
                    f"{where} has no column '{wanted}', {nearest(wanted, file.columns)} (keys 'image' and 'label' "
                    f"of the manifest)"
                )
            if file.columns.count(wanted) > 1:
                raise DatasetError(f"{where} has several columns '{wanted}'; write it with one ('{key}')")
        kind = file.kind(self.manifest.image)
        if not holds_images(kind):
            raise DatasetError(
                f"{where}: the column '{self.manifest.image}' holds {kind}, not one image's bytes or path in a "
                f"row; choose another with 'image', or write one picture in each row"
            )

    def samples(self) -> tuple[pd.DataFrame, Labels]:
        """The table of samples, and the labels with their classes. Raises DatasetError."""
        labels = self.encoded()
        texts, sources = (pd.Series(column, dtype="str") for column in (self.texts, self.sources))
        numbers = self.numbered()
        columns = {
            "id": sample_ids(texts, numbers),
            "split": pd.Series(self.splits, dtype="str"),
            "label": labels[0],
            "source": sources,
        }
        samples = pd.concat([pd.DataFrame(columns), self.attributes.frame()], axis=1)
        samples.attrs["label_values"] = {
            column: {value: value for value in self.names[name]}
            for name, column in self.attributes.called.items()
            if self.names.get(name)
        }
        return samples, labels

    def numbered(self) -> "pd.Series[str]":
        """Each row's file and number."""
        return pd.Series(self.sources, dtype="str").str.replace(r"(?s)#(\d+)@.*$", r"#\1", regex=True)

    def encoded(self) -> Labels:
        """Labels of all rows: by name where the files declare names, in the order of the first file that does."""
        values = self.labels.column(LABEL)
        label, dataset = self.manifest.label, self.manifest.name
        if isinstance(values, Unfit):
            raise DatasetError(f"dataset '{dataset}': the label '{label}' cannot be one ({values.reason})")
        found, wanted, where = tuple(self.names[label]), self.manifest.classes, self.numbered()
        if not found or not wanted:
            return encode_labels(values, wanted or found, label, dataset, where)
        if set(found) <= set(wanted):
            return encode_labels(values, wanted, label, dataset, where)
        if len(self.lists) == 1 and len(found) == len(wanted) and not set(found) & set(wanted):
            return encode_labels(values, found, label, dataset, where)[0], wanted  # the same classes by other names
        raise DatasetError(
            f"dataset '{dataset}': the files declare the classes {', '.join(found)}, which are not those of "
            f"'classes' in the manifest; leave it out, or correct it"
        )


def holds_images(kind: pa.DataType) -> bool:
    """Whether a column's type is that of one image in a row, or of its path."""
    if pa.types.is_struct(kind):
        parts = [field for field in kind if field.name in ("bytes", "path")]
        return bool(parts) and all(holds_bytes(field.type) for field in parts)
    return holds_bytes(kind)


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a type is that of bytes or texts."""
    tests = ("is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary", "is_null")
    return is_text(kind) or any(getattr(pa.types, test)(kind) for test in tests)


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is that of texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


@lru_cache(maxsize=64)
def path_column(path: Path, stamp: str, image: str) -> str | None:
    """The column with the paths of images, if a file has rows without their bytes."""
    found = cells(path, stamp, image).file
    kind = ParquetFile(path, found, 0, ()).kind(image)
    if is_text(kind):
        return image
    if not pa.types.is_struct(kind) or "path" not in (field.name for field in kind):
        return None
    if "bytes" not in (field.name for field in kind):
        return image
    groups = (found.metadata.row_group(group) for group in range(found.num_row_groups))
    parts = (group.column(i) for group in groups for i in range(group.num_columns))
    statistics = (part.statistics for part in parts if part.path_in_schema == f"{image}.bytes")
    complete = all(found is not None and found.has_null_count and found.null_count == 0 for found in statistics)
    return None if complete else f"{image}.path"


def row_of(source: str) -> int:
    """The number of a row in its file. Raises SampleError."""
    row = source.rpartition("#")[2].partition("@")[0]
    if not row.isascii() or not row.isdigit():
        raise SampleError(f"'{row}' is not the number of a row")
    return int(row)
