"""A WebDataset: tar files whose neighbouring members, alike up to the first dot, make a sample."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, field_validator

from pipeline.datasets.attributes import MOST_ATTRIBUTES, TOO_MANY, Attributes, Unfit, column_of
from pipeline.datasets.files import ImageManifest, ImageReader, with_notes
from pipeline.datasets.formats import ARCHIVES
from pipeline.datasets.ids import sample_ids
from pipeline.datasets.label_notes import folder_notes, label_notes
from pipeline.datasets.labels import Labels, encode_labels, nearest
from pipeline.datasets.spelling import quoted, unquoted
from pipeline.datasets.split_names import splits_of
from pipeline.datasets.tar_index import Said, index_tar
from pipeline.datasets.walk import Listing, Skipped, list_files
from pipeline.errors import DatasetError, ManifestError, SampleError
from pipeline.pictures.opening import check_bytes

LABEL = "cls"
NO_SAMPLE = "a tar without pictures"
PACKED = "compressed, and not looked into: unpack it"
REASONS = dict.fromkeys(ARCHIVES - {".tar", ".npy", ".mat", ".pkl", ".h5", ".hdf5", ".mdb", ".parquet"}, PACKED)


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


class WebDataset(ImageReader):
    """Reader of tar files. A scan reads every member's header once; an image is then read at its offset."""

    manifest_model = WebDatasetManifest
    manifest: WebDatasetManifest

    @property
    def classes(self) -> tuple[str, ...]:
        """As declared, or those that occur, which takes a scan."""
        return self.manifest.classes or self._scanned[1][1]

    def listing(self) -> Listing:
        """The tar files below the root, and the rest."""
        return list_files(self.root, frozenset({".tar"}), REASONS, "not a tar")

    def lacking(self) -> list[str]:
        """Tar files."""
        listing = self.listing()
        packed = sum(reason == PACKED for _, reason in listing.skipped)
        which = f"but {packed} compressed, which have to be unpacked" if packed else "not compressed"
        return [] if listing.taken else [f"*.tar ({which})"]

    @cached_property
    def _scanned(self) -> tuple[pd.DataFrame, Labels]:
        self.check_present()
        listing = self.listing()
        splits, notes = splits_of(listing.taken)
        skipped, attributes, labels = list(listing.skipped), Attributes(), Attributes()
        ids: list[str] = []
        members: list[str] = []
        sources: list[str] = []
        split_column: list[str] = []
        for name, split in zip(listing.taken, splits, strict=True):
            index = index_tar(self.root / name, self.manifest.label)
            notes += index.notes
            skipped += [(f"{name}/{member}", reason) for member, reason in index.skipped]
            skipped += [] if index.samples else [(name, NO_SAMPLE)]
            said = [facts for _, _, facts in index.samples]
            attributes.add(len(said), json_columns(said, self.manifest.label))
            labels.add(len(said), {LABEL: column_of([facts.cls for facts in said])})
            members += [key for key, _, _ in index.samples]
            ids += [f"{split}-{key}" for key, _, _ in index.samples]
            sources += [f"{quoted(name)}#{key}@{start}+{size}" for key, (start, size), _ in index.samples]
            split_column += [split] * len(said)
        if not sources:
            raise DatasetError(
                f"dataset '{self.manifest.name}': no images in the tar files of {self.root}{main_reasons(skipped)}"
            )
        found = self.label_column(attributes, labels, skipped)
        name = self.manifest.label or LABEL
        texts, source = pd.Series(ids, dtype="str"), pd.Series(sources, dtype="str")
        keys = source.str.replace(r"@[^@]*$", "", regex=True)
        codes, classes = encode_labels(found, self.manifest.classes, name, self.manifest.name, keys)
        notes += repeated(texts)
        columns = {
            "id": sample_ids(texts, keys),
            "split": pd.Series(split_column, dtype="str"),
            "label": codes,
            "source": source,
        }
        samples = pd.concat([pd.DataFrame(columns), attributes.frame()], axis=1)
        notes += folder_notes(members, split_column) + label_notes(samples, classes) + listing.notes()
        return with_notes(samples, notes + attributes.note(), skipped), (codes, classes)

    def label_column(self, attributes: Attributes, labels: Attributes, skipped: list[Skipped]) -> pd.Series:
        """The labels as they are said. Raises PipelineError if there is none, or it could be none."""
        label, where = self.manifest.label, f"dataset '{self.manifest.name}'"
        known = attributes.chunks.keys() | attributes.left_out.keys()
        values = labels.column(LABEL) if label is None else attributes.column(label)
        if isinstance(values, Unfit):
            raise DatasetError(
                f"{where}: the label '{label or LABEL}' is neither a number nor a name ({values.reason}); choose "
                f"another with 'label'"
            )
        if not values.isna().all():
            return values
        if label is not None:
            raise ManifestError(f"{where}: no .json has the key '{label}', {nearest(label, known)}")
        raise ManifestError(
            f"{where}: the samples have no .cls; name the key of .json that is the label with 'label', "
            f"{nearest('label', known) if known else 'and add the .json files'}{main_reasons(skipped)}"
        )

    def scan(self) -> pd.DataFrame:
        """List the samples in the order of the tars; the split is in a tar's name."""
        return self._scanned[0].copy()

    def key(self, source: str) -> str:
        """The tar and the sample's key, without the offset of its picture."""
        return source.rpartition("@")[0]

    def container(self, source: str) -> str:
        """The tar."""
        return source.partition("#")[0]

    def file_of(self, source: str) -> Path:
        """The tar."""
        return self.root / unquoted(self.key(source).partition("#")[0])

    def read(self, source: str) -> bytes:
        """Read an image's bytes at their offset."""
        path = self.file_of(source)
        start, _, size = source.rpartition("@")[2].partition("+")
        check_bytes(int(size))
        try:
            with path.open("rb") as file:
                file.seek(int(start))
                data = file.read(int(size))
        except OSError as error:
            raise SampleError(f"cannot read {path.name}: {error.strerror}", unreadable=True) from error
        if len(data) < int(size):
            raise SampleError(f"{path.name} is shorter than when it was scanned", unreadable=True)
        return data


def json_columns(said: list[Said], label: str | None) -> dict[str, Any]:
    """The keys of the samples' .json as columns, the label first, with None where a sample has not the key."""
    names = dict.fromkeys(name for facts in said for name in facts.keys)
    if label in names:
        names = {label: None} | names
    some = list(names)[:MOST_ATTRIBUTES]
    columns: dict[str, Any] = {name: column_of([facts.keys.get(name) for facts in said]) for name in some}
    return columns | dict.fromkeys(list(names)[MOST_ATTRIBUTES:], Unfit(TOO_MANY))


def repeated(names: "pd.Series[str]") -> list[str]:
    """A note on keys that occur in several tars, if any do."""
    count = int(names.duplicated(keep=False).sum())
    if not count:
        return []
    first = names[names.duplicated(keep=False)].iloc[0]
    return [
        f"{count:,} samples have a key that occurs in several tars ({first}, say): all are taken, and their ids "
        f"end in a digest"
    ]


def main_reasons(skipped: list[Skipped]) -> str:
    """The three most frequent reasons why members are not taken, in brackets."""
    counts = pd.Series([reason for _, reason in skipped], dtype="str").value_counts()[:3]
    some = "; ".join(f"{count:,}: {reason}" for reason, count in counts.items())
    return f" (not taken: {some})" if some else ""
