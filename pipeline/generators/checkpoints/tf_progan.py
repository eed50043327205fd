"""From TensorFlow's ProGAN (Karras et al. 2018) to ours, whatever settings it was trained with.

There are two codes: ProGAN's own, whose pickles are of version 2, and that in StyleGAN's repository. They differ in
the order of the weights of transposed convolutions, [k, k, out, in] and [k, k, in, out].
"""

import math
import re
from typing import Any

from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.conversions import (
    Array,
    Rule,
    check_grown,
    conv,
    dense,
    flipped,
    fused,
    same,
    three_channels,
    translate,
)
from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.checkpoints.tensorflow import TFNetwork
from pipeline.generators.checkpoints.tf_settings import Settings
from pipeline.generators.progan import CONV_GAIN

PROGAN: tuple[Rule, ...] = (
    (r"4x4/Dense/weight", "b4.dense.weight", dense),
    (r"4x4/Dense/bias", "b4.dense.bias", same),
    (r"4x4/Conv/weight", "b4.conv1.weight", conv),
    (r"4x4/Conv/bias", "b4.conv1.bias", same),
    (r"(\d+)x\1/Conv0/weight", r"b\1.conv0.weight", conv),
    (r"(\d+)x\1/Conv0(?:_up)?/bias", r"b\1.conv0.bias", same),
    (r"(\d+)x\1/Conv1/weight", r"b\1.conv1.weight", conv),
    (r"(\d+)x\1/Conv1/bias", r"b\1.conv1.bias", same),
    (r"ToRGB_lod(\d+)/weight", r"lod\1.weight", conv),
    (r"ToRGB_lod(\d+)/bias", r"lod\1.bias", same),
)
UP = r"(\d+)x\1/Conv0_up/weight"


def from_progan(network: TFNetwork) -> Converted:
    """Convert ProGAN's `Gs` to the keys of `pipeline.generators.progan`.

    Raises:
        CheckpointError: it is damaged, still growing, or has a setting that is not rendered.
    """
    settings = Settings(network.settings)
    check_grown(network.variables.get("lod"))
    up: Rule = (UP, r"b\1.conv0.weight", flipped if inputs_first(network) else fused)
    state = translate(network, (*PROGAN, up), r"lod", "ProGAN")
    finest = max((int(key[1:].partition(".")[0]) for key in state if key.startswith("b")), default=4)
    state = {re.sub(r"^lod(\d+)", lambda m: f"b{finest >> int(m[1])}.torgb", key): t for key, t in state.items()}
    if not settings.flag("use_wscale", True):
        state = {key: tensor / gain_of(key, tensor) for key, tensor in state.items()}
    own = settings_of(settings, state, finest)
    has_up = any(re.fullmatch(UP, name) for name in network.variables)
    if finest > 4 and settings.flag("fused_scale", has_up) != has_up:
        raise CheckpointError("it is damaged: its setting 'fused_scale' does not fit its variables")
    settings.take("structure", None)
    settings.finish()
    return Converted(three_channels(state, r"b\d+\.torgb\.(weight|bias)"), own)


def settings_of(settings: Settings, state: dict[str, Tensor], resolution: int) -> dict[str, Any]:
    """Return what our network must be told; hold the sizes that are said against those of the variables."""
    inputs = state["b4.dense.weight"].shape[1]
    labels = settings.take("label_size", 0) or 0
    if not isinstance(labels, int) or not 0 <= labels < inputs:
        settings.refuse("label_size")
    settings.agree("resolution", resolution)
    settings.agree("latent_size", inputs - labels)
    torgb = state.get(f"b{resolution}.torgb.bias")
    settings.agree("num_channels", 3 if torgb is None else torgb.numel())
    found = {
        "c_dim": labels,
        "activation": "lrelu" if settings.flag("use_leakyrelu", True) else "relu",
        "pixel_norm": settings.flag("use_pixelnorm", True),
        "latent_norm": "joint" if settings.flag("normalize_latents", True) else "none",
        "norm_eps": settings.number("pixelnorm_epsilon", 1e-8),
    }
    usual = {"c_dim": 0, "activation": "lrelu", "pixel_norm": True, "latent_norm": "joint", "norm_eps": 1e-8}
    return {name: value for name, value in found.items() if value != usual[name]}


def inputs_first(network: TFNetwork) -> bool:
    """Tell whether weights of transposed convolutions are [k, k, in, out] rather than [k, k, out, in].

    Their shapes tell it, but where no layer changes the number of channels, only the code that made them does. A
    network of ProGAN's own code keeps its order when it is saved again by a newer repository.
    """
    for name, weight in network.variables.items():
        if (found := re.fullmatch(UP, name)) and weight.ndim == 4 and weight.shape[2] != weight.shape[3]:
            return bool(weight.shape[3] == outputs(network.variables, found[1]))
    if network.source:
        return "tf.transpose(w, [0, 1, 3, 2])" in network.source
    return network.version > 2


def outputs(variables: dict[str, Array], resolution: str) -> int:
    """Channels of a resolution."""
    bias = variables.get(f"{resolution}x{resolution}/Conv0_up/bias")
    return -1 if bias is None else bias.size


def gain_of(key: str, tensor: Tensor) -> float:
    """Return what our layers multiply a weight by; unscaled networks do not."""
    if not key.endswith("weight"):
        return 1.0
    gain = {"dense": CONV_GAIN / 4, "torgb": 1.0}.get(key.split(".")[1], CONV_GAIN)
    return gain / math.sqrt(tensor[0].numel())
