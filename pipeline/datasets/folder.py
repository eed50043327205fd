"""A folder for each class: ROOT/CLASS/*.png, or ROOT/SPLIT/CLASS/*.png where the manifest names splits."""

import io
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from pipeline.datasets.base import LoadedImage, sha256_hex
from pipeline.errors import DatasetError, SampleError
from pipeline.images import Pixels
from pipeline.manifest import DatasetManifest

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


class FolderManifest(DatasetManifest):
    """Manifest of a class-per-folder tree."""

    format: Literal["folder"]
    root: str = Field(description="folder of the tree, absolute or relative to this manifest")
    splits: tuple[str, ...] = Field(default=(), description="sub-folders that hold a tree of classes each")


class Folder:
    """Reader of a class-per-folder tree."""

    manifest_model = FolderManifest

    def __init__(self, manifest: FolderManifest):
        self.manifest = manifest
        self.root = Path(manifest.root)

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
        problem = self.problem()
        if problem is not None:
            raise DatasetError(problem)
        rows: list[dict[str, Any]] = []
        used: set[str] = set()
        for split, top in self.trees():
            for label, name in enumerate(self.classes):
                folder = top / name
                paths = (
                    sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
                )
                for path in paths:
                    key = sample_id(f"{split}-{path.relative_to(top).with_suffix('')}", used)
                    source = path.relative_to(self.root).as_posix()
                    rows.append({"id": key, "split": split, "label": label, "source": source})
        if not rows:
            raise DatasetError(
                f"dataset '{self.manifest.name}': no images ({', '.join(sorted(SUFFIXES))}) in the class folders "
                f"of {self.root}"
            )
        return pd.DataFrame(rows)

    def load(self, source: str) -> LoadedImage:
        """Read one image, upright, its middle square scaled to the manifest's resolution."""
        try:
            data = (self.root / source).read_bytes()
        except OSError as error:
            raise SampleError(f"cannot read the file: {error.strerror}") from error
        return LoadedImage(decode_square(data, self.manifest.resolution), sha256_hex(data))


def sample_id(text: str, used: set[str]) -> str:
    """A unique id of letters, digits, - and _ (a dot would end a WebDataset key)."""
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", text.replace("/", "-"))
    key, number = base, 2
    while key in used:
        key, number = f"{base}_{number}", number + 1
    used.add(key)
    return key


def decode_square(data: bytes, resolution: int) -> Pixels:
    """Decode an image, turn it upright, crop its middle square and resize that with antialiasing.

    Raises:
        SampleError: the bytes are not an image, or the image is cut short.
    """
    if not data:
        raise SampleError("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError:
        raise SampleError("not an image that can be decoded") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SampleError(f"the image is damaged: {error}") from error
    fitted = ImageOps.fit(image, (resolution, resolution), method=Image.Resampling.LANCZOS)
    return np.asarray(fitted)
