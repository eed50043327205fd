"""Settings of `pipeline shard`."""

from dataclasses import dataclass

from pipeline.config import option
from pipeline.shards import FORMATS


@dataclass(frozen=True)
class ShardConfig:
    """What goes into the shards, and how large they are."""

    format: str = option("webdataset,parquet", "shard formats, separated by commas: " + ", ".join(FORMATS))
    base: str = option(
        "original",
        "what stands for the sample itself: the `original` pixels, their `reconstruction` G(w), or `none`",
        choices=("original", "reconstruction", "none"),
    )
    latents: bool = option(True, "put w+ beside each image")
    originals: bool = option(False, "put the source's own pixels beside each image")
    label: str | None = option(None, "attribute that is the label; if left out, the dataset's")
    flagged: bool = option(False, "also variants that `augment` flagged as too far from their source")
    samples_per_shard: int = option(
        1000, "most samples in a shard; fewer where their pixels are more than 1 GiB", at_least=1
    )
    min_shards: int = option(4, "fewest shards of a split (readers times workers)", at_least=1)
    seed: int = option(0, "seed of the order of samples", at_least=0)
