"""LSUN (Yu et al., 2015): one category as the official LMDB, or exported into folders."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.datasets.files import ImageManifest, ImageReader, first_there, with_notes
from pipeline.datasets.formats import IMAGE_SUFFIXES
from pipeline.datasets.ids import sample_ids
from pipeline.datasets.lmdb_file import Database, DatabaseError
from pipeline.datasets.spelling import spelled, unspelled
from pipeline.datasets.walk import entries_beside, list_files, moved
from pipeline.errors import DatasetError, SampleError
from pipeline.pictures.opening import check_bytes

BESIDE_DATABASE = "beside the database, which is all that is read"
OTHER_CATEGORY = "beside the folder of the category"


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
        """The data.mdb, if the dataset is an LMDB."""
        category = self.manifest.category
        names = ("data.mdb", f"{category}_lmdb/data.mdb", f"{category}_train_lmdb/data.mdb", f"{category}/data.mdb")
        return first_there(self.root, names)

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
            path = database.relative_to(self.root).as_posix()
            skipped = entries_beside(self.root, path, BESIDE_DATABASE, frozenset({"lock.mdb"}))
        else:
            category = self.manifest.category
            listing = list_files(self.root / category, IMAGE_SUFFIXES)
            paths = pd.Series(listing.taken, dtype="str")
            sources = f"{category}/" + paths
            names = paths.str.replace(r"^.*/|\.[^./]*$", "", regex=True)
            skipped = moved(listing.skipped, category) + entries_beside(self.root, category, OTHER_CATEGORY)
        if sources.empty:
            raise DatasetError(f"dataset '{self.manifest.name}': no images in {database or self.root}")
        if len(self.classes) != 1:
            raise DatasetError(
                f"dataset '{self.manifest.name}': 'classes' in the manifest names {len(self.classes)}, and LSUN's "
                f"category is one class"
            )
        samples = pd.DataFrame(
            {"id": sample_ids(names, sources), "split": "train", "label": np.int64(0), "source": sources},
            copy=False,
        )
        return with_notes(samples, [], sorted(skipped))

    def container(self, source: str) -> str:
        """The database, or the exported file."""
        return source if self.database() is None else ""

    def file_of(self, source: str) -> Path:
        """The same, as a path."""
        return self.database() or self.root / source

    def read(self, source: str) -> bytes:
        """The bytes under the key `source`, or of the exported file of that path."""
        path = self.database()
        if path is None:
            return super().read(source)
        try:
            with Database(path) as database:
                node = database.find(unspelled(source))
                if node is None:
                    raise SampleError("the database has no such key")
                check_bytes(node.size)
                return database.value(node)
        except OSError as error:
            raise SampleError(f"cannot read {path.name}: {error.strerror}", unreadable=True) from error
        except DatabaseError as error:
            raise SampleError(f"{path.name} {error}") from error


def keys(path: Path) -> list[str]:
    """Keys of an LMDB in order, without touching the images. Raises DatasetError."""
    try:
        with Database(path) as database:
            return [spelled(key) for key in database.keys()]  # noqa: SIM118 - no mapping
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from error
    except DatabaseError as error:
        raise DatasetError(
            f"{path} is not an LMDB that can be read: it {error}; download and unpack it again"
        ) from error
