"""What a variant set will take: gradient steps, hours, memory and bytes on disk; the most, where it depends."""

import math

import numpy as np

from pipeline.capacity import Capacity, Estimate, Work, elapsed_hours
from pipeline.generators.layered import LayeredGenerator
from stages.augment.config import AugmentConfig
from stages.augment.layout import layout
from stages.augment.modes import MODES

RENDERS = 3  # the variant, its source, and what a mode renders of its own


def work_of(config: AugmentConfig) -> Work:
    """Of the variants of one sample, if no attack succeeds before its last attempt."""
    entry = MODES[config.mode]
    steps = 0.0
    if entry.attacks:
        levels = math.ceil(config.most_epsilon / config.rho) if "rho" in entry.options else 1
        steps = levels * config.restarts * (config.attack_steps + 1)
    return Work(config.variants * steps, config.variants * RENDERS)


def estimate(
    config: AugmentConfig,
    network: LayeredGenerator,
    num_classes: int,
    found: Capacity,
    samples: int,
    tasks: int,
    workers: int,
) -> Estimate:
    """Of the variants of so many samples, in so many tasks."""
    work, specs = work_of(config), layout(config, network, num_classes)
    each = sum(math.prod(spec.tail) * np.dtype(spec.dtype).itemsize for spec in specs.values())
    rows = samples * config.variants
    hours = samples * found.seconds(work) / 3600
    attacks = MODES[config.mode].attacks
    return Estimate(
        stage="augment",
        samples=rows,
        steps=round(samples * (work.steps if attacks else work.renders)),
        bytes=rows * each,
        hours=hours,
        tasks=tasks,
        workers=workers,
        elapsed=elapsed_hours(hours, tasks, workers),
        memory=(found.memory if attacks else found.rendering) + config.chunk_size * config.variants * each,
    )
