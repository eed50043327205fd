"""What packing will take: renderings, hours, memory and bytes on disk."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.build import Build
from pipeline.capacity import Capacity, Estimate, Work, elapsed_hours
from pipeline.datasets import DatasetReader
from pipeline.errors import SampleError
from pipeline.generators import open_generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.images import encode_png
from pipeline.shards import shard_formats
from pipeline.stage import Chunk
from stages.shard.items import BASE
from stages.shard.rendering import TOGETHER
from stages.shard.stage import Shard

PROBED = 8  # images encoded to learn how large a PNG is
FLOAT = 4
GUESSED_CODE = 18 * 512 * FLOAT  # of w+, where the generator is not there
OVERHEAD = 4096  # bytes of headers and facts for each sample
PNG_RATE = 30e6  # bytes of pixels a worker encodes in a second; small beside everything else


def estimate(build: Build, stage: Shard, found: Capacity, chunks: Sequence[Chunk], workers: int) -> Estimate:
    """Of some shards of a set."""
    config, plans = stage.config, stage.plans(build)
    network = open_generator(stage.generator).network
    image = image_bytes(build.samples("source"), build.reader)
    code = network.num_ws * network.w_dim * FLOAT if config.latents else 0
    samples = rendered = bytes_ = 0
    for plan in (plans[chunk.index] for chunk in chunks):
        loaded = int((plan.origin == BASE).sum()) if config.base == "original" else 0
        formats = [name for name, writer in shard_formats(config.format).items() if writer.layout == plan.layout]
        samples += len(plan.rows)
        rendered += len(plan.rows) - loaded
        bytes_ += len(plan.rows) * sample_bytes(formats, image, code, config.originals)
    hours = packing_hours(found, samples, rendered, image, config.originals)
    return Estimate(
        stage="shard",
        samples=samples,
        steps=rendered,
        bytes=bytes_,
        hours=hours,
        tasks=len(chunks),
        workers=workers,
        elapsed=elapsed_hours(hours, len(chunks), workers),
        memory=found.rendering + TOGETHER * (sum(image) * (1 + config.originals) + code),
    )


def estimate_all(
    formats: Sequence[str],
    network: LayeredGenerator | None,
    found: Capacity | None,
    table: pd.DataFrame,
    reader: DatasetReader,
) -> Estimate:
    """Of the reconstructions and originals of all samples of a table; of a generator that may not be there yet."""
    image, samples = image_bytes(table, reader), len(table)
    code = GUESSED_CODE if network is None else network.num_ws * network.w_dim * FLOAT
    hours = None if found is None else packing_hours(found, samples, samples, image, True)
    return Estimate(
        stage="shard",
        samples=samples,
        steps=samples,
        bytes=samples * sample_bytes(formats, image, code, True),
        hours=hours,
        elapsed=hours,
        memory=0 if found is None else found.rendering,
    )


def sample_bytes(formats: Sequence[str], image: tuple[int, int], code: int, originals: bool) -> int:
    """Of one sample in all formats, with an image of so many bytes as PNG and as pixels, and w+ of so many."""
    png, pixels = image
    other = {"dmat": FLOAT * pixels + code}
    return sum(other.get(name, (1 + originals) * png + code + OVERHEAD) for name in formats)


def packing_hours(found: Capacity, samples: int, rendered: int, image: tuple[int, int], originals: bool) -> float:
    """Of one worker that renders some of the samples and encodes all."""
    encoding = samples * (1 + originals) * image[1] / PNG_RATE
    return (rendered * found.seconds(Work(0, 1)) + encoding) / 3600


def image_bytes(table: pd.DataFrame, reader: DatasetReader) -> tuple[int, int]:
    """Mean size of an image as PNG, from a few of them, and of its pixels."""
    encoded, pixels = [], []
    for source in table["source"].iloc[:: max(1, len(table) // PROBED)]:
        try:
            image = reader.load(source).pixels
        except SampleError:
            continue
        encoded.append(len(encode_png(image)))
        pixels.append(image.nbytes)
    return (int(np.mean(encoded)), int(np.mean(pixels))) if encoded else (0, 0)
