"""What a dataset reader offers: a table of samples, and the pixels of one of them."""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

SAMPLE_COLUMNS = ("id", "split", "label", "source")
RESERVED_COLUMNS = frozenset({*SAMPLE_COLUMNS, "sha256", "stamp", "status", "error"})


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

        An attribute called like one of RESERVED_COLUMNS has a `_` at its end. The table's `attrs` hold

        * `notes`: what the user should know of it (fewer images than asked, say), a list of sentences;
        * `skipped`: (path, reason) of everything in the dataset's folder that is not taken;
        * `label_values`: of attributes whose values have names, {attribute: {value as text: name}}, by label.

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

    def key(self, source: str) -> str:
        """What of a source stays the same when other samples come and go around it."""
        ...

    def container(self, source: str) -> str:
        """What a sample lies in: all that lie in one have the same stamp."""
        ...

    def stamp(self, source: str) -> str:
        """Size and times of the file a sample lies in: while they stay, so does the sample; "" if there is none.

        Raises:
            SampleError: the file cannot be read.
        """
        ...

    def digest(self, source: str) -> str:
        """The sha256 that `load` gives, without decoding. Raises SampleError."""
        ...


def sha256_hex(data: bytes) -> str:
    """Digest of `data` in hex."""
    return hashlib.sha256(data).hexdigest()
