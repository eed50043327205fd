"""Settings of `pipeline train-generator`."""

from dataclasses import dataclass

from pipeline.config import option
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class TrainGeneratorConfig:
    """Defaults are those of the shipped color-digits generator."""

    family: str = option(
        "stylegan2",
        "network: `stylegan2`; or `stylegan1`, whose normalisation leaves global colour to the finest layers",
        choices=("stylegan2", "stylegan1"),
    )
    images: int = option(320_000, "real images shown to the discriminator in all", at_least=1)
    channels: str | None = option(
        None, "feature channels from 4x4 up to the full resolution; if left out, by resolution"
    )
    discriminator_channels: str | None = option(
        None, "feature channels from the full resolution to 4x4; if left out, by resolution"
    )
    z_dim: int = option(64, "size of z and of w", at_least=1)
    mapping_layers: int = option(4, "fully connected layers from z to w", at_least=1)
    train_batch: int = option(32, "images in a training step", at_least=2)
    learning_rate: float = option(0.0025, "Adam's step size for both networks", at_least=0)
    decay_from: float = option(
        0.6, "share of the run after which the step size falls linearly to zero", at_least=0, at_most=0.99
    )
    r1_gamma: float = option(0.3, "weight of the R1 gradient penalty", at_least=0)
    r1_interval: int = option(16, "steps from one R1 penalty to the next", at_least=1)
    style_mixing: float = option(
        0.9,
        "probability that an image is rendered from two w; 0 where mixed images would break a link between coarse "
        "and fine that all real images have, as class and colour in a biased set",
        at_least=0,
        at_most=1,
    )
    colour_transport: float = option(
        0.0,
        "weight of the optimal transport from the mean colours of generated images to those of the real ones in a "
        "batch, for a set whose colours lie far apart; 0 leaves it out",
        at_least=0,
    )
    learn: str = option(
        "all",
        "what of the generator learns: `all`; or `colours`, the mapping network and the styles of the "
        "--fine-layers finest layers alone, so that the shapes of --generator stay",
        choices=("all", "colours"),
    )
    discriminator_first: int = option(
        0, "images that the discriminator alone learns from at first, beside a trained --generator", at_least=0
    )
    ema_half_life: int = option(10_000, "images after which an old weight counts half in the average", at_least=1)
    augment: float = option(
        0.7,
        "probability that the discriminator sees an image (real or generated) turned, scaled and shifted",
        at_least=0,
        at_most=0.9,
    )
    fine_layers: int = option(
        3, "how many of the finest layers the manifest declares free of the label; measure it", at_least=1
    )
    mirror: bool = option(False, "show half of the real images mirrored (faces yes, digits no)")
    snapshot: int = option(
        10_000, "images from one checkpoint, sample grid and quality measure to the next", at_least=1
    )
    judge_epochs: int = option(20, "epochs the judge of the quality is trained", at_least=1)
    seed: int = option(0, "seed of everything random", at_least=0)


def channel_counts(config: TrainGeneratorConfig, resolution: int) -> tuple[list[int], list[int]]:
    """Channels of the generator from 4x4 up, and of the discriminator from the full resolution down.

    Where the settings are silent: a small network that a CPU can train up to 32x32, and StyleGAN2's official
    widths, min(512, 16384 / resolution), above.

    Raises:
        PipelineError: the settings are not whole numbers, one for each resolution from 4x4 up.
    """
    sizes = [4 << i for i in range((resolution // 4).bit_length())]
    if sizes[-1] != resolution:
        raise PipelineError(
            f"a StyleGAN renders 4, 8, 16, … pixels, and the dataset's images have {resolution}: "
            f"set 'resolution' in its manifest to a power of two"
        )
    if resolution <= 32:
        up, down = [*[64, 64, 48][: len(sizes) - 1], 16], [16, 32, 64, 128][-len(sizes) :]
    else:
        up = [min(512, 16384 // size) for size in sizes]
        down = up[::-1]
    if config.channels is not None:
        up = parse_channels("--channels", config.channels, len(sizes))
    if config.discriminator_channels is not None:
        down = parse_channels("--discriminator-channels", config.discriminator_channels, len(sizes))
    return up, down


def parse_channels(flag: str, text: str, count: int) -> list[int]:
    """Parse "64,64,48,16"; raise PipelineError unless that is `count` positive whole numbers."""
    try:
        channels = [int(part) for part in text.split(",")]
    except ValueError:
        channels = []
    if len(channels) != count or min(channels) < 1:
        raise PipelineError(
            f"{flag} {text}: {2 << count}x{2 << count} images need {count} numbers, one for each size from 4x4"
        )
    return channels
