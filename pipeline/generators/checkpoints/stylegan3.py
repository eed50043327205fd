"""Pickles of StyleGAN3: what their modules say of themselves becomes settings, or is refused by name."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.arrays import is_array, to_array
from pipeline.generators.checkpoints.nvidia import MAX_DEPTH, MAX_MODULES, is_module, mapping, module_fields
from pipeline.generators.checkpoints.tensors import Tensors, is_tensor
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
GENERATOR_ARGUMENTS = SYNTHESIS_ARGUMENTS | {"z_dim", "c_dim", "mapping_kwargs"}
MAPPING_ARGUMENTS = frozenset({"z_dim", "c_dim", "w_dim", "num_ws", "num_layers", "lr_multiplier", "w_avg_beta"})

Fields = Mapping[Any, Any]


@dataclass
class Modules:
    """A network's tensors by their keys, and its modules' attributes by their names; the whole is named ""."""

    state: dict[str, Tensor] = field(default_factory=dict)
    attributes: dict[str, dict[Any, Any]] = field(default_factory=dict)

    def collect(self, record: object, name: str, tensors: Tensors) -> None:
        """Walk through a module and those within it."""
        if len(self.attributes) >= MAX_MODULES or name.count(".") > MAX_DEPTH:
            raise CheckpointError("it is damaged or hostile: its modules hold each other without end")
        attributes = self.attributes[name] = module_fields(record)
        prefix = f"{name}." if name else ""
        passing = attributes.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            for key, tensor in mapping(attributes.get(kind)).items():
                if is_tensor(tensor) and not (isinstance(passing, set) and key in passing):
                    self.state[f"{prefix}{key}"] = tensors.tensor(tensor)
        for key, child in mapping(attributes.get("_modules")).items():
            if child is not None:
                self.collect(child, f"{prefix}{key}", tensors)


def is_stylegan3(record: object) -> bool:
    """Tell whether the record of a network stands for a StyleGAN3 generator."""
    synthesis = mapping(module_fields(record).get("_modules")).get("synthesis")
    if not is_module(synthesis):
        return False
    parts = mapping(module_fields(synthesis).get("_modules"))
    return "input" in parts or any(str(name).startswith("L0_") for name in parts)


def read_stylegan3(record: object) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state dict of a pickled StyleGAN3 generator, bit for bit, and its settings.

    Of the settings, those that are as in the official networks are left out.

    Raises:
        CheckpointError: it is damaged, or says something of itself that is not rendered here.
    """
    modules = Modules()
    modules.collect(record, "", Tensors())
    attributes = modules.attributes
    settings = {
        **synthesis_settings(attributes),
        "lr_multiplier": mapping_settings(attributes),
    }
    usual = {"conv_clamp": None, "output_scale": OUTPUT_SCALE, "lr_multiplier": LR_MULTIPLIER, **asdict(Sampling())}
    return modules.state, {name: value for name, value in settings.items() if value != usual[name]}


def synthesis_settings(attributes: Mapping[str, Fields]) -> dict[str, Any]:
    """Read the synthesis network's settings, and hold every layer's attributes against what follows from them."""
    synthesis = attributes["synthesis"]
    given = arguments(attributes, "synthesis", SYNTHESIS_ARGUMENTS)
    arguments(attributes, "", GENERATOR_ARGUMENTS)
    usual = {**asdict(Sampling()), "output_scale": OUTPUT_SCALE, "conv_clamp": CONV_CLAMP}
    layers = [name for name in attributes if re.fullmatch(r"synthesis\.L\d+_\d+_\d+", name)]
    own = {**attributes[layers[0]], **synthesis} if layers else synthesis  # what is there is what is computed with
    settings: dict[str, Any] = {}
    for name, value in usual.items():
        found = plain(own.get(name, given.get(name, value)))
        if name == "conv_clamp" and found is None:
            found = math.inf
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise CheckpointError(f"it is damaged: its {name} is {str(found)[:40]!r}, which is no number")
        settings[name] = int(found) if isinstance(value, int) and found == int(found) else float(found)
    resolution = plain(synthesis.get("img_resolution", attributes[""].get("img_resolution")))
    if not isinstance(resolution, int) or not 1 <= resolution <= 2**14 or not 2 <= len(layers) <= MAX_MODULES:
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
        check_layer(name, attributes[name], layer, settings["conv_clamp"])
    first = expected[0]
    features = {"size": first.in_size, "sampling_rate": first.in_sampling_rate, "bandwidth": first.in_cutoff}
    agree("synthesis.input", attributes.get("synthesis.input", {}), features)
    for name, own in attributes.items():
        if name.endswith(".affine"):
            agree(name, own, {"activation": "linear", "bias_gain": 1.0, **weight_gain(own, 1.0)})
    return settings


def check_layer(name: str, own: Fields, layer: LayerSampling, clamp: float) -> None:
    """Hold a layer's attributes against the settings."""
    expected = asdict(layer)
    kernel = plain(own.get("conv_kernel", 1))
    if isinstance(kernel, int):
        before, after = layer.padding(kernel)
        expected["padding"] = [before, after, before, after]
    expected["conv_clamp"] = None if clamp == math.inf else clamp
    agree(name, own, expected)


def mapping_settings(attributes: Mapping[str, Fields]) -> float:
    """Return the mapping network's lr_multiplier, which its layers hold as gains."""
    arguments(attributes, "mapping", MAPPING_ARGUMENTS)
    layers = [name for name in attributes if re.fullmatch(r"mapping\.fc\d+", name)]
    found = plain(attributes[layers[0]].get("bias_gain", LR_MULTIPLIER)) if layers else LR_MULTIPLIER
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise CheckpointError(f"it is damaged: its lr_multiplier is {str(found)[:40]!r}, which is no number")
    for name in layers:
        own = attributes[name]
        agree(name, own, {"activation": "lrelu", "bias_gain": found, **weight_gain(own, found)})
    if "mapping.embed" in attributes:
        own = attributes["mapping.embed"]
        agree("mapping.embed", own, {"activation": "linear", "bias_gain": 1.0, **weight_gain(own, 1.0)})
    return float(found)


def weight_gain(own: Fields, multiplier: float) -> dict[str, float]:
    """What a fully connected layer multiplies its weights with, if it tells its size."""
    inputs = plain(own.get("in_features"))
    return {"weight_gain": multiplier / math.sqrt(inputs)} if isinstance(inputs, int) and inputs > 0 else {}


def arguments(attributes: Mapping[str, Fields], name: str, known: frozenset[str]) -> Fields:
    """Return what a module was made with, as far as it was named.

    Raises:
        CheckpointError: there is an argument that is not known here.
    """
    if name not in attributes:
        raise CheckpointError(f"it is damaged: it has no module '{name}'")
    given = mapping(attributes[name].get("_init_kwargs"))
    for argument, value in given.items():
        if argument not in known:
            raise CheckpointError(f"its {str(argument)[:40]} is {shown(value)}, which no StyleGAN3 here knows")
    return given


def agree(name: str, own: Fields, expected: Mapping[str, Any]) -> None:
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
        return np.asarray(array).tolist() if array.size <= 16 else None
    return list(value) if isinstance(value, tuple) else value


def shown(value: Any) -> str:
    """A value as a message shows it."""
    return repr(value)[:40] if isinstance(value, str | int | float | list | None) else "something else"
