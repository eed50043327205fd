"""CelebA-HQ in the layout of CelebAMask-HQ: 30,000 faces at 1024x1024, CelebA's attributes and split."""

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from pipeline.datasets.celeb_tables import (
    IDENTITY,
    absent_images,
    attribute_name,
    identity_classes,
    labels_of,
    read_attributes,
    read_mapping,
    read_pairs,
)
from pipeline.datasets.files import ImageManifest, ImageReader, first_there, with_notes
from pipeline.datasets.labels import binary_classes
from pipeline.errors import DatasetError

IMAGES = "CelebA-HQ-img"
ATTRIBUTE_FILE = "CelebAMask-HQ-attribute-anno.txt"
MAPPING_FILE = "CelebA-HQ-to-CelebA-mapping.txt"
IDENTITY_FILES = ("identity_CelebA.txt", "Anno/identity_CelebA.txt", "identity_CelebA.csv")
LAST_TRAIN, LAST_VAL = 162_770, 182_637  # CelebA's list_eval_partition.txt, by the number of the original image


class CelebAHQManifest(ImageManifest):
    """Manifest of CelebA-HQ."""

    format: Literal["celeba-hq"]
    label: str = Field(default="Smiling", description="the attribute that is the label, or `identity`")

    @field_validator("label")
    @classmethod
    def check_label(cls, label: str) -> str:  # type: ignore[override]
        """One of the forty attributes, or `identity`."""
        return attribute_name(label)


class CelebAHQ(ImageReader):
    """Reader of CelebA-HQ."""

    manifest_model = CelebAHQManifest
    manifest: CelebAHQManifest

    @property
    def top(self) -> Path:
        """The folder CelebAMask-HQ itself, whether it is the root or lies in it."""
        return first_there(self.root, ("CelebAMask-HQ",)) or self.root

    @property
    def classes(self) -> tuple[str, ...]:
        """`not Smiling`, `Smiling`; or the identities that occur."""
        if self.manifest.classes:
            return self.manifest.classes
        if self.manifest.label == IDENTITY:
            return identity_classes(self._table[IDENTITY])
        return binary_classes(self.manifest.label)

    def identity_path(self) -> Path | None:
        """CelebA's identity_CelebA.txt, if it was put beside the images."""
        return first_there(self.top, IDENTITY_FILES)

    def lacking(self) -> list[str]:
        """The images, the attributes, the mapping to CelebA; for identities also CelebA's table of them."""
        lacking = [name for name in (IMAGES, ATTRIBUTE_FILE, MAPPING_FILE) if not (self.top / name).exists()]
        if self.manifest.label == IDENTITY and self.identity_path() is None:
            lacking.append(f"{IDENTITY_FILES[0]} (of CelebA)")
        return lacking

    @cached_property
    def _table(self) -> pd.DataFrame:
        """Attributes, number of the original image and, where known, identity, by file name."""
        self.check_present()
        table = read_attributes(self.top / ATTRIBUTE_FILE)
        mapping = read_mapping(self.top / MAPPING_FILE)
        original = pd.Series(mapping["orig_file"].to_numpy(), index=mapping["idx"].astype("str") + ".jpg")
        original = original.reindex(table.index)
        if original.isna().any():
            raise DatasetError(
                f"dataset '{self.manifest.name}': {MAPPING_FILE} lacks {int(original.isna().sum())} of the images "
                f"that {ATTRIBUTE_FILE} lists; download both again"
            )
        table["original"] = original.str.replace(".jpg", "", regex=False).astype("int64")
        if (path := self.identity_path()) is not None:
            identity = read_pairs(path, IDENTITY).reindex(original)
            if identity.isna().any():
                raise DatasetError(f"{path} does not know every image of CelebA-HQ; download it again")
            table[IDENTITY] = identity.to_numpy("int64")
        return table

    def scan(self) -> pd.DataFrame:
        """List the images by number, in CelebA's split, with attributes 0 or 1, `original` and `identity`."""
        table = self._table
        names = table.index.to_series().reset_index(drop=True).astype("str")
        number = table["original"].to_numpy()
        images = self.top / IMAGES
        samples = pd.DataFrame(
            {
                "id": names.str.replace(".jpg", "", regex=False).str.zfill(5),
                "split": np.select([number <= LAST_TRAIN, number <= LAST_VAL], ["train", "val"], "test"),
                "label": labels_of(table, self.manifest.label),
                "source": images.relative_to(self.root).as_posix() + "/" + names,
            }
        )
        return with_notes(pd.concat([samples, table.reset_index(drop=True)], axis=1), absent_images(names, images))
