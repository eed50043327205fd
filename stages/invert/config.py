"""Settings of `pipeline invert`."""

from dataclasses import dataclass

from pipeline.config import option


@dataclass(frozen=True)
class InvertConfig:
    """Weights of the losses are those of the papers, the schedule is ours (docs/performance.md)."""

    method: str = option(
        "lpips",
        "`lpips`: LPIPS + L1 (OM-ImageNet); `algorithm1`: AdvMix's encoder with its mixing loss",
        choices=("lpips", "algorithm1"),
    )
    steps: int = option(75, "optimisation steps for each image", at_least=1)
    learning_rate: float = option(
        0.1, "Adam's step size in W+, falling to zero in the last quarter", at_least=0, at_most=1e30
    )
    pixel_weight: float = option(2.0, "weight of the pixel term (L1, or squared error in algorithm1)", at_least=0)
    feature_weight: float = option(1.0, "weight of the perceptual term (alpha in algorithm1)", at_least=0)
    mixing_weight: float = option(0.2, "weight of algorithm1's mixing loss (beta)", at_least=0)
    chunk_size: int = option(64, "samples in a task and in a storage chunk", at_least=1)
    store_images: bool = option(False, "also store the original and the rendered pixels")
    seed: int = option(0, "seed of everything random", at_least=0)
