"""What the readers of CelebA and CelebA-HQ share: the label, names of values, which file belongs to which row."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from pipeline.datasets.celeb_tables import ATTRIBUTES, IDENTITY, Table, attribute_name, key_of
from pipeline.datasets.files import ImageManifest, ImageReader, with_notes
from pipeline.datasets.formats import IMAGE_SUFFIXES
from pipeline.datasets.ids import sample_ids
from pipeline.datasets.label_notes import label_notes
from pipeline.datasets.labels import binary_classes
from pipeline.datasets.walk import Skipped, list_files
from pipeline.errors import DatasetError

OUTSIDE = "a picture outside of the folder of the images"
NOT_LISTED = "a picture that the table of attributes does not list"
SECOND = "a second picture for a row of the tables"


class FacesManifest(ImageManifest):
    """Manifest of CelebA or CelebA-HQ."""

    label: str = Field(default="Smiling", description="the attribute that is the label, or `identity`")

    @field_validator("label")
    @classmethod
    def check_label(cls, label: str) -> str:  # type: ignore[override]
        """One of the forty attributes, or `identity`."""
        return attribute_name(label)


class FacesReader(ImageReader, ABC):
    """Reader of one of the two; it adds where files lie, and `read_tables`."""

    manifest_model: type[FacesManifest]
    manifest: FacesManifest

    @abstractmethod
    def read_tables(self) -> Table:
        """The forty attributes 0 or 1, `split`, and other attributes, by image."""

    @abstractmethod
    def images(self) -> Path | None:
        """The folder of the images."""

    @abstractmethod
    def tables(self) -> list[Path]:
        """The files that hold the tables."""

    @cached_property
    def _table(self) -> Table:
        self.check_present()
        return self.read_tables()

    @property
    def classes(self) -> tuple[str, ...]:
        """`not Smiling`, `Smiling`; or the identities that occur, by number."""
        label = self.manifest.label
        found = binary_classes(label) if label != IDENTITY else tuple(map(str, self.identities()))
        declared = self.manifest.classes
        if declared and len(declared) != len(found):
            raise DatasetError(
                f"dataset '{self.manifest.name}': 'classes' in the manifest names {len(declared)}, and the label "
                f"'{label}' has {len(found):,}"
            )
        return declared or found

    def identities(self) -> list[int]:
        """Those that occur."""
        return sorted(set(self._table.values[IDENTITY].tolist()))

    def label_values(self) -> dict[str, dict[str, str]]:
        """The names of all attributes' values, in the order of the labels."""
        values = {name: dict(zip(("0", "1"), binary_classes(name), strict=True)) for name in ATTRIBUTES}
        if IDENTITY in self._table.values:
            values[IDENTITY] = {str(number): str(number) for number in self.identities()}
        label = self.manifest.label
        values[label] = dict(zip(values[label], self.classes, strict=True))
        return values

    def scan(self) -> pd.DataFrame:
        """List the images by number, with their split, the attributes 0 or 1 and `identity`."""
        table, images = self._table, self.images()
        assert images is not None
        values = table.values.reset_index(drop=True)
        sources, notes, skipped = self.pair(table, images)
        label = values[self.manifest.label]
        samples = pd.DataFrame(
            {
                "id": sample_ids(self.ids(table.names.reset_index(drop=True)), sources),
                "split": values["split"],
                "label": label if self.manifest.label != IDENTITY else np.searchsorted(self.identities(), label),
                "source": sources,
            }
        ).astype({"label": "int64"})
        samples = pd.concat([samples, values.drop(columns="split")], axis=1)
        samples.attrs["label_values"] = self.label_values()
        if self.manifest.label != IDENTITY:  # whose splits have other persons each
            notes += label_notes(samples, self.classes)
        return with_notes(samples, table.notes + notes, skipped)

    def ids(self, names: "pd.Series[str]") -> "pd.Series[str]":
        """Ids of the images from the names in the table."""
        return names.str.replace(r"\.[^.]*$", "", regex=True)

    def pair(self, table: Table, images: Path) -> tuple["pd.Series[str]", list[str], list[Skipped]]:
        """The file of each row (where it is not there, the listed name), notes, and what is not taken."""
        folder = relative(images, self.root)
        listing = list_files(self.root, IMAGE_SUFFIXES)
        here = [path for path in listing.taken if path.rpartition("/")[0] == folder]
        skipped = [(path, OUTSIDE) for path in listing.taken if path.rpartition("/")[0] != folder]
        used = {relative(path, self.root) for path in self.tables()}
        skipped += [(path, reason) for path, reason in listing.skipped if path not in used]

        listed = {f"{folder}/{name}".lstrip("/") for name in table.names}
        by_key: dict[str, str] = {}
        for path, key in zip(
            here, key_of(pd.Series([p.rpartition("/")[2] for p in here], dtype="str")), strict=True
        ):
            if key not in table.names.index:
                skipped.append((path, NOT_LISTED))
            elif key not in by_key:
                by_key[key] = path
            elif path in listed:
                skipped.append((by_key[key], SECOND))
                by_key[key] = path
            else:
                skipped.append((path, SECOND))
        prefix = f"{folder}/" if folder else ""
        sources = [by_key.get(str(key), prefix + name) for key, name in table.names.items()]
        notes = []
        if absent := len(sources) - len(by_key):
            notes.append(f"{absent:,} of the {len(sources):,} images listed are not in {images}: unpack it again")
        if renamed := len(set(by_key.values()) - listed):
            notes.append(f"{renamed:,} images have another suffix, or another case, than the tables say")
        return pd.Series(sources, dtype="str"), notes, sorted(skipped)


def find_below(root: Path, folders: Iterable[str], names: Iterable[str]) -> Path | None:
    """The first of the files or folders `FOLDER/NAME` that is there, whatever the case of its name."""
    names = list(names)
    for folder in folders:
        top: Path | None = root
        for part in folder.split("/") if folder else ():
            top = None if top is None else entry_called(top, part)
        for name in names if top is not None else ():
            assert top is not None
            if (found := entry_called(top, name)) is not None:
                return found
    return None


def entry_called(folder: Path, name: str) -> Path | None:
    """An entry of a folder by its name, or by its name in another case."""
    if (folder / name).exists():
        return folder / name
    try:
        found = sorted(entry for entry in folder.iterdir() if entry.name.lower() == name.lower())
    except OSError:
        return None
    return found[0] if found else None


def relative(path: Path, root: Path) -> str:
    """A path below the root as text, "" for the root."""
    text = path.relative_to(root).as_posix()
    return "" if text == "." else text
