"""A WebDataset: tar files whose neighbouring members, alike up to the first dot, make a sample."""

import json
import tarfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, field_validator

from pipeline.datasets.files import IMAGE_SUFFIXES, ImageManifest, ImageReader, files_below
from pipeline.datasets.ids import sample_ids
from pipeline.datasets.labels import Labels, encode_labels, nearest
from pipeline.datasets.split_names import split_of
from pipeline.errors import DatasetError, ManifestError, SampleError

LABEL = "cls"


class WebDatasetManifest(ImageManifest):
    """Manifest of a set of tar files."""

    format: Literal["webdataset"]
    root: str = Field(description="folder of the tar files, absolute or relative to this manifest")
    label: str | None = Field(default=None, description="key of the .json that is the label; the .cls if left out")

    @field_validator("label")
    @classmethod
    def check_label(cls, label: str | None) -> str | None:
        """Which keys there are is only known once the tars are read."""
        return label


@dataclass
class Entry:
    """What the members of one sample say."""

    image: tuple[int, int] | None = None  # offset and size in the tar
    label: Any = None
    keys: list[str] = field(default_factory=list)


class WebDataset(ImageReader):
    """Reader of tar files. A scan reads every member's header once; an image is then read at its offset."""

    manifest_model = WebDatasetManifest
    manifest: WebDatasetManifest

    @property
    def classes(self) -> tuple[str, ...]:
        """As declared, or those that occur, which takes a scan."""
        return self.manifest.classes or self._scanned[1][1]

    def lacking(self) -> list[str]:
        """Tar files."""
        return [] if files_below(self.root, frozenset({".tar"})) else ["*.tar (not compressed)"]

    @cached_property
    def _scanned(self) -> tuple[pd.DataFrame, Labels]:
        self.check_present()
        columns: dict[str, list[Any]] = {"id": [], "split": [], "label": [], "source": []}
        keys: set[str] = set()
        for name in files_below(self.root, frozenset({".tar"})):
            split = split_of(name)
            for key, entry in index_tar(self.root / name, self.manifest.label).items():
                keys.update(entry.keys)
                if entry.image is not None:
                    offset, size = entry.image
                    row = (f"{split}-{key}", split, entry.label, f"{name}@{offset}+{size}")
                    for column, value in zip(columns.values(), row, strict=True):
                        column.append(value)
        if not columns["id"]:
            raise DatasetError(f"dataset '{self.manifest.name}': no images in the tar files of {self.root}")
        table = pd.DataFrame(columns).convert_dtypes(dtype_backend="numpy_nullable")
        self.check_labels(table, keys)
        name = self.manifest.label or LABEL
        labels = encode_labels(table["label"], self.manifest.classes, name, self.manifest.name)
        samples = table.assign(id=sample_ids(table["id"]), label=labels[0])
        return samples.astype({"id": "str", "split": "str", "source": "str"}), labels

    def check_labels(self, table: pd.DataFrame, keys: set[str]) -> None:
        """Raise ManifestError if no sample has the label that was asked for."""
        if not table["label"].isna().all():
            return
        if self.manifest.label is not None:
            raise ManifestError(
                f"dataset '{self.manifest.name}': no .json has the key '{self.manifest.label}', "
                f"{nearest(self.manifest.label, keys)}"
            )
        raise ManifestError(
            f"dataset '{self.manifest.name}': the samples have no .cls; name the key of .json that is the label "
            f"with 'label', {nearest('label', keys) if keys else 'and add the .json files'}"
        )

    def scan(self) -> pd.DataFrame:
        """List the samples in the order of the tars; the split is in a tar's name."""
        return self._scanned[0].copy()

    def file_of(self, source: str) -> Path:
        """The tar."""
        return self.root / source.rpartition("@")[0]

    def read(self, source: str) -> bytes:
        """Read an image's bytes at their offset."""
        name, _, place = source.rpartition("@")
        offset, _, size = place.partition("+")
        try:
            with (self.root / name).open("rb") as file:
                file.seek(int(offset))
                data = file.read(int(size))
        except OSError as error:
            raise SampleError(f"cannot read {name}: {error.strerror}", unreadable=True) from error
        if len(data) < int(size):
            raise SampleError(f"{name} is shorter than when it was scanned")
        return data


def index_tar(path: Path, label: str | None) -> dict[str, Entry]:
    """The samples of a tar by key, with the place of their image and their label.

    Raises:
        DatasetError: it is not a tar, is cut short, or holds a .json that is none.
    """
    entries: dict[str, Entry] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                entry = entries.setdefault(f"{folder}/{stem}" if folder else stem, Entry())
                suffix = "." + extension.lower()
                if suffix in IMAGE_SUFFIXES:
                    entry.image = entry.image or (member.offset_data, member.size)
                elif (suffix == ".cls" and label is None) or suffix == ".json":
                    content = tar.extractfile(member)
                    assert content is not None
                    read_annotation(entry, suffix, content.read(), label)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DatasetError(f"{path} is damaged or no plain tar: {error}; write or download it again") from error
    return entries


def read_annotation(entry: Entry, suffix: str, content: bytes, label: str | None) -> None:
    """Take the label from a .cls (a number or a name) or a .json."""
    if suffix == ".cls":
        text = content.decode().strip()
        entry.label = int(text) if text.lstrip("-").isdigit() else text
        return
    found = json.loads(content)
    if isinstance(found, dict):
        entry.keys = list(found)
        if label is not None:
            entry.label = found.get(label)
