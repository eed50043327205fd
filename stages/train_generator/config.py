"""Settings of `pipeline train-generator`."""

from dataclasses import dataclass

from pipeline.config import option


@dataclass(frozen=True)
class TrainGeneratorConfig:
    """Defaults are those of the shipped color-digits generator."""

    images: int = option(115_000, "real images shown to the discriminator in all")
    channels: str = option("64,64,48,16", "feature channels from 4x4 up to the full resolution")
    discriminator_channels: str = option("16,32,64,128", "feature channels from the full resolution to 4x4")
    z_dim: int = option(64, "size of z and of w")
    mapping_layers: int = option(4, "fully connected layers from z to w")
    train_batch: int = option(32, "images in a training step")
    learning_rate: float = option(0.0025, "Adam's step size for both networks")
    decay_from: float = option(
        0.5, "share of the run after which the step size falls linearly to zero", at_least=0, at_most=0.99
    )
    r1_gamma: float = option(0.3, "weight of the R1 gradient penalty")
    r1_interval: int = option(16, "steps from one R1 penalty to the next")
    style_mixing: float = option(0.9, "probability that an image is rendered from two w")
    ema_half_life: int = option(5_000, "images after which an old weight counts half in the average")
    augment: float = option(
        0.7,
        "probability that the discriminator sees an image (real or generated) turned, scaled and shifted",
        at_least=0,
        at_most=0.9,
    )
    mirror: bool = option(False, "show half of the real images mirrored (faces yes, digits no)")
    snapshot: int = option(10_000, "images from one checkpoint, sample grid and quality measure to the next")
    judge_epochs: int = option(20, "epochs the judge of the quality is trained", at_least=1)
    seed: int = option(0, "seed of everything random")
