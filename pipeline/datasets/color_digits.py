"""color-digits: scikit-learn's handwritten digits, coloured as Color-MNIST is (AdvMix, section 5.1).

A training digit of class y has the colour mu_y + N(0, sigma), a test digit a uniformly random one. Everything
is integer arithmetic on raw generator bits, so that the images are the same bytes on every machine.
"""

from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.datasets.base import LoadedImage, sha256_hex
from pipeline.datasets.coloured import ColouredDigitsManifest

TEST_SAMPLES = 397
SPLIT_SEED = 20  # the split is the same whatever sigma and seed of the colours


class ColorDigitsManifest(ColouredDigitsManifest):
    """Manifest of a color-digits dataset."""

    format: Literal["color-digits"]
    resolution: Literal[32]


class ColorDigits:
    """Reader of color-digits: the images are computed, nothing is read from disk."""

    manifest_model = ColorDigitsManifest

    def __init__(self, manifest: ColorDigitsManifest):
        self.manifest = manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """The digits."""
        return self.manifest.classes or tuple("0123456789")

    def problem(self) -> str | None:
        """Nothing can be missing: scikit-learn carries the digits."""
        return None

    @cached_property
    def _digits(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Intensities [1797, 8, 8] in 0..16 and labels [1797]."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        return digits.images.astype(np.int64), digits.target.astype(np.int64)

    @cached_property
    def _colours(self) -> NDArray[np.int64]:
        labels = self._digits[1]
        return self.manifest.colours(labels, ~is_test(len(labels)))

    def scan(self) -> pd.DataFrame:
        """List the 1,797 samples in scikit-learn's order: 1,400 for training (fewer if biased), 397 for test."""
        labels = self._digits[1]
        samples = pd.DataFrame(
            {
                "id": [f"digit-{i:04d}" for i in range(len(labels))],
                "split": np.where(is_test(len(labels)), "test", "train"),
                "label": labels,
                "source": [str(i) for i in range(len(labels))],
                "red": self._colours[:, 0],
                "green": self._colours[:, 1],
                "blue": self._colours[:, 2],
            }
        )
        test = is_test(len(labels))
        train = np.flatnonzero(~test)
        rows = np.concatenate([np.flatnonzero(test), train[self.manifest.kept(labels[train])]])
        return samples.iloc[np.sort(rows)].reset_index(drop=True)

    def load(self, source: str) -> LoadedImage:
        """Render one digit [32, 32, 3]: its intensity times its colour."""
        i = int(source)
        intensity = upscale_x4(self._digits[0][i])
        pixels = ((intensity[:, :, None] * self._colours[i] + 127) // 255).astype(np.uint8)
        return LoadedImage(pixels, sha256_hex(pixels.tobytes()))

    def key(self, source: str) -> str:
        """The digit's number."""
        return source

    def container(self, source: str) -> str:
        """There is none."""
        return ""

    def stamp(self, source: str) -> str:
        """There is no file."""
        return ""

    def digest(self, source: str) -> str:
        """Digest of the pixels."""
        return self.load(source).sha256


def is_test(count: int) -> NDArray[np.bool_]:
    """Which of `count` samples belong to the test split: TEST_SAMPLES of them, drawn once and for all."""
    order = np.argsort(np.random.PCG64(SPLIT_SEED).random_raw(count), kind="stable")
    mask = np.zeros(count, dtype=bool)
    mask[order[:TEST_SAMPLES]] = True
    return mask


def upscale_x4(digit: NDArray[np.int64]) -> NDArray[np.int64]:
    """Enlarge intensities [8, 8] in 0..16 to [32, 32] in 0..255 by Catmull-Rom interpolation, in integers."""
    matrix = catmull_rom_x4(digit.shape[0])
    enlarged: NDArray[np.int64] = matrix @ digit @ matrix.T  # 16 * 1024^2 is full intensity
    return np.clip((enlarged * 255 + (8 << 20)) // (16 << 20), 0, 255)


@lru_cache(maxsize=1)
def catmull_rom_x4(size: int) -> NDArray[np.int64]:
    """Weights [4 * size, size] of Catmull-Rom interpolation to four times the size, times 1024."""
    matrix = np.zeros((4 * size, size), dtype=np.int64)
    for row in range(4 * size):
        eighths = 2 * row + 1 - 4  # source position of the pixel's centre, in eighths of a source pixel
        base, t = divmod(eighths, 8)
        weights = (  # Catmull-Rom in t/8, times 2 * 8^3 = 1024
            -(t**3) + 16 * t**2 - 64 * t,
            3 * t**3 - 40 * t**2 + 1024,
            -3 * t**3 + 32 * t**2 + 64 * t,
            t**3 - 8 * t**2,
        )
        for tap, weight in zip(range(base - 1, base + 3), weights, strict=True):
            matrix[row, min(max(tap, 0), size - 1)] += weight
    return matrix
