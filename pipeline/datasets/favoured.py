"""Biased training sets (AdvMix, Tables 1 and 2): all of some favoured digits, and few of the others."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline.datasets.balance import even_shares
from pipeline.manifest import DatasetManifest

DIGITS = range(10)


class FavouredManifest(DatasetManifest):
    """Manifest of digits of which some may be favoured."""

    favoured: tuple[int, ...] = Field(default=(), description="digits that make up most of the training set")
    favoured_share: float = Field(default=0.99, gt=0, le=1, description="their share of the training set")

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
