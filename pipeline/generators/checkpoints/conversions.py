"""From the names and layouts of TensorFlow's variables to those of ours: what all its networks have in common.

Sources: the layers of the repositories progressive_growing_of_gans, stylegan and stylegan2.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.tensorflow import TFNetwork

Array = NDArray[Any]


def dense(array: Array) -> Array:
    """[in, out] -> [out, in]."""
    return array.T


def conv(array: Array) -> Array:
    """[k, k, in, out] -> [out, in, k, k]."""
    return array.transpose(3, 2, 0, 1)


def flipped(array: Array) -> Array:
    """Do as `conv`, for weights of a transposed convolution, which TensorFlow stores turned by 180 degrees."""
    return conv(array[::-1, ::-1])


def fused(array: Array) -> Array:
    """[k, k, out, in] of a transposed convolution that doubles -> [out, in, k, k] of one after doubling.

    Adding the four shifted copies of a kernel, as ProGAN does, is convolving it with a 2 x 2 box; a transposed
    convolution of stride 2 with that box repeats every pixel. What is left is the kernel, turned by 180 degrees.
    """
    return array[::-1, ::-1].transpose(2, 3, 0, 1)


def same(array: Array) -> Array:
    """Leave it as it is."""
    return array


def plus_one(array: Array) -> Array:
    """Add the 1 that TensorFlow's StyleGAN2 adds to its style biases when it runs."""
    return array + 1


def tensor(array: Array) -> Tensor:
    """Give an array of any byte order and strides as a float32 tensor of its own."""
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


Layout = Callable[[Array], Array]
Rule = tuple[str, str, Layout]
DIMENSIONS: dict[Layout, int] = {dense: 2, conv: 4, flipped: 4, fused: 4}


def translate(network: TFNetwork, rules: tuple[Rule, ...], ignore: str, kind: str) -> dict[str, Tensor]:
    """Rename and turn every variable by the first rule (pattern, key, layout) that fits its whole name.

    Raises:
        CheckpointError: no rule fits one, and it is not among those to ignore.
    """
    state = {}
    for name, array in network.variables.items():
        for pattern, key, layout in rules:
            if match := re.fullmatch(pattern, name):
                state[match.expand(key)] = tensor(checked_layout(layout, array, name))
                break
        else:
            if not re.fullmatch(ignore, name):
                raise CheckpointError(f"its variable '{name[:80]}' is in no {kind} that is rendered here")
    return state


def checked_layout(layout: Layout, array: Array, name: str) -> Array:
    """Apply a layout to an array that has the dimensions for it."""
    needed = DIMENSIONS.get(layout, array.ndim)
    if array.ndim != needed:
        raise CheckpointError(f"it is damaged: '{name[:80]}' has {array.ndim} dimensions instead of {needed}")
    return layout(array)


def check_grown(lod: Array | None) -> None:
    """Refuse a network saved before it had grown to its full resolution."""
    if lod is not None and float(lod) != 0:
        raise CheckpointError("it was saved before it had grown to its full resolution: take a later snapshot")


def three_channels(state: dict[str, Tensor], painters: str) -> dict[str, Tensor]:
    """Give the layers whose keys fit, which paint the image, three equal channels if they have one, for grey."""
    return {
        key: t.expand(3, *t.shape[1:]).clone() if re.fullmatch(painters, key) and len(t) == 1 else t
        for key, t in state.items()
    }


def first(array: Array) -> Array:
    """Drop leading dimensions of size 1 until a square (noise) or [C, 4, 4] (constant) is left."""
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return array


def name_noises(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the noises noise0, noise1, … (4, 8, 8, 16, 16, …) by the layers of StyleGAN2-ADA that add them."""

    def rename(match: re.Match[str]) -> str:
        resolution, conv = 4 << (int(match[1]) + 1) // 2, (int(match[1]) + 1) % 2
        return f"synthesis.b{resolution}.conv{conv}.noise_const"

    return {re.sub(r"^noise(\d{1,2})$", rename, key): tensor for key, tensor in state.items()}
