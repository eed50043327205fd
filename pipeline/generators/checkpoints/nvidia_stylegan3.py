"""StyleGAN3 out of NVIDIA's pickles: what its modules say of themselves is rendered, or refused by name."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.arrays import is_array, to_array
from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.checkpoints.nvidia import Module, Network
from pipeline.generators.stylegan3 import CONV_CLAMP, LR_MULTIPLIER, OUTPUT_SCALE
from pipeline.generators.stylegan3_sampling import LayerSampling, Sampling

SAMPLING = tuple(setting.name for setting in fields(Sampling))
# Arguments that the modules were made with: those that become settings, those that the tensors' names and shapes
# tell as well, and those that matter in training or to half precision only.
SYNTHESIS_ARGUMENTS = frozenset(
    {
        *SAMPLING, "output_scale", "conv_clamp", "w_dim", "img_resolution", "img_channels", "channel_base",
        "channel_max", "num_layers", "conv_kernel", "use_radial_filters", "magnitude_ema_beta", "num_fp16_res",
    }
)  # fmt: skip
ARGUMENTS = {
    "": SYNTHESIS_ARGUMENTS | {"z_dim", "c_dim", "mapping_kwargs"},
    "synthesis": SYNTHESIS_ARGUMENTS,
    "mapping": frozenset({"z_dim", "c_dim", "w_dim", "num_ws", "num_layers", "lr_multiplier", "w_avg_beta"}),
}


def is_stylegan3(network: Network) -> bool:
    """Tell a StyleGAN3 from NVIDIA's other networks by the parts of its synthesis."""
    return any(re.fullmatch(r"synthesis\.(input|L0_\d+_\d+)", module.place) for module in network.modules)


def from_nvidia_stylegan3(network: Network) -> Converted:
    """Give the tensors as they are, and the settings, without those that are as in the official networks.

    Raises:
        CheckpointError: it is damaged, or says something of itself that is not rendered here.
    """
    modules = {module.place: module for module in network.modules}
    for place, known in ARGUMENTS.items():
        if place not in modules:
            raise CheckpointError(f"it is damaged: it has no module '{place}'")
        for argument, value in modules[place].arguments.items():
            if argument not in known:
                raise CheckpointError(f"its {argument} is {shown(value)}, which no StyleGAN3 here knows")
    settings = {**synthesis_settings(modules), "lr_multiplier": mapping_settings(modules)}
    usual = {
        "conv_clamp": None, "output_scale": OUTPUT_SCALE, "lr_multiplier": LR_MULTIPLIER, **asdict(Sampling())
    }  # fmt: skip
    return Converted(network.state, {name: value for name, value in settings.items() if value != usual[name]})


def synthesis_settings(modules: Mapping[str, Module]) -> dict[str, Any]:
    """Read the synthesis network's settings, and hold every layer's attributes against what follows from them."""
    synthesis, given = modules["synthesis"].fields, modules["synthesis"].arguments
    usual = {**asdict(Sampling()), "output_scale": OUTPUT_SCALE, "conv_clamp": CONV_CLAMP}
    layers = [name for name in modules if re.fullmatch(r"synthesis\.L\d+_\d+_\d+", name)]
    own = (
        {**modules[layers[0]].fields, **synthesis} if layers else synthesis
    )  # what is there is what is computed with
    settings: dict[str, Any] = {}
    for name, value in usual.items():
        found = plain(own.get(name, given.get(name, value)))
        if name == "conv_clamp" and found is None:
            found = math.inf
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise CheckpointError(f"it is damaged: its {name} is {str(found)[:40]!r}, which is no number")
        settings[name] = int(found) if isinstance(value, int) and found == int(found) else float(found)
    resolution = plain(synthesis.get("img_resolution", modules[""].fields.get("img_resolution")))
    if not isinstance(resolution, int) or not 1 <= resolution <= 2**14 or len(layers) < 2:
        raise CheckpointError("it is damaged: its synthesis network has no layers, or renders no size")
    sampling = {name: settings[name] for name in SAMPLING}
    try:
        expected = Sampling(**sampling).layers(resolution, len(layers) - 1)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    whole = {"num_layers": len(layers) - 1, **{name: settings[name] for name in usual if name in synthesis}}
    agree("synthesis", synthesis, whole)
    for index, layer in enumerate(expected):
        name = next((name for name in layers if name.startswith(f"synthesis.L{index}_")), "")
        if not name:
            raise CheckpointError(f"it is damaged: its synthesis network has no layer L{index}")
        check_layer(name, modules[name].fields, layer, settings["conv_clamp"])
    first = expected[0]
    features = {"size": first.in_size, "sampling_rate": first.in_sampling_rate, "bandwidth": first.in_cutoff}
    if "synthesis.input" in modules:
        agree("synthesis.input", modules["synthesis.input"].fields, features)
    for name, module in modules.items():
        if name.endswith(".affine"):
            own = module.fields
            agree(name, own, {"activation": "linear", "bias_gain": 1.0, **weight_gain(own, 1.0)})
    return settings


def check_layer(name: str, own: Mapping[str, Any], layer: LayerSampling, clamp: float) -> None:
    """Hold a layer's attributes against the settings."""
    expected = asdict(layer)
    kernel = plain(own.get("conv_kernel", 1))
    if isinstance(kernel, int):
        before, after = layer.padding(kernel)
        expected["padding"] = [before, after, before, after]
    expected["conv_clamp"] = None if clamp == math.inf else clamp
    agree(name, own, expected)


def mapping_settings(modules: Mapping[str, Module]) -> float:
    """Return the mapping network's lr_multiplier, which its layers hold as gains."""
    layers = [name for name in modules if re.fullmatch(r"mapping\.fc\d+", name)]
    found = plain(modules[layers[0]].fields.get("bias_gain", LR_MULTIPLIER)) if layers else LR_MULTIPLIER
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise CheckpointError(f"it is damaged: its lr_multiplier is {str(found)[:40]!r}, which is no number")
    for name in layers:
        own = modules[name].fields
        agree(name, own, {"activation": "lrelu", "bias_gain": found, **weight_gain(own, found)})
    if "mapping.embed" in modules:
        own = modules["mapping.embed"].fields
        agree("mapping.embed", own, {"activation": "linear", "bias_gain": 1.0, **weight_gain(own, 1.0)})
    return float(found)


def weight_gain(own: Mapping[str, Any], multiplier: float) -> dict[str, float]:
    """What a fully connected layer multiplies its weights with, if it tells its size."""
    inputs = plain(own.get("in_features"))
    return {"weight_gain": multiplier / math.sqrt(inputs)} if isinstance(inputs, int) and inputs > 0 else {}


def agree(name: str, own: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError where an attribute that a module has is not the expected one."""
    for attribute, value in expected.items():
        if attribute in own and not same(found := plain(own[attribute]), value):
            raise CheckpointError(
                f"its {name} has {attribute} = {shown(found)}, but only {shown(value)} is rendered here"
            )


def same(found: Any, expected: Any) -> bool:
    """Compare text, numbers up to rounding, and lists of numbers, of which one number stands for all."""
    if isinstance(found, list):
        values = expected if isinstance(expected, list) else [expected] * len(found)
        return len(found) == len(values) and all(map(same, found, values))
    if isinstance(found, int | float) and isinstance(expected, int | float):
        return math.isclose(found, expected, rel_tol=1e-6)
    return type(found) is type(expected) and bool(found == expected)


def plain(value: Any) -> Any:
    """Turn numpy's numbers and short arrays into Python's."""
    if is_array(value):
        array = to_array(value)
        return array.tolist() if array.size <= 16 else None
    return list(value) if isinstance(value, tuple) else value


def shown(value: Any) -> str:
    """A value as a message shows it."""
    return repr(value)[:40] if isinstance(value, str | int | float | list | None) else "something else"
