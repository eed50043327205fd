"""What the stages after inversion need to know of latents.zarr."""

import re

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.build import Build
from pipeline.composition import Composition
from pipeline.errors import BuildError, PipelineError, WeightsError
from pipeline.generators import open_generator
from pipeline.store import read_attributes, read_scattered


def to_tensor(values: NDArray[np.float32]) -> Tensor:
    """A copy where PyTorch puts it: kernels may round by where numbers lie, and NumPy's lie anywhere."""
    return torch.tensor(values)


def generator_of(build: Build) -> str:
    """Name or path of the generator the samples were inverted into.

    Raises:
        BuildError: nothing has been inverted.
        WeightsError: the generator of that name is another one now.
    """
    attributes = read_attributes(build.latents_path)
    if "generator" not in attributes:
        raise BuildError(
            f"nothing is inverted yet in {build.root}: run `pipeline invert --dataset {build.manifest.name}` first"
        )
    name = str(attributes["generator"])
    if open_generator(name).sha256 != attributes["generator_sha256"]:
        raise WeightsError(
            f"generator '{name}' is not the one {build.latents_path} was made with: "
            f"run `pipeline invert --fresh`, or put the old weights back"
        )
    return name


def perceptual_of(build: Build) -> str:
    """Name or path of the perceptual net that the samples were inverted with."""
    return str(read_attributes(build.latents_path)["perceptual"])


def has_composition(build: Build) -> bool:
    """Whether samples have several codes (LCE)."""
    return "compose_layer" in read_attributes(build.latents_path)


def read_composition(
    build: Build, rows: NDArray[np.int64], device: torch.device | str = "cpu"
) -> Composition | None:
    """The codes of samples [B], in any order and as often as asked for; None where a w+ is all there is."""
    attributes = read_attributes(build.latents_path)
    if "compose_layer" not in attributes:
        return None
    columns = read_scattered(build.latents_path, ("codes", "alpha", "w"), rows)
    found = {name: to_tensor(values) for name, values in columns.items()}
    base = found["w"][:, : found["codes"].shape[2]]
    layer = int(attributes["compose_layer"])
    return Composition(layer, found["codes"], found["alpha"], base).to(torch.device(device))


def check_name(name: str) -> str:
    """Return a name for a variant or shard set; raise PipelineError if it cannot be a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
        raise PipelineError(f"'{name}' cannot be a name: use letters, digits, - and _, at most 100")
    return name
