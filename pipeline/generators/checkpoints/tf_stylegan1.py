"""From TensorFlow's StyleGAN (Karras et al. 2019) to ours, whatever settings it was trained with.

What can be folded into the weights is: the learning rate's multiplier, weights that are not scaled, and whether an
up-convolution is a transposed one. The blur is part of our weights. The rest becomes settings of our network.
"""

import math
import re
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.conversions import (
    Array,
    Layout,
    check_grown,
    conv,
    dense,
    same,
    three_channels,
    translate,
)
from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.checkpoints.tensorflow import TFNetwork
from pipeline.generators.checkpoints.tf_settings import Settings
from pipeline.generators.stylegan1 import tf_names
from pipeline.generators.stylegan1_layers import (
    CONV_GAIN,
    FUSED_FROM,
    MAPPING_LR_MUL,
    blur_kernel,
    layer_resolution,
)

MAX_RESOLUTION = 2**14
FUNCTIONS = ("lrelu", "relu")


def from_stylegan1(network: TFNetwork) -> Converted:
    """Convert StyleGAN's `Gs` to the keys of its PyTorch port.

    Raises:
        CheckpointError: it is damaged, still growing, or has a setting that is not rendered.
    """
    variables = {re.sub("^(mapping|synthesis)/", "", name): array for name, array in network.variables.items()}
    resolution = max((int(m[1]) for m in (re.match(r"(\d{1,5})x\1/", name) for name in variables) if m), default=0)
    if resolution not in [4 << i for i in range(1, MAX_RESOLUTION.bit_length() - 2)]:
        raise CheckpointError(f"it is damaged: a StyleGAN of {resolution} x {resolution}")
    mapping_layers = len({name for name in variables if re.fullmatch(r"Dense\d+/weight", name)})
    settings = Settings(network.settings)
    own = settings_of(settings, variables, resolution, mapping_layers)
    if settings.choice("structure", "auto", ("auto", "fixed", "linear", "recursive")) == "fixed":
        variables.pop("lod", None)  # such a network never grew
    else:
        check_grown(network.variables.get("lod", variables.get("lod")))
    fused_scale = settings.choice("fused_scale", "auto", ("auto", True, False))
    use_noise = settings.flag("use_noise", True)
    kernel = settings.kernel("blur_filter", [1, 2, 1], without=[1])
    scaled, lr_mul = settings.flag("use_wscale", True), settings.number("mapping_lrmul", MAPPING_LR_MUL)
    settings.finish()

    first = "Dense" if "4x4/Dense/weight" in variables else "Const"
    renamed = tf_names(resolution, mapping_layers, first) | {"LabelConcat/weight": "mapping.label_weight"}
    rules = tuple((re.escape(name), key, layout_of(key)) for name, key in renamed.items())
    state = translate(TFNetwork(variables, {}), rules, "lod", "StyleGAN")
    state = turned(state, fused_scale)
    if not scaled:
        state = {key: tensor / gain_of(key, tensor) for key, tensor in state.items()}
    if lr_mul != MAPPING_LR_MUL:
        factor = lr_mul / MAPPING_LR_MUL
        state = {key: t * factor if key.startswith("mapping.dense") else t for key, t in state.items()}
    if not use_noise:
        state |= silent(state)
    if not torch.equal(kernel, blur_kernel(1)[0, 0]):
        state |= blurs(state, kernel)
    return Converted(three_channels(state, r"synthesis\.output\d+\.(conv\.weight|bias)"), own)


def settings_of(
    settings: Settings, variables: dict[str, Array], resolution: int, mapping_layers: int
) -> dict[str, Any]:
    """Return what our network must be told; hold the sizes that are said against those of the variables."""
    if not settings.flag("use_styles", True):
        settings.refuse("use_styles")
    labels = variables.get("LabelConcat/weight")
    constant = "4x4/Dense/weight" not in variables
    if settings.flag("const_input_layer", constant) != constant:
        raise CheckpointError("it is damaged: its setting 'const_input_layer' does not fit its variables")
    settings.agree("resolution", resolution)
    settings.agree("mapping_layers", mapping_layers)
    settings.agree("label_size", len(labels) if labels is not None and labels.ndim else 0)
    settings.agree("num_channels", variables["ToRGB_lod0/bias"].size if "ToRGB_lod0/bias" in variables else 3)
    settings.agree("dlatent_size", variables["dlatent_avg"].size if "dlatent_avg" in variables else 512)
    if labels is not None and labels.ndim == 2:
        settings.agree("latent_size", labels.shape[1])
    elif mapping_layers and "Dense0/weight" in variables:
        settings.agree("latent_size", len(variables["Dense0/weight"]))
    else:
        settings.take("latent_size", None)
    found = {
        "activation": settings.choice("nonlinearity", "lrelu", FUNCTIONS),
        "mapping_activation": settings.choice("mapping_nonlinearity", "lrelu", FUNCTIONS),
        "pixel_norm": settings.flag("use_pixel_norm", False),
        "instance_norm": settings.flag("use_instance_norm", True),
        "latent_norm": "joint" if settings.flag("normalize_latents", True) else "none",
    }
    usual = {"activation": "lrelu", "mapping_activation": "lrelu", "pixel_norm": False}
    usual |= {"instance_norm": True, "latent_norm": "joint"}
    return {name: value for name, value in found.items() if value != usual[name]}


def layout_of(key: str) -> Layout:
    """Layout of a variable by its key in the port: its fused convolutions keep TensorFlow's order."""
    if key.endswith(("linear.weight", "first_dense")):
        return dense
    return conv if key.endswith("conv.weight") else same


def turned(state: dict[str, Tensor], fused_scale: bool | str) -> dict[str, Tensor]:
    """Make transposed up-convolutions of ordinary ones, and the reverse, where the file has the other kind.

    A transposed convolution by a kernel that was added to its shifted copies is a convolution by the kernel turned
    by 180 degrees, after repeating pixels.
    """
    if fused_scale == "auto":
        return state
    changed = dict(state)
    for key, weight in state.items():
        found = re.fullmatch(r"synthesis\.layer(\d+)(\.conv)?\.weight", key)
        if found is None or int(found[1]) % 2 or weight.ndim != 4:
            continue
        large = layer_resolution(int(found[1])) >= FUSED_FROM
        if large and not fused_scale:
            changed[key] = weight.flip(0, 1)
        elif fused_scale and not large:
            changed[key] = weight.flip(2, 3)
    return changed


def gain_of(key: str, tensor: Tensor) -> float:
    """Return what our layers multiply a weight by; unscaled networks do not."""
    if key.startswith("mapping.dense") and key.endswith("weight"):
        return CONV_GAIN / math.sqrt(tensor.shape[1])
    if key.endswith("style_mod.dense.linear.weight"):
        return 1 / math.sqrt(tensor.shape[1])
    if key.endswith("first_dense"):
        return CONV_GAIN / 4 / math.sqrt(tensor.shape[1])
    if key.endswith("conv.weight"):
        return (1 if ".output" in key else CONV_GAIN) / math.sqrt(tensor[0].numel())
    if re.fullmatch(r"synthesis\.layer\d+\.weight", key):
        return CONV_GAIN / math.sqrt(tensor[..., 0].numel())
    return 1.0


def blurs(state: dict[str, Tensor], kernel: Tensor) -> dict[str, Tensor]:
    """Give every up-convolution this blur."""
    biases = {
        found[1]: bias
        for key, bias in state.items()
        if (found := re.fullmatch(r"(synthesis\.layer\d*[02468])\.epilogue\.bias", key))
    }
    return {
        f"{layer}.blur.kernel": kernel.expand(len(bias), 1, -1, -1).clone()
        for layer, bias in biases.items()
        if layer != "synthesis.layer0"
    }


def silent(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give noise of no strength to layers whose file has none."""
    made: dict[str, Tensor] = {}
    for key, bias in state.items():
        if found := re.fullmatch(r"synthesis\.layer(\d+)\.epilogue\.bias", key):
            size = layer_resolution(int(found[1]))
            noise = key.replace("bias", "apply_noise")
            made |= {f"{noise}.weight": torch.zeros(len(bias)), f"{noise}.noise": torch.zeros(1, 1, size, size)}
    return made
