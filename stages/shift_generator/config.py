"""Settings of `pipeline shift-generator`."""

from dataclasses import dataclass

from pipeline.config import option


@dataclass(frozen=True)
class ShiftGeneratorConfig:
    """The loss is eq. 9's, with its weights; what holds the generator back is ours."""

    steps: int = option(400, "updates of the generator", at_least=1)
    train_batch: int = option(32, "images in a step", at_least=1)
    learning_rate: float = option(5e-4, "Adam's step size, falling to zero in the second half", at_least=0)
    pixel_weight: float = option(2.0, "gamma_1 of eq. 9, weight of the pixels of an image", at_least=0)
    feature_weight: float = option(1.0, "gamma_2 of eq. 9, weight of the perceptual net's features", at_least=0)
    keep_weight: float = option(
        1.0, "weight of the pixels by which a random w may render otherwise than before (0: the paper)", at_least=0
    )
    snapshot: int = option(100, "steps from one checkpoint to the next", at_least=1)
    seed: int = option(0, "seed of everything random", at_least=0)
