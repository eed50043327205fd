"""What an inversion will take: steps, hours, memory and bytes on disk."""

from pipeline.capacity import Capacity, Estimate, Work, elapsed_hours
from pipeline.generators.layered import LayeredGenerator
from stages.invert.config import InvertConfig

FLOAT = 4
FACTS = 4 * FLOAT + 8  # lpips, l1, psnr, steps and label of a row


def work_of(config: InvertConfig) -> Work:
    """Of one image, if it takes all its steps: the search, and the rendering of its result."""
    if config.method in ("given", "encoder"):
        return Work(0, 3)
    mixes = config.method == "algorithm1" and config.mixing_weight > 0
    return Work(config.steps * (2 if mixes else 1), 2)


def row_bytes(config: InvertConfig, network: LayeredGenerator) -> int:
    """Of one image in latents.zarr, before the pixels are compressed."""
    codes = config.codes if config.codes > 1 else 0
    pixels = 2 * 3 * network.resolution**2 if config.store_images else 0
    return (1 + codes) * network.num_ws * network.w_dim * FLOAT + FACTS + pixels


def estimate(
    config: InvertConfig,
    network: LayeredGenerator,
    found: Capacity,
    samples: int,
    tasks: int = 0,
    workers: int = 1,
    probes: int = 0,
) -> Estimate:
    """Of so many images, in so many tasks if they are cut already, and of the probes that come before."""
    work = work_of(config)
    hours = (samples * found.seconds(work) + probes * found.rates.gradient_step) / 3600
    return Estimate(
        stage="invert",
        samples=samples,
        steps=round(samples * work.steps) + probes,
        bytes=samples * row_bytes(config, network),
        hours=hours,
        tasks=tasks,
        workers=workers,
        elapsed=elapsed_hours(hours, tasks, workers),
        memory=found.memory + (config.chunk_size or 1) * 4 * 3 * network.resolution**2,
    )
