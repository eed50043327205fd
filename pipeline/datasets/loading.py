"""A whole split, for the stages that train on it."""

import click
import numpy as np
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.errors import DatasetError, SampleError
from pipeline.images import Pixels
from pipeline.mapped import scratch
from pipeline.sources import load_source


def load_split(build: Build, split: str, limit: int | None = None) -> tuple[Pixels, NDArray[np.int64]]:
    """Pixels uint8 [N, H, W, 3] and labels int64 [N] of the readable samples of a split, or the first so many.

    Large ones lie in a file under the build's .cache, which is gone with the process. How many cannot be read is
    said.

    Raises:
        DatasetError: the split has no readable sample.
        PipelineError: there is no room for it.
    """
    samples = build.samples("split", "source", "label", "sha256", "status")
    chosen = samples[(samples["split"] == split) & (samples["status"] != "gone")]
    count = len(chosen) if limit is None else min(limit, len(chosen))
    pixels: Pixels | None = None
    labels: list[int] = []
    problems: list[str] = []
    for source, label, sha256 in zip(chosen["source"], chosen["label"], chosen["sha256"], strict=True):
        if len(labels) == count:
            break
        try:
            image = load_source(build, source, sha256).pixels
        except SampleError as error:
            problems.append(f"{source}: {error}")
            continue
        if pixels is None:
            pixels = scratch(build.root / ".cache", (count, *image.shape), "uint8")
        pixels[len(labels)] = image
        labels.append(label)
    if pixels is None:
        why = f" ({problems[0]})" if problems else ""
        raise DatasetError(f"dataset '{build.manifest.name}' has no readable sample in the split '{split}'{why}")
    if problems:
        click.echo(f"Note: {len(problems):,} samples cannot be used, the first of them {problems[0]}", err=True)
    return pixels[: len(labels)], np.array(labels, dtype=np.int64)
