"""CelebA, aligned and cropped (Liu et al., 2015): 202,599 faces of 178x218, forty attributes, identities."""

from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field, field_validator

from pipeline.datasets.celeb_tables import (
    IDENTITY,
    SPLITS,
    absent_images,
    attribute_name,
    identity_classes,
    labels_of,
    read_attributes,
    read_pairs,
)
from pipeline.datasets.files import ImageManifest, ImageReader, first_there, with_notes
from pipeline.datasets.labels import binary_classes
from pipeline.errors import DatasetError

IMAGES = ("img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba")


class CelebAManifest(ImageManifest):
    """Manifest of CelebA."""

    format: Literal["celeba"]
    label: str = Field(default="Smiling", description="the attribute that is the label, or `identity`")

    @field_validator("label")
    @classmethod
    def check_label(cls, label: str) -> str:  # type: ignore[override]
        """One of the forty attributes, or `identity`."""
        return attribute_name(label)


class CelebA(ImageReader):
    """Reader of CelebA as published, and as Kaggle carries it."""

    manifest_model = CelebAManifest
    manifest: CelebAManifest

    @property
    def classes(self) -> tuple[str, ...]:
        """`not Smiling`, `Smiling`; or the identities that occur."""
        if self.manifest.classes:
            return self.manifest.classes
        if self.manifest.label == IDENTITY:
            return identity_classes(self._table[IDENTITY])
        return binary_classes(self.manifest.label)

    def images(self) -> Path | None:
        """The folder of the images."""
        return first_there(self.root, IMAGES)

    def table_path(self, name: str) -> Path | None:
        """A table beside the images, or where the official download keeps it."""
        return first_there(
            self.root, tuple(f"{d}{name}.{e}" for d in ("", "Anno/", "Eval/") for e in ("txt", "csv"))
        )

    def lacking(self) -> list[str]:
        """The images, and the two or three tables that are needed."""
        tables = ["list_attr_celeba", "list_eval_partition"]
        tables += ["identity_CelebA"] if self.manifest.label == IDENTITY else []
        images = [] if self.images() else ["img_align_celeba/"]
        return images + [f"{name}.txt" for name in tables if self.table_path(name) is None]

    @cached_property
    def _table(self) -> pd.DataFrame:
        """Attributes, split and, where its file is there, identity, by file name."""
        self.check_present()
        attributes, partition = self.table_path("list_attr_celeba"), self.table_path("list_eval_partition")
        assert attributes is not None
        assert partition is not None
        table = read_attributes(attributes)
        numbers = {"split": read_pairs(partition, "split")}
        if (identity := self.table_path("identity_CelebA")) is not None:
            numbers[IDENTITY] = read_pairs(identity, IDENTITY)
        for name, column in numbers.items():
            found = column.reindex(table.index)
            if found.isna().any() or (name == "split" and not found.isin(list(SPLITS)).all()):
                raise DatasetError(
                    f"dataset '{self.manifest.name}': its tables do not fit together: '{name}' is not known for "
                    f"every image of {attributes}; download all of them again"
                )
            table[name] = found.astype("int64")
        return table.assign(split=table["split"].map(SPLITS))

    def scan(self) -> pd.DataFrame:
        """List the images by number, in the published split, with attributes 0 or 1 and `identity`."""
        table = self._table
        images = self.images()
        assert images is not None
        names = table.index.to_series().reset_index(drop=True).astype("str")
        samples = pd.DataFrame(
            {
                "id": names.str.replace(".jpg", "", regex=False),
                "split": table["split"].to_numpy(),
                "label": labels_of(table, self.manifest.label),
                "source": images.relative_to(self.root).as_posix() + "/" + names,
            }
        )
        attributes = table.drop(columns="split").reset_index(drop=True)
        return with_notes(pd.concat([samples, attributes], axis=1), absent_images(names, images))
