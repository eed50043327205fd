"""What a build will take, before it begins: samples, steps, bytes and hours of each stage."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from pipeline.datasets import DatasetReader
from pipeline.devices import resolve_device
from pipeline.errors import ManifestError, SampleError, WeightsError
from pipeline.generators import open_generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.images import encode_png
from pipeline.measure import Rates, measure_rates
from pipeline.perceptual import load_perceptual
from stages.train_generator.config import TrainGeneratorConfig
from stages.train_generator.estimate import estimate

PROBED = 8  # images encoded to learn how large a PNG is
FLOAT = 4
SHARD_OVERHEAD = 4096  # bytes of headers and facts for each sample
PNG_RATE = 30e6  # bytes of pixels a worker encodes in a second; small beside everything else


@dataclass(frozen=True)
class StagePlan:
    """What one stage will take.

    Attributes:
        bytes: on disk, an upper estimate.
        hours: of one worker (one GPU, or one CPU core); None if it could not be measured, and `note` says why.
    """

    stage: str
    samples: int
    steps: int
    bytes: int
    hours: float | None
    note: str = ""


def plan_build(
    table: pd.DataFrame,
    reader: DatasetReader,
    generator: str,
    perceptual: str,
    *,
    steps: int,
    formats: Sequence[str],
    device: str,
    train_resolution: int | None = None,
) -> list[StagePlan]:
    """Plan inversion and shards of a sample table; and the training of a generator, if a resolution is given."""
    where = resolve_device(device)
    plans = []
    untrained = None
    if train_resolution is not None:
        asked = estimate(TrainGeneratorConfig(), train_resolution, where)
        untrained = asked.network
        plans.append(StagePlan("train-generator", asked.images, asked.steps, asked.bytes, asked.seconds / 3600))
    rates, note, latent_bytes = machine(untrained or generator, perceptual, where)
    png, pixels = image_bytes(table, reader)
    samples = len(table)
    invert_hours = None if rates is None else samples * steps * rates.gradient_step / 3600
    encode = 2 * pixels / PNG_RATE
    shard_hours = None if rates is None else samples * (rates.render + encode) / 3600
    per_sample = {"dmat": FLOAT * pixels + latent_bytes}
    shard_bytes = sum(per_sample.get(name, 2 * png + latent_bytes + SHARD_OVERHEAD) for name in formats)
    return [
        *plans,
        StagePlan("invert", samples, samples * steps, samples * (latent_bytes + 2 * pixels), invert_hours, note),
        StagePlan("shard", samples, samples, samples * shard_bytes, shard_hours, note),
    ]


def machine(
    generator: str | LayeredGenerator, perceptual: str, device: torch.device
) -> tuple[Rates | None, str, int]:
    """Rates of this machine, or why they are not known; and the bytes of one w+."""
    try:
        network = open_generator(generator, device.type).network if isinstance(generator, str) else generator
        rates = measure_rates(network, load_perceptual(perceptual, device.type), device)
    except (ManifestError, WeightsError) as error:
        return None, str(error), 18 * 512 * FLOAT
    return rates, "", network.num_ws * network.w_dim * FLOAT


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
