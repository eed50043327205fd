"""The release of OM-ImageNet's authors: `SPLIT/LABEL.h5`, images with their latents (Lin et al.)."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd

from pipeline.datasets.base import LoadedImage, sha256_hex
from pipeline.datasets.files import FilesManifest, FilesReader, with_notes
from pipeline.datasets.label_notes import quoted
from pipeline.datasets.walk import Skipped, list_files
from pipeline.errors import DatasetError, SampleError
from pipeline.files import stamp_of

SPLITS = ("train", "test")
NOT_A_CLASS = "not called as the file of a class: train/0.h5 to train/9.h5, and test/ likewise"
LOOKED_AT = 8  # images of a file that tell which numbers it holds
OVERSHOOT = 1.01  # of what a generator renders before it is cut off
FAR_OUT = 3.0  # beyond what a generator renders: another range than -1 to 1
FILE = re.compile(r"[0-9]\.h5")


class DmatManifest(FilesManifest):
    """Manifest of a set in the layout that `--format dmat` writes."""

    format: Literal["dmat"]


class Dmat(FilesReader):
    """Reader of `{train,test}/{label}.h5`: `images` float [N, 3, H, W] in [-1, 1], `latents` [N, num_ws, w_dim]."""

    manifest_model = DmatManifest
    manifest: DmatManifest

    @property
    def classes(self) -> tuple[str, ...]:
        """The manifest's names, or the digits that the files are called by."""
        if self.manifest.classes:
            return self.manifest.classes
        digits = [int(path.stem) for split in SPLITS for path in self.files(split)]
        return tuple(str(digit) for digit in range(max(digits, default=-1) + 1))

    def lacking(self) -> list[str]:
        """The folders that hold no file."""
        return [f"{split}/[0-9].h5" for split in SPLITS if not self.files(split)]

    def files(self, split: str) -> list[Path]:
        """A split's files by class."""
        return sorted(path for path in (self.root / split).glob("*.h5") if FILE.fullmatch(path.name))

    def scan(self) -> pd.DataFrame:
        """List the images, class by class in the files' order."""
        self.check_present()
        parts, notes, bare = [], self.range_notes(), []
        for split in SPLITS:
            for path in self.files(split):
                count = len(self.array(path, "images"))
                latents = self.latents(path)
                if latents is None:
                    bare.append(f"{split}/{path.name}")
                elif len(latents) != count:
                    notes.append(f"{split}/{path.name} has {count:,} images and {len(latents):,} latents")
                rows = pd.Series(np.arange(count)).astype("str")
                name = f"{split}-{path.stem}-"
                part = pd.DataFrame({"id": name + rows.str.zfill(6), "split": split, "label": int(path.stem)})
                parts.append(part.assign(source=f"{split}/{path.name}#" + rows))
        samples = pd.concat(parts, ignore_index=True)
        highest = int(samples["label"].max()) if len(samples) else -1
        if highest >= len(self.classes):
            raise DatasetError(
                f"dataset '{self.manifest.name}': there is a file {highest}.h5, but 'classes' in the manifest "
                f"names {len(self.classes)}, numbered from 0"
            )
        if bare:
            notes.append(f"{len(bare)} of the {len(parts)} files have no latents, the first is {bare[0]}")
        for split in SPLITS:
            there = {int(path.stem) for path in self.files(split)}
            if lacking := [name for label, name in enumerate(self.classes) if label not in there]:
                notes.append(f"the split '{split}' has no file for the classes {', '.join(map(repr, lacking))}")
        return with_notes(samples, notes, self.others())

    def range_notes(self) -> list[str]:
        """Notes on values that are hardly from −1 to 1. Raises DatasetError if they have another range."""
        ranges = {}
        for path in (path for split in SPLITS for path in self.files(split)):
            if (found := range_of(self.array(path, "images"))) is not None:
                ranges[path.relative_to(self.root).as_posix()] = found
        low, high = (
            min((r[0] for r in ranges.values()), default=-1),
            max((r[1] for r in ranges.values()), default=1),
        )
        if low >= 0 or max(-low, high) > FAR_OUT:
            worst = max(ranges, key=lambda name: max(map(abs, ranges[name])))
            raise DatasetError(
                f"dataset '{self.manifest.name}': the images in {worst} have values from {ranges[worst][0]:g} to "
                f"{ranges[worst][1]:g}, and not from -1 to 1: scale them (black is -1, white is 1)"
            )
        notes = []
        if max(-low, high) > OVERSHOOT:
            notes.append(f"the images have values from {low:g} to {high:g}: what is beyond -1 and 1 is cut off")
        if bright := [name for name, (least, _) in ranges.items() if least >= 0]:
            notes.append(
                f"the images in {quoted(bright)} have no values below 0, as if they went from 0 to 1: they are "
                f"taken as from -1 to 1 like the others"
            )
        return notes

    def others(self) -> list[Skipped]:
        """What lies in the folder beside the files of the classes."""
        listing = list_files(self.root, frozenset({".h5"}), {}, "not an HDF5 file (.h5)")
        used = {path.relative_to(self.root).as_posix() for split in SPLITS for path in self.files(split)}
        return sorted(listing.skipped + [(path, NOT_A_CLASS) for path in listing.taken if path not in used])

    def latents(self, path: Path) -> Any:
        """The latents of a file, or None if it has none."""
        return self.array(path, "latents") if "latents" in open_file(path, stamp_of(path)) else None

    def load(self, source: str) -> LoadedImage:
        """Read one image and round it to bytes."""
        image = self.row(source, "images")
        size = self.manifest.resolution
        if image.shape != (3, size, size):
            shape = "x".join(map(str, image.shape))
            raise SampleError(f"the image is {shape}, and the manifest says resolution = {size}")
        if not np.isfinite(image).all():
            raise SampleError("the image has values that are not finite numbers")
        if np.abs(image).max() > FAR_OUT:
            raise SampleError(f"the image has values from {image.min():g} to {image.max():g}, not from -1 to 1")
        pixels = np.clip(np.rint((image.transpose(1, 2, 0).astype(np.float32) + 1) * 127.5), 0, 255)
        return LoadedImage(pixels.astype(np.uint8), sha256_hex(image.tobytes() + self.latent_bytes(source)))

    def latent(self, source: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The w+ [num_ws, w_dim] that the set brings for an image.

        Raises:
            DatasetError: its file has none.
            SampleError: it cannot be read.
        """
        if self.latents(self.file_of(source)) is None:
            raise DatasetError(
                f"dataset '{self.manifest.name}': {self.file_of(source)} has no 'latents': use --method lpips, or "
                f"leave the file out"
            )
        return np.asarray(self.row(source, "latents"), dtype=np.float32)

    def container(self, source: str) -> str:
        """The file of a class."""
        return source.partition("#")[0]

    def file_of(self, source: str) -> Path:
        """The file of a class."""
        return self.root / self.container(source)

    def digest(self, source: str) -> str:
        """Digest of an image's numbers and of its latents'."""
        return sha256_hex(self.row(source, "images").tobytes() + self.latent_bytes(source))

    def latent_bytes(self, source: str) -> bytes:
        """The numbers of an image's latents; none where it has none."""
        latents = self.latents(self.file_of(source))
        has_one = latents is not None and int(source.rpartition("#")[2]) < len(latents)
        return self.row(source, "latents").tobytes() if has_one else b""

    def row(self, source: str, name: str) -> np.ndarray[Any, Any]:
        """One row of an array. Raises SampleError if it cannot be read."""
        file, _, index = source.partition("#")
        try:
            return np.asarray(self.array(self.root / file, name)[int(index)])
        except FileNotFoundError as error:
            raise SampleError(f"cannot read {file}: {error.strerror}", unreadable=True) from error
        except (OSError, ValueError, IndexError) as error:
            raise SampleError(f"cannot read row {index} of '{name}' in {file}: {error}") from error

    def array(self, path: Path, name: str) -> Any:
        """An array of a file. Raises DatasetError if it is not there, or if it is kept in another file."""
        where = f"dataset '{self.manifest.name}': {path}"
        try:
            file = open_file(path, stamp_of(path))
        except OSError as error:
            raise DatasetError(f"{where} cannot be read as HDF5 ({error}): download it again") from error
        link = file.get(name, getlink=True)
        found = file.get(name) if isinstance(link, h5py.HardLink) else None
        if not isinstance(found, h5py.Dataset) or found.dtype.kind != "f" or found.ndim < 2:
            raise DatasetError(f"{where} holds no array '{name}' of floats; found are {', '.join(file) or 'none'}")
        if found.external or found.is_virtual:
            raise DatasetError(f"{where}: array '{name}' refers to other files, which is not followed")
        return found


def range_of(images: Any) -> tuple[float, float] | None:
    """The lowest and the highest value of some of a file's images; None if it has none that can be read."""
    rows = sorted({len(images) * i // LOOKED_AT for i in range(LOOKED_AT)}) if len(images) else []
    try:
        some = np.array([images[row] for row in rows], np.float64)
    except (OSError, ValueError):  # a damaged one fails by itself
        return None
    some = some[np.isfinite(some)]
    return (float(some.min()), float(some.max())) if len(some) else None


@lru_cache(maxsize=2 * 10)
def open_file(path: Path, stamp: tuple[int, ...]) -> h5py.File:
    """Open a file, as it is now, once in a process."""
    return h5py.File(path, "r")
