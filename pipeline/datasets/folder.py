"""A folder for each class: ROOT/CLASS/*.png, or ROOT/SPLIT/CLASS/*.png where the manifest names splits."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.datasets.files import IMAGE_SUFFIXES, ImageManifest, ImageReader, files_below
from pipeline.datasets.ids import sample_ids
from pipeline.errors import DatasetError


class FolderManifest(ImageManifest):
    """Manifest of a class-per-folder tree."""

    format: Literal["folder"]
    root: str = Field(description="folder of the tree, absolute or relative to this manifest")
    splits: tuple[str, ...] = Field(default=(), description="sub-folders that hold a tree of classes each")


class Folder(ImageReader):
    """Reader of a class-per-folder tree."""

    manifest_model = FolderManifest
    manifest: FolderManifest

    @property
    def classes(self) -> tuple[str, ...]:
        """As declared, or the class folders by name."""
        if self.manifest.classes:
            return self.manifest.classes
        found = {
            folder.name for _, top in self.trees() if top.is_dir() for folder in top.iterdir() if folder.is_dir()
        }
        return tuple(sorted(found))

    def trees(self) -> list[tuple[str, Path]]:
        """Each split with the folder that holds its classes."""
        return [(split, self.root / split) for split in self.manifest.splits] or [("train", self.root)]

    def problem(self) -> str | None:
        """Say which folder is missing or unreadable."""
        for _, top in self.trees():
            for folder in [top, *(top / name for name in self.manifest.classes)]:
                try:
                    next(folder.iterdir(), None)
                except OSError as error:
                    reason = (
                        "is not there"
                        if isinstance(error, FileNotFoundError)
                        else f"cannot be read ({error.strerror})"
                    )
                    return (
                        f"dataset '{self.manifest.name}': the folder {folder} {reason}; put the images there, a "
                        f"folder for each class, or change 'root', 'splits' or 'classes' in the manifest"
                    )
        return None

    def scan(self) -> pd.DataFrame:
        """List the images by split, class and name."""
        self.check_present()
        parts = []
        for split, top in self.trees():
            for label, name in enumerate(self.classes):
                paths = pd.Series(files_below(top / name, IMAGE_SUFFIXES), dtype="str")
                source = (top.relative_to(self.root) / name).as_posix() + "/" + paths
                parts.append(
                    pd.DataFrame(
                        {
                            "id": f"{split}-{name}/" + paths.str.replace(r"\.[^./]*$", "", regex=True),
                            "split": split,
                            "label": np.int64(label),
                            "source": source,
                        }
                    )
                )
        samples = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        if samples.empty:
            raise DatasetError(
                f"dataset '{self.manifest.name}': no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in the class "
                f"folders of {self.root}"
            )
        return samples.assign(id=sample_ids(samples["id"]))
