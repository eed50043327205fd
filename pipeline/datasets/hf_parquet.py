"""Images in Parquet as Hugging Face keeps them: a column of struct<bytes, path> and columns of labels."""

import json
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, field_validator

from pipeline.datasets.files import ImageManifest, ImageReader, files_below, read_sample
from pipeline.datasets.ids import numbered_ids, sample_ids
from pipeline.datasets.labels import Labels, encode_labels, nearest
from pipeline.datasets.split_names import split_of
from pipeline.errors import DatasetError, ManifestError, SampleError

LABEL, ID = "label", "id"


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
    """Reader of Parquet files. A scan reads the labels only; an image is read with its row group."""

    manifest_model = ParquetManifest
    manifest: ParquetManifest

    @property
    def classes(self) -> tuple[str, ...]:
        """As declared here or in the files, or those that occur."""
        return self.manifest.classes or self._scanned[1][1]

    def files(self) -> list[str]:
        """Paths of the Parquet files, relative to the root."""
        return files_below(self.root, frozenset({".parquet"}))

    def lacking(self) -> list[str]:
        """Parquet files."""
        return [] if self.files() else ["*.parquet"]

    @cached_property
    def _scanned(self) -> tuple[pd.DataFrame, Labels]:
        self.check_present()
        tables, declared = [], self.manifest.classes
        for name in self.files():
            table, classes = self.index(name)
            tables.append(table)
            declared = declared or classes
        table = pd.concat(tables, ignore_index=True)
        if table.empty:
            raise DatasetError(f"dataset '{self.manifest.name}': no rows in the Parquet files of {self.root}")
        labels = encode_labels(table["label"], declared, self.manifest.label, self.manifest.name)
        ids = (
            sample_ids(table["split"] + "-" + table[ID].astype("str"))
            if ID in table
            else numbered_ids(table["split"])
        )
        return table.assign(id=ids, label=labels[0])[["id", "split", "label", "source"]], labels

    def index(self, name: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Label, id and place of each row of a file, and the class names its metadata declares."""
        file = open_parquet(self.root / name)
        columns = file.schema_arrow.names
        for wanted in (self.manifest.image, self.manifest.label):
            if wanted not in columns:
                raise ManifestError(
                    f"dataset '{self.manifest.name}': {name} has no column '{wanted}', {nearest(wanted, columns)} "
                    f"(keys 'image' and 'label' of the manifest)"
                )
        wanted_columns = [self.manifest.label, *([ID] if ID in columns and self.manifest.label != ID else [])]
        table = file.read(columns=wanted_columns).to_pandas()
        places = [
            f"{name}#{group}/{row}"
            for group in range(file.num_row_groups)
            for row in range(file.metadata.row_group(group).num_rows)
        ]
        table = table.rename(columns={self.manifest.label: "label"})
        table = table.assign(split=split_of(name), source=pd.Series(places, dtype="str"))
        return table, declared_classes(file.schema_arrow.metadata, self.manifest.label)

    def scan(self) -> pd.DataFrame:
        """List the rows in the order of the files; the split is in a file's name."""
        return self._scanned[0].copy()

    def file_of(self, source: str) -> Path:
        """The Parquet file."""
        return self.root / source.rpartition("#")[0]

    def read(self, source: str) -> bytes:
        """Read an image's bytes; its row group stays in memory, since the next is likely to be of it too."""
        name, _, place = source.rpartition("#")
        group, _, row = place.partition("/")
        value = row_group(self.root / name, int(group), self.manifest.image)[int(row)].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None and isinstance(value, dict) and value.get("path"):
            content = read_sample((self.root / name).parent / value["path"])
        if not isinstance(content, bytes):
            raise SampleError("the row has no image")
        return content


@lru_cache(maxsize=4)
def open_parquet(path: Path) -> Any:
    """A Parquet file's metadata. Raises DatasetError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is not a Parquet file that can be read: {error}; download it again") from error


@lru_cache(maxsize=2)
def row_group(path: Path, group: int, column: str) -> Any:
    """The images of a row group. Raises SampleError."""
    import pyarrow as pa

    try:
        return open_parquet(path).read_row_group(group, columns=[column]).column(column)
    except (OSError, IndexError, pa.ArrowException, DatasetError) as error:
        raise SampleError(f"cannot read row group {group} of {path.name}: {error}", unreadable=True) from error


def declared_classes(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...]:
    """Class names that Hugging Face's metadata gives a column, if it does."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (ValueError, KeyError, TypeError):
        return ()
