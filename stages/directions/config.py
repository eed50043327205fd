"""Settings of `pipeline directions`."""

from dataclasses import dataclass

from pipeline.config import option


@dataclass(frozen=True)
class DirectionsConfig:
    """How directions are found, and what they are scored by."""

    method: str = option("umap", "`umap` as in NaTra, `pca` as in GANSpace", choices=("umap", "pca"))
    space: str = option(
        "auto",
        "what is reduced: `w`, or `activations` of an early layer; `auto` takes w where z is mapped to it",
        choices=("auto", "w", "activations"),
    )
    layer: int = option(0, "layer whose activations are reduced, 0-based", at_least=0)
    samples: int = option(10_000, "random w to find them among", at_least=50)
    components: int = option(8, "directions to find", at_least=1)
    neighbors: int = option(15, "UMAP: neighbours of a sample", at_least=2)
    epochs: int = option(200, "UMAP: passes over the samples", at_least=1)
    truncation_psi: float = option(1.0, "draw w so much nearer to the mean", at_least=0.01, at_most=2)
    ranges: str | None = option(
        None, "layers to score, e.g. 0-4,5-7; if left out: the coarse ones, the fine ones, and all"
    )
    score_samples: int = option(64, "samples that the scored edits are made on", at_least=1)
    split: str = option("train", "split whose inverted samples these are; without any, random w are edited")
    step: float = option(2.0, "length of a scored edit, in deviations", at_least=0.01)
    typical: float = option(0.0, "edits keep w within so many deviations along their axis; 0: anywhere", at_least=0)
    seed: int = option(0, "seed of everything random", at_least=0)
