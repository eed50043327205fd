"""Settings of `pipeline invert`."""

from dataclasses import dataclass, replace
from typing import Self

from pipeline.config import option

SMALL_W = 128  # numbers of a w in which STEPS are enough
STEPS, MORE_STEPS = 30, 100


@dataclass(frozen=True)
class InvertConfig:
    """Weights of the losses are those of the papers, the solver is ours (docs/performance.md).

    `steps` is None until `settled` chooses it.
    """

    method: str = option(
        "auto",
        "`lpips`: LPIPS + L1 from the mean w (OM-ImageNet); `hybrid`: the same from the encoder's w; `encoder`: "
        "the encoder alone (BIES); `algorithm1`: AdvMix's encoder with its mixing loss; `given`: the latents that "
        "the dataset brings; `auto`: `given` or `hybrid` where there is one, else `lpips`",
        choices=("auto", "lpips", "hybrid", "encoder", "algorithm1", "given"),
    )
    space: str = option("w+", "`w+`: each layer its own w; `w`: all the same", choices=("w+", "w"))
    codes: int = option(1, "codes an image is composed of (NaTra's LCE); later stages render all", at_least=1)
    compose_at: int = option(-1, "0-based layer at which codes are composed; -1 is the middle one", at_least=-1)
    steps: int = option(
        None,
        "most optimisation steps for an image; if left out, 30, or 100 where a w has more than 128 numbers",
        at_least=1,
    )
    tolerance: float = option(
        0.02, "an image is done when five steps lowered its loss by less than this share", at_least=0, at_most=1
    )
    pixel_weight: float = option(2.0, "weight of the pixel term (L1, or squared error in algorithm1)", at_least=0)
    feature_weight: float = option(1.0, "weight of the perceptual term (alpha in algorithm1)", at_least=0)
    smoothing: float = option(0.1, "pixel differences below this count squared rather than absolute", at_least=1e-6)
    mixing_weight: float = option(0.2, "weight of algorithm1's mixing loss (beta)", at_least=0)
    learning_rate: float = option(0.3, "step size of algorithm1's Adam", at_least=0, at_most=1e30)
    poor: float = option(
        7.0,
        "an image whose distance is this many robust deviations beyond the median is retried, then marked `poor`",
        at_least=0,
    )
    chunk_size: int = option(
        0, "samples in a task; 0 measures how many are two minutes of work, at most 64 of them", at_least=0
    )
    store_images: bool = option(False, "also store the original and the rendered pixels")
    seed: int = option(0, "seed of everything random", at_least=0)

    def settled(self, w_dim: int) -> Self:
        """The same with its steps chosen for a w of so many numbers, if they were not."""
        return replace(self, steps=self.steps or (STEPS if w_dim <= SMALL_W else MORE_STEPS))
