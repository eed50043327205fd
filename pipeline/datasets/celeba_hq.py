"""CelebA-HQ in the layout of CelebAMask-HQ: 30,000 faces at 1024x1024, CelebA's attributes and split."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.datasets.celeb_faces import FacesManifest, FacesReader, find_below
from pipeline.datasets.celeb_tables import IDENTITY, Table, key_of, read_attributes, read_mapping, read_pairs
from pipeline.errors import DatasetError

IMAGES = "CelebA-HQ-img"
ATTRIBUTE_FILE = "CelebAMask-HQ-attribute-anno.txt"
MAPPING_FILE = "CelebA-HQ-to-CelebA-mapping.txt"
IDENTITY_FILE = "identity_CelebA.txt"
LAST_TRAIN, LAST_VAL = 162_770, 182_637  # CelebA's list_eval_partition.txt, by the number of the original image


class CelebAHQManifest(FacesManifest):
    """Manifest of CelebA-HQ."""

    format: Literal["celeba-hq"]


class CelebAHQ(FacesReader):
    """Reader of CelebA-HQ."""

    manifest_model = CelebAHQManifest
    manifest: CelebAHQManifest

    @property
    def top(self) -> Path:
        """The folder CelebAMask-HQ itself, whether it is the root or lies in it."""
        return find_below(self.root, ("",), ("CelebAMask-HQ",)) or self.root

    def images(self) -> Path | None:
        """The folder of the images."""
        return self.find(IMAGES)

    def find(self, name: str) -> Path | None:
        """A file or folder beside the images; a table may be a .csv as well."""
        stem = name.removesuffix(".txt")
        return find_below(self.top, ("", "Anno"), (name, f"{stem}.csv", f"{stem}.tsv") if stem != name else (name,))

    def tables(self) -> list[Path]:
        """Attributes, mapping to CelebA and, where they are there, CelebA's identities."""
        return [path for path in map(self.find, (ATTRIBUTE_FILE, MAPPING_FILE, IDENTITY_FILE)) if path is not None]

    def lacking(self) -> list[str]:
        """The images, the attributes, the mapping to CelebA; for identities also CelebA's table of them."""
        lacking = [name for name in (IMAGES, ATTRIBUTE_FILE, MAPPING_FILE) if self.find(name) is None]
        if self.manifest.label == IDENTITY and self.find(IDENTITY_FILE) is None:
            lacking.append(f"{IDENTITY_FILE} (of CelebA)")
        return lacking

    def read_tables(self) -> Table:
        """Attributes, CelebA's split, number of the original image and, where known, identity."""
        attributes, to_celeba = self.find(ATTRIBUTE_FILE), self.find(MAPPING_FILE)
        assert attributes is not None
        assert to_celeba is not None
        table, mapping = read_attributes(attributes), read_mapping(to_celeba)
        original = mapping.values["original"].reindex(table.values.index)
        if original.isna().any():
            raise DatasetError(
                f"dataset '{self.manifest.name}': {to_celeba.name} lacks {int(original.isna().sum())} of the "
                f"images that {attributes.name} lists; download both again"
            )
        number = original.astype("int64")
        split = np.select([number <= LAST_TRAIN, number <= LAST_VAL], ["train", "val"], "test")
        columns = table.values.assign(original=number, split=split)
        notes = table.notes + mapping.notes
        if more := len(mapping.values.index.difference(table.values.index)):
            notes.append(f"{to_celeba.name} lists {more:,} images that {attributes.name} does not")
        if (path := self.find(IDENTITY_FILE)) is not None:
            pairs = read_pairs(path, IDENTITY)
            names = key_of(mapping.names.reindex(table.values.index))
            identity = pairs.values[IDENTITY].reindex(pd.Index(names))
            if identity.isna().any():
                raise DatasetError(f"{path} does not know every image of CelebA-HQ; download it again")
            columns[IDENTITY] = identity.to_numpy("int64")
            notes += pairs.notes
        return Table(table.names, columns, notes)

    def ids(self, names: "pd.Series[str]") -> "pd.Series[str]":
        """Five digits."""
        return super().ids(names).str.zfill(5)
