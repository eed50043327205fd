"""A whole split in memory, for the stages that train on it."""

import numpy as np
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.errors import DatasetError, SampleError
from pipeline.images import Pixels


def load_split(build: Build, split: str) -> tuple[Pixels, NDArray[np.int64]]:
    """Pixels uint8 [N, H, W, 3] and labels int64 [N] of the readable samples of a split.

    Raises:
        DatasetError: the split has no readable sample.
    """
    samples = build.samples("split", "source", "label")
    chosen = samples[samples["split"] == split]
    pixels, labels = [], []
    for source, label in zip(chosen["source"], chosen["label"], strict=True):
        try:
            pixels.append(build.reader.load(source).pixels)
        except SampleError:
            continue
        labels.append(label)
    if not pixels:
        raise DatasetError(f"dataset '{build.manifest.name}' has no readable sample in the split '{split}'")
    return np.stack(pixels), np.array(labels, dtype=np.int64)
