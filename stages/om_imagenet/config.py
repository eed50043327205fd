"""Settings of `pipeline build-om-imagenet`."""

from dataclasses import dataclass

from pipeline.config import option


@dataclass(frozen=True)
class OmImageNetConfig:
    """How the images are projected, and what is written."""

    steps: int = option(30, "most optimisation steps for each image", at_least=1)
    format: str = option(
        "webdataset,parquet", "shard formats, separated by commas; `dmat` is the authors' own HDF5 layout"
    )
    seed: int = option(0, "seed of everything random", at_least=0)
