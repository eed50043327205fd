"""The classifiers that can be trained here, by name. They load when first used, so listing them costs nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """Where an architecture is, and its sizes.

    Attributes:
        module: has `build(num_classes, resolution, width)`.
        width: channels (or their multiple, in wideresnet) where none is asked for.
        least: the smallest image it takes.
    """

    module: str
    help: str
    width: int
    least: int


ARCHITECTURES = {
    "vgg5": Architecture("pipeline.classifiers.vgg5", "the truncated VGG of AdvMix", 24, 16),
    "vgg16": Architecture("pipeline.classifiers.vgg16", "VGG-16 with batch normalisation (NaTra)", 64, 32),
    "wideresnet": Architecture("pipeline.classifiers.wideresnet", "WRN-28-10 (NaTra, DMAT)", 10, 8),
    "linear": Architecture("pipeline.classifiers.linear", "one linear layer (AdvMix, Table 2)", 1, 1),
}


def build_network(
    architecture: str, num_classes: int, resolution: int, width: int = 0, input_size: int = 0
) -> "nn.Module":
    """A network with random weights for images [B, 3, resolution, resolution] in [-1, 1].

    Args:
        width: 0 takes the architecture's own.
        input_size: shrink the images to this first; 0 leaves them.

    Raises:
        PipelineError: no such architecture, or it takes no images so small.
    """
    from pipeline.classifiers.base import Shrunk

    if architecture not in ARCHITECTURES:
        raise PipelineError(
            f"there is no classifier architecture '{architecture}'; known are {', '.join(ARCHITECTURES)}"
        )
    entry = ARCHITECTURES[architecture]
    size = input_size or resolution
    if size > resolution:
        raise PipelineError(
            f"a classifier's input of {size}x{size} is larger than the images: choose at most {resolution}"
        )
    if size < entry.least:
        raise PipelineError(
            f"{architecture} takes images from {entry.least}x{entry.least} up, not {size}x{size}: choose "
            f"another of {', '.join(name for name, a in ARCHITECTURES.items() if a.least <= size)}"
        )
    build: Callable[[int, int, int], nn.Module] = import_module(entry.module).build
    network = build(num_classes, size, width or entry.width)
    return Shrunk(network, size) if input_size else network
