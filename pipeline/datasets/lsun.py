"""LSUN (Yu et al., 2015): one category as the official LMDB, or exported into folders."""

import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.datasets.files import IMAGE_SUFFIXES, ImageManifest, ImageReader, files_below, first_there
from pipeline.datasets.ids import sample_ids
from pipeline.errors import DatasetError, SampleError

if TYPE_CHECKING:
    import lmdb

OPENING = threading.Lock()  # one process must not open an LMDB environment twice


class LSUNManifest(ImageManifest):
    """Manifest of one LSUN category."""

    format: Literal["lsun"]
    category: str = Field(description="LSUN's name of the category, e.g. car or cat")


class LSUN(ImageReader):
    """Reader of one LSUN category. All its images are for training: LSUN has no labelled test split of it."""

    manifest_model = LSUNManifest
    manifest: LSUNManifest

    @property
    def classes(self) -> tuple[str, ...]:
        """The category is the only class."""
        return self.manifest.classes or (self.manifest.category,)

    def database(self) -> Path | None:
        """The folder of data.mdb, if the dataset is an LMDB."""
        category = self.manifest.category
        names = ("data.mdb", f"{category}_lmdb/data.mdb", f"{category}_train_lmdb/data.mdb", f"{category}/data.mdb")
        found = first_there(self.root, names)
        return None if found is None else found.parent

    def lacking(self) -> list[str]:
        """The database, or else a folder of images."""
        category = self.manifest.category
        there = self.database() is not None or (self.root / category).is_dir()
        return [] if there else [f"{category}_lmdb/data.mdb (or images exported into {category}/)"]

    def scan(self) -> pd.DataFrame:
        """List the images by key, which is a hash of their content: an order as good as drawn."""
        self.check_present()
        database = self.database()
        if database is not None:
            sources = pd.Series(keys(database), dtype="str")
            names = sources
        else:
            paths = pd.Series(files_below(self.root / self.manifest.category, IMAGE_SUFFIXES), dtype="str")
            sources = f"{self.manifest.category}/" + paths
            names = paths.str.replace(r"^.*/|\.[^./]*$", "", regex=True)
        if sources.empty:
            raise DatasetError(f"dataset '{self.manifest.name}': no images in {database or self.root}")
        return pd.DataFrame(
            {"id": sample_ids(names), "split": "train", "label": np.int64(0), "source": sources}, copy=False
        )

    def file_of(self, source: str) -> Path:
        """The database, or the exported file."""
        database = self.database()
        return self.root / source if database is None else database / "data.mdb"

    def read(self, source: str) -> bytes:
        """The bytes under the key `source`, or of the exported file of that path."""
        database = self.database()
        if database is None:
            return super().read(source)
        with open_database(database).begin(buffers=False) as transaction:
            data = transaction.get(source.encode())
        if data is None:
            raise SampleError("the database has no such key")
        return bytes(data)


def open_database(path: Path) -> "lmdb.Environment":
    """An LMDB environment, read-only, opened once in each process. Raises DatasetError."""
    with OPENING:
        return _open_database(path, os.getpid())


@lru_cache(maxsize=8)
def _open_database(path: Path, process: int) -> "lmdb.Environment":
    import lmdb

    try:
        # No lock: the folder may be on a read-only disk, and nobody writes. No readahead: access is at random.
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DatasetError(
            f"{path} is not an LMDB that can be read: {error}; download and unpack it again"
        ) from error


def keys(path: Path) -> list[str]:
    """Keys of an LMDB in order, without touching the images."""
    with open_database(path).begin() as transaction, transaction.cursor() as cursor:
        return [key.decode() for key in cursor.iternext(keys=True, values=False)]
