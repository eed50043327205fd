"""From the names and layouts of TensorFlow's networks to those of ours.

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
FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


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


PROGAN: tuple[Rule, ...] = (
    (r"4x4/Dense/weight", "b4.dense.weight", dense),
    (r"4x4/Dense/bias", "b4.dense.bias", same),
    (r"4x4/Conv/weight", "b4.conv1.weight", conv),
    (r"4x4/Conv/bias", "b4.conv1.bias", same),
    (r"(\d+)x\1/Conv0_up/weight", r"b\1.conv0.weight", fused),
    (r"(\d+)x\1/Conv0/weight", r"b\1.conv0.weight", conv),
    (r"(\d+)x\1/Conv0(?:_up)?/bias", r"b\1.conv0.bias", same),
    (r"(\d+)x\1/Conv1/weight", r"b\1.conv1.weight", conv),
    (r"(\d+)x\1/Conv1/bias", r"b\1.conv1.bias", same),
    (r"ToRGB_lod(\d+)/weight", r"lod\1.weight", conv),
    (r"ToRGB_lod(\d+)/bias", r"lod\1.bias", same),
)


def from_progan(network: TFNetwork) -> dict[str, Tensor]:
    """Convert ProGAN's `Gs` (Karras et al. 2018) to the keys of `pipeline.generators.progan`."""
    if network.settings.get("label_size") or network.settings.get("use_wscale") is False:
        raise CheckpointError("it is a ProGAN with labels or without scaled weights, which is not rendered here")
    check_grown(network.variables.get("lod"))
    state = translate(network, PROGAN, r"lod", "ProGAN")
    finest = max((int(key[1:].partition(".")[0]) for key in state if key.startswith("b")), default=4)
    return {re.sub(r"^lod(\d+)", lambda m: f"b{finest >> int(m[1])}.torgb", key): t for key, t in state.items()}


def check_grown(lod: Array | None) -> None:
    """Refuse a network saved before it had grown to its full resolution."""
    if lod is not None and float(lod) != 0:
        raise CheckpointError("it was saved before it had grown to its full resolution: take a later snapshot")


def from_stylegan1(network: TFNetwork) -> dict[str, Tensor]:
    """Convert StyleGAN's `Gs` (Karras et al. 2019) to the keys of its PyTorch port."""
    from pipeline.generators.stylegan1 import tf_names

    variables = {
        name.removeprefix("mapping/").removeprefix("synthesis/"): a for name, a in network.variables.items()
    }
    sizes = [int(m[1]) for m in (re.match(r"(\d+)x\1/", name) for name in variables) if m]
    check_grown(variables.get("lod"))
    rules = tuple((re.escape(name), key, stylegan1_layout(key)) for name, key in tf_names(max(sizes)).items())
    return translate(TFNetwork(variables, network.settings), rules, "lod", "StyleGAN")


def stylegan1_layout(key: str) -> Layout:
    """Layout of a variable by its key in the port: its fused convolutions keep TensorFlow's order."""
    if key.endswith("linear.weight"):
        return dense
    return conv if key.endswith("conv.weight") else same


def first(array: Array) -> Array:
    """Drop leading dimensions of size 1 until a square (noise) or [C, 4, 4] (constant) is left."""
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return array


LAYER: tuple[Rule, ...] = (
    ("bias", "bias", same),
    ("noise_strength", "noise_strength", same),
    ("mod_weight", "affine.weight", dense),
    ("mod_bias", "affine.bias", plus_one),
)


def stylegan2_rules() -> tuple[Rule, ...]:
    """List how the variables of a StyleGAN2 with skip architecture are called here."""
    places = (
        (r"synthesis/4x4/Conv", "synthesis.b4.conv1", conv),
        (r"synthesis/(\d+)x\1/Conv0_up", r"synthesis.b\1.conv0", flipped),
        (r"synthesis/(\d+)x\1/Conv1", r"synthesis.b\1.conv1", conv),
        (r"synthesis/(\d+)x\1/ToRGB", r"synthesis.b\1.torgb", conv),
    )
    return (
        ("dlatent_avg", "mapping.w_avg", same),
        (r"mapping/Dense(\d+)/weight", r"mapping.fc\1.weight", dense),
        (r"mapping/Dense(\d+)/bias", r"mapping.fc\1.bias", same),
        (r"mapping/LabelEmbed/weight", "mapping.embed.weight", dense),
        (r"mapping/LabelEmbed/bias", "mapping.embed.bias", same),
        (r"synthesis/4x4/Const/const", "synthesis.b4.const", first),
        (r"synthesis/noise(\d+)", r"noise\1", first),
        *((rf"{place}/weight", f"{key}.weight", layout) for place, key, layout in places),
        *(
            (rf"{place}/{name}", f"{key}.{ours}", layout)
            for place, key, _ in places
            for name, ours, layout in LAYER
        ),
    )


def from_stylegan2(network: TFNetwork) -> dict[str, Tensor]:
    """Convert StyleGAN2's `Gs` (Karras et al. 2020), configurations E and F, to the keys of StyleGAN2-ADA."""
    if any("ToRGB_lod" in name for name in network.variables):
        raise CheckpointError("it is a StyleGAN2 of configuration B, C or D; only E and F are rendered")
    state = translate(network, stylegan2_rules(), r"(synthesis/|mapping/)?lod", "StyleGAN2 of configuration E or F")
    return with_filters(name_noises(state))


def name_noises(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the noises noise0, noise1, … (4, 8, 8, 16, 16, …) by the layers of StyleGAN2-ADA that add them."""

    def rename(match: re.Match[str]) -> str:
        resolution, conv = 4 << (int(match[1]) + 1) // 2, (int(match[1]) + 1) % 2
        return f"synthesis.b{resolution}.conv{conv}.noise_const"

    return {re.sub(r"^noise(\d{1,2})$", rename, key): tensor for key, tensor in state.items()}


def with_filters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the low-pass filter, which StyleGAN2-ADA keeps with every layer and others have in their code."""
    resolutions = {m[1] for m in (re.match(r"synthesis\.b(\d+)\.", key) for key in state) if m}
    for resolution in resolutions:
        for place in ("", "conv0.", "conv1."):
            if not place or f"synthesis.b{resolution}.{place}weight" in state:
                state[f"synthesis.b{resolution}.{place}resample_filter"] = FIR
    return state
