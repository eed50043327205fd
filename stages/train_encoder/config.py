"""Settings of `pipeline train-encoder`."""

from dataclasses import dataclass

from pipeline.config import option


@dataclass(frozen=True)
class TrainEncoderConfig:
    """What is seen, and how often; how the shipped encoder was trained stands in its manifest."""

    steps: int = option(2000, "updates of each of the two kinds", at_least=1)
    train_batch: int = option(32, "generated and real images in a step, each", at_least=1)
    learning_rate: float = option(1e-3, "Adam's step size, falling to zero in the second half", at_least=0)
    passes: int = option(4, "corrections the encoder makes; one is the plain encoder", at_least=1)
    space: str = option("w+", "`w+`: each layer its own w; `w`: all the same", choices=("w+", "w"))
    latent_weight: float = option(1.0, "weight of eq. 8, the distance of w of generated images", at_least=0)
    pixel_weight: float = option(2.0, "gamma_1 of eq. 9, weight of the pixels of an image", at_least=0)
    pixel_loss: str = option(
        "l1", "distance of pixels in eq. 9: `l1`, or `log-mse`, which trains for PSNR", choices=("l1", "log-mse")
    )
    feature_weight: float = option(1.0, "gamma_2 of eq. 9, weight of the perceptual net's features", at_least=0)
    style_mixing: float = option(0.9, "probability that a generated image is rendered from three w")
    stretch: float = option(1.6, "generated images lie up to so many times as far from the mean w", at_least=1)
    colour_jitter: float = option(
        1.0, "channels of real images change places and are scaled by up to so much, so that no colour is rare"
    )
    ema_half_life: int = option(5_000, "images after which an old weight counts half in the average")
    snapshot: int = option(500, "steps from one checkpoint to the next", at_least=1)
    seed: int = option(0, "seed of everything random", at_least=0)
