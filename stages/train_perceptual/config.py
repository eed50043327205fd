"""Settings of `pipeline train-perceptual`."""

from dataclasses import dataclass

from pipeline.config import option


@dataclass(frozen=True)
class TrainPerceptualConfig:
    """Defaults are those of the shipped color-digits net."""

    steps: int = option(600, "training steps", at_least=1)
    train_batch: int = option(64, "images in a training step", at_least=2)
    learning_rate: float = option(1e-3, "Adam's step size, falling to zero over the run", at_least=0)
    seed: int = option(0, "seed of everything random")
