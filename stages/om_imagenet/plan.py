"""What a build will take, before it begins: samples, steps, bytes and hours of each stage."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from pipeline.capacity import Capacity, Estimate, capacity_of
from pipeline.datasets import DatasetReader
from pipeline.devices import resolve_device
from pipeline.errors import ManifestError, WeightsError
from pipeline.generators import open_generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.perceptual import load_perceptual
from stages.invert import estimate as inversion
from stages.invert.config import InvertConfig
from stages.shard import estimate as packing
from stages.train_generator import estimate as training
from stages.train_generator.config import TrainGeneratorConfig


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
    batch_size: int | None = None,
) -> list[Estimate]:
    """Plan inversion and shards of a sample table; and the training of a generator, if a resolution is given."""
    where = resolve_device(device)
    plans = []
    untrained = None
    if train_resolution is not None:
        asked = training.estimate(TrainGeneratorConfig(), train_resolution, where)
        untrained = asked.network
        plans.append(Estimate("train-generator", asked.images, asked.steps, asked.bytes, asked.seconds / 3600))
    network, found, note = machine(untrained or generator, perceptual, where, batch_size)
    samples, (_, pixels) = len(table), packing.image_bytes(table, reader)
    config = InvertConfig(method="lpips", steps=steps, store_images=True)
    if network is None or found is None:
        stored = samples * (packing.GUESSED_CODE + 2 * pixels)
        inverted = Estimate("invert", samples, samples * steps, stored, None, note)
    else:
        inverted = inversion.estimate(config, network, found, samples)
    packed = packing.estimate_all(formats, network, found, table, reader)
    return [*plans, inverted, replace(packed, note=note)]


def machine(
    generator: str | LayeredGenerator, perceptual: str, device: torch.device, batch_size: int | None
) -> tuple[LayeredGenerator | None, Capacity | None, str]:
    """The generator and what this machine does with it, or why that is not known."""
    try:
        network = open_generator(generator, device.type).network if isinstance(generator, str) else generator
        return network, capacity_of(network, load_perceptual(perceptual, device.type), device, batch_size), ""
    except (ManifestError, WeightsError) as error:
        return None, None, str(error)
