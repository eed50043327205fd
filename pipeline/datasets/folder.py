"""A folder for each class: ROOT/CLASS/*.png, or ROOT/SPLIT/CLASS/*.png where the manifest names splits."""

from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from pipeline.datasets.class_folders import (
    Folders,
    Trees,
    class_notes,
    joined,
    split_notes,
    splits_line,
)
from pipeline.datasets.files import ImageManifest, ImageReader, with_notes
from pipeline.datasets.formats import IMAGE_SUFFIXES
from pipeline.datasets.ids import sample_ids
from pipeline.datasets.label_notes import alike, number_notes, quoted
from pipeline.datasets.split_names import splits_in
from pipeline.datasets.walk import Listing, Skipped, list_files
from pipeline.errors import DatasetError


class FolderManifest(ImageManifest):
    """Manifest of a class-per-folder tree."""

    format: Literal["folder"]
    root: str = Field(description="folder of the tree, absolute or relative to this manifest")
    splits: tuple[str, ...] = Field(default=(), description="sub-folders that hold a tree of classes each")

    @field_validator("splits", "classes")
    @classmethod
    def check_folders(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Folders below the root, each once."""
        for name in names:
            if not name or PurePosixPath(name).is_absolute() or {".", ".."} & set(name.split("/")):
                raise ValueError(f"{name!r} is not a folder below the root")
        if len({name.strip("/") for name in names}) < len(names):
            raise ValueError("a name occurs twice")
        return tuple(name.strip("/") for name in names)


class Folder(ImageReader):
    """Reader of a class-per-folder tree."""

    manifest_model = FolderManifest
    manifest: FolderManifest

    @property
    def classes(self) -> tuple[str, ...]:
        """As declared, or the class folders that hold images, by name, which takes a scan."""
        return self.manifest.classes or self._scanned[1]

    def trees(self) -> Trees:
        """The folders that hold a folder for each class, and their splits."""
        if not self.manifest.splits:
            return {"": "train"}
        last = {folder: folder.rpartition("/")[2] for folder in self.manifest.splits}
        known = splits_in(last.values(), alone=True)
        return {folder: known.get(name, name) for folder, name in last.items()}

    def problem(self) -> str | None:
        """Say which folder is missing or unreadable."""
        for tree in self.trees():
            for name in ("", *self.manifest.classes):
                folder = self.root / tree / name
                try:
                    next(folder.iterdir(), None)
                except OSError as error:
                    reason = (
                        f"is not there{alternatives(folder)}"
                        if isinstance(error, FileNotFoundError)
                        else f"cannot be read ({error.strerror})"
                    )
                    return (
                        f"dataset '{self.manifest.name}': the folder {folder} {reason}; put the images there, a "
                        f"folder for each class, or change 'root', 'splits' or 'classes' in the manifest"
                    )
        return None

    @cached_property
    def _scanned(self) -> tuple[pd.DataFrame, tuple[str, ...]]:
        self.check_present()
        trees, declared = self.trees(), self.manifest.classes
        named = [joined(tree, name) for tree in trees for name in ("", *declared)]
        listing = list_files(self.root, IMAGE_SUFFIXES, named=filter(None, (name.strip("/") for name in named)))
        folders = Folders(listing)
        if not declared:
            self.check_readable(listing, trees)
            self.check_splits(folders, trees)
        found, loose = folders.sort_out(trees, declared)
        if not any(found.values()):
            raise DatasetError(self.nothing(listing.skipped, loose))
        classes = declared or tuple(sorted({name for (_, name), paths in found.items() if paths}))
        ids, splits, labels, sources = [], [], [], []
        for tree, split in trees.items():
            for label, name in enumerate(classes):
                paths = found.get((tree, name), [])
                start = len(joined(tree, name)) + 1
                ids += [f"{split}-{name}/{path[start:]}" for path in paths]
                splits += [split] * len(paths)
                labels += [label] * len(paths)
                sources += paths
        stems = pd.Series(ids, dtype="str").str.replace(r"\.[^./]*$", "", regex=True)
        samples = pd.DataFrame(
            {
                "id": sample_ids(stems, pd.Series(sources, dtype="str")),
                "split": pd.Series(splits, dtype="str"),
                "label": np.array(labels, np.int64),
                "source": pd.Series(sources, dtype="str"),
            }
        )
        notes = split_notes(folders, trees, found, bool(declared)) + class_notes(found, classes, bool(declared))
        notes += [] if declared else folders.nested(found)
        return with_notes(
            samples, notes + number_notes(classes) + listing.notes(), sorted(listing.skipped + loose)
        ), classes

    def scan(self) -> pd.DataFrame:
        """List the images by split, class and name."""
        return self._scanned[0].copy()

    def check_readable(self, listing: Listing, trees: Trees) -> None:
        """Raise DatasetError if a folder that may be a class cannot be read: the others would be numbered anew."""
        for folder in listing.unreadable:
            if folder.rpartition("/")[0] in trees:
                raise DatasetError(
                    f"dataset '{self.manifest.name}': the folder {self.root / folder} cannot be read, or is a link "
                    f"to nothing, and may be a class: mend or remove it, or list the classes in 'classes'"
                )

    def check_splits(self, folders: Folders, trees: Trees) -> None:
        """Raise DatasetError if what would be taken as classes looks like splits, or holds some."""
        otherwise = "or list the classes in 'classes' if they are right as they are"
        for tree in trees:
            if found := folders.splits(tree):
                raise DatasetError(
                    f"dataset '{self.manifest.name}': {quoted(found)} in {self.root / tree} look like splits, not "
                    f"like classes: add {splits_line(found, tree)} to the manifest, {otherwise}"
                )
            for name in folders.below[tree]:
                if found := folders.splits(joined(tree, name)):
                    raise DatasetError(
                        f"dataset '{self.manifest.name}': {quoted(found)} look like splits and lie in "
                        f"{self.root / tree / name}, which would be a class; splits lie above classes here: point "
                        f"'root' there and add {splits_line(found)}, or move the images, {otherwise}"
                    )

    def nothing(self, skipped: list[Skipped], loose: list[Skipped]) -> str:
        """Why there is no image."""
        where = f"dataset '{self.manifest.name}': no images in the class folders of {self.root}"
        if loose or skipped:
            path, reason = (loose or skipped)[0]
            return f"{where}; {len(loose or skipped):,} files are not taken, the first is {path} ({reason})"
        return f"{where}: put a folder for each class there, with its images"


def alternatives(folder: Path) -> str:
    """What may have been meant by a folder that is not there."""
    try:
        names = [path.name for path in folder.parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError:
        return ""
    splits = splits_in(names, alone=True)
    wanted = splits_in([folder.name], alone=True).get(folder.name)
    near = [name for name in names if alike(name) == alike(folder.name) or (wanted and splits.get(name) == wanted)]
    if near:
        return f", but {quoted(near)} is"
    return f", but {quoted(splits)}: if these are splits, add {splits_line(splits)}" if splits else ""
