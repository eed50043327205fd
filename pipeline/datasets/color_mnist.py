"""Color-MNIST (AdvMix, section 5.1): MNIST with colours that tell the digit in training and nothing in test.

Everything is integer arithmetic on raw generator bits, so that the images are the same bytes on every machine. A
biased generator (Tables 1 and 2) sees a training set of which most are the `favoured` digits.
"""

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from pipeline.datasets.base import LoadedImage, sha256_hex
from pipeline.datasets.coloured import ColouredDigitsManifest
from pipeline.datasets.files import data_places, stamp_of, with_notes
from pipeline.datasets.idx import idx_path, read_idx
from pipeline.datasets.walk import Skipped, list_files
from pipeline.errors import DatasetError, SampleError

PARTS = {"train": "train", "test": "t10k"}
KINDS = (("images", 3), ("labels", 1))
BESIDE = "beside MNIST's four files, each of which is read once"
SIZE = 32  # "the next power of two after 28"


class ColorMNISTManifest(ColouredDigitsManifest):
    """Manifest of a Color-MNIST."""

    format: Literal["color-mnist"]
    resolution: Literal[32]
    root: str | None = Field(default=None, description="folder of MNIST's IDX files")
    folder: str | None = Field(default="mnist", description="the files' folder below the data directory")
    obtain: str = Field(default="", exclude=True, description="what to download, and how to lay it out")


class ColorMNIST:
    """Reader of Color-MNIST from MNIST's IDX files."""

    manifest_model = ColorMNISTManifest

    def __init__(self, manifest: ColorMNISTManifest):
        self.manifest = manifest
        self.places = [Path(manifest.root)] if manifest.root else data_places(manifest.folder or manifest.name)

    @property
    def classes(self) -> tuple[str, ...]:
        """The digits."""
        return self.manifest.classes or tuple("0123456789")

    def problem(self) -> str | None:
        """Say which IDX file is missing."""
        lacking = [
            f"{part}-{kind}-idx{rank}-ubyte.gz"
            for part in PARTS.values()
            for kind, rank in KINDS
            if idx_path(self.places[0], part, kind, rank) is None
        ]
        if not lacking:
            return None
        page = f" ({self.manifest.homepage})" if self.manifest.homepage else ""
        return (
            f"dataset '{self.manifest.name}': {', '.join(lacking)} not found in "
            f"{' or '.join(map(str, self.places))}; "
            f"{self.manifest.obtain or 'put the files there, or change root in the manifest'}{page}"
        )

    def _read(self, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Intensities [N, 28, 28] and labels [N] of a split. Raises DatasetError."""
        images = idx_path(self.places[0], PARTS[split], "images", 3)
        labels = idx_path(self.places[0], PARTS[split], "labels", 1)
        if images is None or labels is None:
            raise DatasetError(self.problem() or f"the files of {self.places[0]} have just gone")
        digits, found = read_idx(images), read_idx(labels)
        if digits.shape[1:] != (28, 28) or found.ndim != 1 or found.max(initial=0) > 9:
            raise DatasetError(f"{images} and {labels} are not images and labels of MNIST; download both again")
        if len(found) != len(digits):
            raise DatasetError(
                f"{images} and {labels} are not images and labels of MNIST: they have {len(digits)} images and "
                f"{len(found)} labels; download both again"
            )
        return digits, found.astype(np.int64)

    @cached_property
    def _colours(self) -> dict[str, NDArray[np.int64]]:
        """Colour [N, 3] in 0..255 of every digit of each split."""
        train, test = self._read("train")[1], self._read("test")[1]
        if len(train) + len(test) == 0:
            raise DatasetError(f"the files of {self.places[0]} hold no digits: download them again")
        labels, is_train = np.concatenate([train, test]), np.arange(len(train) + len(test)) < len(train)
        colours = self.manifest.colours(labels, is_train)
        return {"train": colours[: len(train)], "test": colours[len(train) :]}

    def scan(self) -> pd.DataFrame:
        """List MNIST's own splits in its own order; of the training split the part the manifest favours."""
        parts = []
        for split in PARTS:
            labels = self._read(split)[1]
            rows = self.manifest.kept(labels) if split == "train" else np.arange(len(labels))
            name = pd.Series(rows).astype(str).str.zfill(5)
            columns = {
                "id": f"{split}-" + name,
                "split": split,
                "label": labels[rows],
                "source": f"{split}/" + name,
            }
            colours = pd.DataFrame(self._colours[split][rows], columns=["red", "green", "blue"])
            parts.append(pd.concat([pd.DataFrame(columns), colours], axis=1))
        return with_notes(pd.concat(parts, ignore_index=True), [], self.skipped())

    def skipped(self) -> list[Skipped]:
        """What lies in the folder besides the four files that are read."""
        root = self.places[0]
        used = {idx_path(root, part, kind, rank) for part in PARTS.values() for kind, rank in KINDS}
        return [each for each in list_files(root, frozenset(), {}, BESIDE).skipped if root / each[0] not in used]

    def load(self, source: str) -> LoadedImage:
        """Render one digit [32, 32, 3]: its intensity, 2 pixels of black around, times its colour."""
        split, _, row = source.partition("/")
        try:
            digit = self._read(split)[0][int(row)].astype(np.int64)
            colour = self._colours[split][int(row)]
        except (DatasetError, IndexError) as error:
            raise SampleError(f"cannot read the digit: {error}", unreadable=True) from error
        intensity = np.pad(digit, (SIZE - digit.shape[0]) // 2)
        pixels = ((intensity[:, :, None] * colour + 127) // 255).astype(np.uint8)
        return LoadedImage(pixels, sha256_hex(pixels.tobytes()))

    def key(self, source: str) -> str:
        """Split and number of the digit."""
        return source

    def container(self, source: str) -> str:
        """The files of a split."""
        return source.partition("/")[0]

    def stamp(self, source: str) -> str:
        """Those of the split's images, and of the labels, on which all colours depend."""
        paths = [idx_path(self.places[0], PARTS[source.partition("/")[0]], "images", 3)]
        paths += [idx_path(self.places[0], part, "labels", 1) for part in PARTS.values()]
        if None in paths:
            raise SampleError("cannot read the file: it is not there", unreadable=True)
        return " ".join(stamp_of(path) for path in paths if path is not None)

    def digest(self, source: str) -> str:
        """Digest of the pixels."""
        return self.load(source).sha256
