"""Settings of `pipeline augment`."""

from dataclasses import dataclass

from pipeline.config import option
from stages.augment.modes import MODES


@dataclass(frozen=True)
class AugmentConfig:
    """Which variants to make."""

    mode: str = option("randmix", "how to make them: " + "; ".join(f"`{n}` {m.help}" for n, m in MODES.items()),
                       choices=tuple(MODES))  # fmt: skip
    variants: int = option(4, "variants of each sample", at_least=1)
    split: str = option("train", "split whose samples get variants")
    fine_layers: str = option("", "0-based layers to replace, e.g. 6,7; empty takes the generator's")
    include_poor: bool = option(False, "also from samples whose inversion was marked `poor`")
    chunk_size: int = option(64, "samples in a task", at_least=1)
    seed: int = option(0, "seed of everything random", at_least=0)
