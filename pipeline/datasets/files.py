"""Datasets of image files: where they are looked for, what is said if they are missing, how an image is read."""

import os
import stat
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, field_validator

from pipeline.datasets.base import LoadedImage, sha256_hex
from pipeline.datasets.decoding import Crop, decode
from pipeline.datasets.walk import Skipped, files_below
from pipeline.errors import DatasetError, PipelineError, SampleError
from pipeline.files import user_path
from pipeline.manifest import DatasetManifest
from pipeline.pictures.opening import check_bytes

__all__ = ["FilesManifest", "FilesReader", "ImageManifest", "ImageReader", "files_below"]

DATA_VARIABLE = "ONMANIFOLD_DATA"
DEFAULT_DATA = "~/.local/share/onmanifold/datasets"


class FilesManifest(DatasetManifest):
    """A dataset of files."""

    root: str | None = Field(default=None, description="folder of the files, absolute or relative to this manifest")
    folder: str | None = Field(
        default=None, description="the files' folder below the data directory, if it is not called as the dataset"
    )
    obtain: str = Field(default="", exclude=True, description="what to download, and how to lay it out")


class ImageManifest(FilesManifest):
    """A dataset of image files."""

    crop: Crop = Field(
        default="center",
        description="`center` (middle square), `none` (the whole image is squashed), `letterbox` (middle 4:3 "
        "between black bars) or [left, top, width, height] in pixels",
    )
    resize: Literal["bicubic", "bilinear", "lanczos", "box"] = Field(
        default="bicubic", description="filter that scales the crop, always antialiased"
    )

    @field_validator("crop", mode="before")
    @classmethod
    def check_crop(cls, crop: Any) -> Any:
        """One sentence for whatever is not a crop."""
        if isinstance(crop, str) and crop in ("center", "none", "letterbox"):
            return crop
        if isinstance(crop, list | tuple) and len(crop) == 4 and all(type(n) is int for n in crop):
            left, top, width, height = crop
            if left >= 0 and top >= 0 and width > 0 and height > 0:
                return tuple(crop)
        raise ValueError("not a crop")


class FilesReader:
    """What readers of files have in common; a layout adds `classes`, `scan`, `load` and what may be lacking."""

    manifest_model: type[FilesManifest]
    manifest: FilesManifest

    def __init__(self, manifest: FilesManifest):
        self.manifest = manifest
        self.root = Path(manifest.root) if manifest.root else data_places(manifest.folder or manifest.name)[0]

    def lacking(self) -> list[str]:
        """Names of the files and folders that are not there, as the layout calls them."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """Say what is missing, where it was looked for and how to get it; None if all is present."""
        try:
            lacking = self.lacking()
            if self.root.exists():
                next(self.root.iterdir(), None)
        except OSError as error:
            return (
                f"dataset '{self.manifest.name}': {error.filename or self.root} cannot be read ({error.strerror}): "
                f"make it readable, or change 'root' in the manifest"
            )
        if not lacking:
            return None
        manifest = self.manifest
        places = [self.root] if manifest.root else data_places(manifest.folder or manifest.name)
        advice = manifest.obtain or "put the files there, or change 'root' in the manifest"
        page = f" ({manifest.homepage})" if manifest.homepage else ""
        return (
            f"dataset '{manifest.name}': {', '.join(lacking)} not found in "
            f"{' or '.join(str(place) for place in places)}; {advice}{page}"
        )

    def key(self, source: str) -> str:
        """A source is the same as long as it is called so."""
        return source

    def file_of(self, source: str) -> Path:
        """The file a sample lies in."""
        return self.root / source

    def container(self, source: str) -> str:
        """Each sample is a file of its own."""
        return source

    def stamp(self, source: str) -> str:
        """Size, time of change and of the file's entry, of the file a sample lies in."""
        return stamp_of(self.file_of(source))

    def check_present(self) -> None:
        """Raise DatasetError if something is missing."""
        problem = self.problem()
        if problem is not None:
            raise DatasetError(problem)


class ImageReader(FilesReader):
    """What readers of image files have in common."""

    manifest_model: type[ImageManifest]
    manifest: ImageManifest

    def read(self, source: str) -> bytes:
        """Content of the image file `source`, a path below the root. Raises SampleError."""
        return read_sample(self.root / source)

    def load(self, source: str) -> LoadedImage:
        """Read and decode an image."""
        return self.deliver(self.read(source))

    def digest(self, source: str) -> str:
        """Digest of an image's bytes."""
        return sha256_hex(self.read(source))

    def deliver(self, data: bytes) -> LoadedImage:
        """Decode an image as the manifest declares. Raises SampleError."""
        manifest = self.manifest
        return LoadedImage(decode(data, manifest.resolution, manifest.crop, manifest.resize), sha256_hex(data))


def data_places(folder: str) -> list[Path]:
    """Where a dataset without `root` is looked for: below the data directory, then in ./datasets."""
    here = Path("datasets").absolute() / folder
    try:
        return [user_path(os.environ.get(DATA_VARIABLE) or DEFAULT_DATA) / folder, here]
    except PipelineError:  # a user without a home folder has no data directory either
        return [here]


def find_root(folder: str) -> Path | None:
    """The first of those places that exists."""
    return next((place for place in data_places(folder) if place.is_dir()), None)


def read_sample(path: Path) -> bytes:
    """Content of one sample's file. Raises SampleError; also for what never ends, such as a pipe or a device."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SampleError("not a file, but a folder, a pipe or a device")
        check_bytes(found.st_size)
        return path.read_bytes()
    except OSError as error:
        raise SampleError(f"cannot read the file: {error.strerror}", unreadable=True) from error


def stamp_of(path: Path) -> str:
    """Size, mtime and ctime (ns) of a file, which no writing leaves as they are. Raises SampleError."""
    try:
        found = path.stat()
    except OSError as error:
        raise SampleError(f"cannot read the file: {error.strerror}", unreadable=True) from error
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def first_there(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of the paths below `root` that exists."""
    return next((root / name for name in names if (root / name).exists()), None)


def with_notes(samples: pd.DataFrame, notes: list[str], skipped: list[Skipped] | None = None) -> pd.DataFrame:
    """Attach what the user should know of a scan, and what lies in the dataset's folder and is not taken."""
    samples.attrs |= {"notes": notes, "skipped": skipped or []}
    return samples
