"""What a dataset reader offers: a table of samples, and the pixels of one of them."""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

SAMPLE_COLUMNS = ("id", "split", "label", "source")


@dataclass(frozen=True)
class LoadedImage:
    """Pixels uint8 [H, W, 3] (sRGB) and the sha256 of the bytes they were decoded from."""

    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    sha256: str


class DatasetReader(Protocol):
    """One reader for each on-disk layout."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        ...

    def problem(self) -> str | None:
        """Say what is missing, where it was looked for and how to get it; None if all is present."""
        ...

    def scan(self) -> pd.DataFrame:
        """List the samples in a fixed order: id (unique, no dot), split, label (int64), source, attributes.

        What the user should know of it (fewer images than asked, say) is in the table's `attrs["notes"]`, a list
        of sentences; pandas writes them to Parquet and reads them back.

        Raises:
            DatasetError: the files are missing or not laid out as declared.
        """
        ...

    def load(self, source: str) -> LoadedImage:
        """Read one sample at the manifest's resolution.

        Raises:
            SampleError: this sample cannot be used, and why.
        """
        ...


def sha256_hex(data: bytes) -> str:
    """Digest of `data` in hex."""
    return hashlib.sha256(data).hexdigest()
