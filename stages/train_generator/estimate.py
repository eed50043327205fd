"""What a training would take, from a few of its steps; for those who plan one."""

from dataclasses import dataclass, replace
from functools import partial

import torch

from pipeline.devices import use_one_thread
from pipeline.generators.layered import LayeredGenerator
from pipeline.measure import seconds_of
from stages.train_generator.config import TrainGeneratorConfig
from stages.train_generator.training import Trainer

FLOAT = 4


@dataclass(frozen=True)
class Estimate:
    """Images shown, steps, bytes of a checkpoint, seconds on one core or GPU, and the network, not trained."""

    images: int
    steps: int
    bytes: int
    seconds: float
    network: LayeredGenerator


def estimate(config: TrainGeneratorConfig, resolution: int, device: torch.device) -> Estimate:
    """Time steps with the gradient penalty and without, on smaller batches where the images are large."""
    use_one_thread()
    batch = config.train_batch if resolution <= 64 or device.type == "cuda" else 4
    trainer = Trainer(replace(config, train_batch=batch), resolution, device)
    images = torch.randint(256, (batch, resolution, resolution, 3), dtype=torch.uint8)

    def step(number: int) -> None:
        trainer.step = number
        trainer.train_step(images)

    penalised, plain = (seconds_of(partial(step, n), device) for n in (0, 1))  # R1 is due at step 0
    seconds = config.images / batch * (plain + (penalised - plain) / config.r1_interval)
    weights = sum(value.numel() for net in trainer.networks.values() for value in net.state_dict().values())
    moments = 2 * sum(
        p.numel() for optimizer in trainer.optimizers.values() for g in optimizer.param_groups for p in g["params"]
    )
    steps = config.images // config.train_batch
    return Estimate(config.images, steps, FLOAT * (weights + moments), seconds, trainer.G_ema)
