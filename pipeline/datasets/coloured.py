"""Digits coloured for AdvMix (section 5.1): colours that tell the digit in training and nothing in test.

The training set of a biased generator (Tables 1 and 2) holds all of some favoured digits, and few of the others.
"""

from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from pipeline.datasets.balance import even_shares
from pipeline.manifest import DatasetManifest

DIGITS = range(10)

# Mean colour of each digit's class in the training split (RGB, 0-255): ten well separated hues.
MEAN_COLOURS = np.array(
    [
        (230, 60, 60), (60, 200, 60), (70, 100, 235), (235, 200, 50), (200, 70, 220),
        (60, 210, 210), (240, 140, 50), (130, 90, 220), (170, 220, 90), (220, 130, 170),
    ],
    dtype=np.int64,
)  # fmt: skip
RGB = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)], dtype=np.int64)


class ColouredDigitsManifest(DatasetManifest):
    """Manifest of coloured digits."""

    sigma: float = Field(default=0.0, ge=0, description="standard deviation of the training colours")
    seed: int = Field(default=0, ge=0, description="seed of the colours")
    palette: Literal["hues", "rgb", "uniform"] = Field(
        default="hues",
        description="of training: a hue for each digit; red, green and blue for digits 0, 1, 2 and so on; or any",
    )
    favoured: tuple[int, ...] = Field(default=(), description="digits that make up most of the training set")
    favoured_share: float = Field(default=0.99, gt=0, le=1, description="their share of the training set")

    @field_validator("palette")
    @classmethod
    def check_palette(cls, palette: str, info: ValidationInfo) -> str:
        """Only around hues there is room for a spread."""
        if palette != "hues" and info.data.get("sigma"):
            raise ValueError("needs sigma = 0, because its colours do not lie around others")
        return palette

    @field_validator("favoured")
    @classmethod
    def check_favoured(cls, favoured: tuple[int, ...]) -> tuple[int, ...]:
        """Only digits."""
        if not set(favoured) <= set(DIGITS):
            raise ValueError("digits are 0 to 9")
        return favoured

    def kept(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of a training set: all favoured digits, and as few others as their share leaves, evenly."""
        if not self.favoured:
            return np.arange(len(labels))
        favoured = np.isin(labels, self.favoured)
        others = [np.flatnonzero(labels == digit) for digit in DIGITS if digit not in self.favoured]
        total = round(favoured.sum() * (1 - self.favoured_share) / self.favoured_share)
        takes = even_shares([len(rows) for rows in others], total)
        some = [rows[:take] for rows, take in zip(others, takes, strict=True)]
        return np.sort(np.concatenate([np.flatnonzero(favoured), *some]))

    def colours(self, labels: NDArray[np.int64], train: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Colour [N, 3] in 0..255 of digits with these labels: by class where `train`, any elsewhere."""
        if self.palette == "rgb":
            draws = np.random.PCG64(self.seed).random_raw(len(labels)) % 3
            return RGB[np.where(train, labels % 3, draws.astype(np.int64))]
        # Raw bits of a named bit generator are stable across numpy releases; its distributions are not promised.
        bits = np.random.PCG64(self.seed).random_raw(len(labels) * 3).reshape(-1, 3)
        uniform = ((bits >> 11) + 0.5) * 2.0**-53
        normal = np.vectorize(NormalDist().inv_cdf)(uniform)
        biased = MEAN_COLOURS[labels] + 255 * self.sigma * normal
        colours = np.where(train[:, None] & (self.palette == "hues"), biased, 255 * uniform)
        return np.clip(np.rint(colours), 0, 255).astype(np.int64)
