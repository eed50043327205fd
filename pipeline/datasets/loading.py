"""A whole split, for the stages that train on it."""

import numpy as np
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.errors import DatasetError, SampleError
from pipeline.images import Pixels
from pipeline.mapped import scratch


def load_split(build: Build, split: str, limit: int | None = None) -> tuple[Pixels, NDArray[np.int64]]:
    """Pixels uint8 [N, H, W, 3] and labels int64 [N] of the readable samples of a split, or the first so many.

    Large ones lie in a file under the build's .cache, which is gone with the process.

    Raises:
        DatasetError: the split has no readable sample.
        PipelineError: there is no room for it.
    """
    samples = build.samples("split", "source", "label")
    chosen = samples[samples["split"] == split]
    count = len(chosen) if limit is None else min(limit, len(chosen))
    pixels: Pixels | None = None
    labels: list[int] = []
    for source, label in zip(chosen["source"], chosen["label"], strict=True):
        if len(labels) == count:
            break
        try:
            image = build.reader.load(source).pixels
        except SampleError:
            continue
        if pixels is None:
            pixels = scratch(build.root / ".cache", (count, *image.shape), "uint8")
        pixels[len(labels)] = image
        labels.append(label)
    if pixels is None:
        raise DatasetError(f"dataset '{build.manifest.name}' has no readable sample in the split '{split}'")
    return pixels[: len(labels)], np.array(labels, dtype=np.int64)
