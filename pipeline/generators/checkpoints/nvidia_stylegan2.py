"""StyleGAN2 out of NVIDIA's PyTorch pickles: what the file says of each layer is rendered, or refused by name."""

import math
import re

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.completing import MAPPING_RATE, MEAN_NOTE, with_mean_w, without_noise
from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.checkpoints.nvidia import Module, Network
from pipeline.generators.layers import ACTIVATIONS, numbers, resample_filter_buffer
from pipeline.generators.stylegan2 import architecture_of

FAMILY = "stylegan2"
MAX_TAPS = 64

# Which class each part is of, by its place in the network.
PARTS = (
    ("", "Generator"),
    ("mapping", "MappingNetwork"),
    (r"mapping\.(embed|fc\d+)", "FullyConnectedLayer"),
    ("synthesis", "SynthesisNetwork"),
    (r"synthesis\.b\d+", "SynthesisBlock"),
    (r"synthesis\.b\d+\.conv[01]", "SynthesisLayer"),
    (r"synthesis\.b\d+\.torgb", "ToRGBLayer"),
    (r"synthesis\.b\d+\.skip", "Conv2dLayer"),
    (r"synthesis\.b\d+\.(conv[01]|torgb)\.affine", "FullyConnectedLayer"),
)

# Attributes that the shapes of the tensors repeat, or that change the speed or precision and not the image.
SILENT = {
    "training",
    "in_channels",
    "out_channels",
    "in_features",
    "out_features",
    "z_dim",
    "c_dim",
    "w_dim",
    "w_avg_beta",
    "img_resolution",
    "img_resolution_log2",
    "is_last",
    "num_conv",
    "num_torgb",
    "num_fp16_res",
    "use_fp16",
    "channels_last",
    "fused_modconv_default",
}
# Attributes that are looked at, by class; each must be there.
HEEDED: dict[str, set[str]] = {
    "Generator": {"img_channels", "num_ws"},
    "MappingNetwork": {"num_layers", "num_ws"},
    "SynthesisNetwork": {"img_channels", "num_ws", "block_resolutions"},
    "SynthesisBlock": {"img_channels", "resolution", "architecture"},
    "SynthesisLayer": {"resolution", "up", "use_noise", "activation", "conv_clamp", "padding", "act_gain"},
    "ToRGBLayer": {"conv_clamp", "weight_gain"},
    "FullyConnectedLayer": {"activation", "weight_gain", "bias_gain"},
    "Conv2dLayer": {"activation", "up", "down", "conv_clamp", "padding", "weight_gain", "act_gain"},
}


def is_stylegan2(network: Network) -> bool:
    """Tell a StyleGAN2 from NVIDIA's other networks by the blocks of its synthesis."""
    return any(module.kind == "SynthesisBlock" for module in network.modules)


def from_nvidia_stylegan2(network: Network) -> Converted:
    """Give the tensors under the same keys, with the layers' gains as they are here, and the settings.

    Raises:
        CheckpointError: a layer is of an unknown class, or set in a way that is not rendered.
        WeightsError: its tensors are not those of a StyleGAN2.
    """
    state = dict(network.state)
    sizes = numbers(r"synthesis\.b(\d{1,9})\.", state)
    layers = len(numbers(r"mapping\.fc(\d{1,9})\.", state))
    for module in network.modules:
        check_part(module)
        for name, value in rendered(module, sizes, layers).items():
            if not agrees(module.fields[name], value):
                raise refusal(module, name, value)
        adapt(state, module)
    activation = common(network, "SynthesisLayer", "activation")
    settings = {
        "conv_clamp": clamp_of(common(network, "SynthesisLayer|ToRGBLayer", "conv_clamp")),
        "activation": None if activation == "lrelu" else activation,
    }
    mapping_activation = common(network, "FullyConnectedLayer", "activation", r"mapping\.fc")
    settings["mapping_activation"] = None if mapping_activation == "lrelu" else mapping_activation
    settings = {name: value for name, value in settings.items() if value is not None}
    if (said := common(network, "SynthesisBlock", "architecture")) != architecture_of(state) and len(sizes) > 1:
        raise CheckpointError(f"it says that its architecture is {shown(said)}, but its layers are of another one")
    state = without_noise(state)
    last = f"mapping.fc{layers - 1}.weight"
    if "mapping.w_avg" in state or last not in state:
        return Converted(state, settings)
    w_dim = state[last].shape[0]
    return Converted(with_mean_w(FAMILY, state, "mapping.w_avg", w_dim, **settings), settings, (MEAN_NOTE,))


def check_part(module: Module) -> None:
    """Refuse a module of another class than StyleGAN2 has at its place, or with attributes that none has."""
    kinds = [kind for place, kind in PARTS if re.fullmatch(place, module.place)]
    where = f"its part '{module.place[:80]}'" if module.place else "its network"
    if kinds != [module.kind]:
        raise CheckpointError(f"{where} is a '{module.kind}', which no StyleGAN2 that is rendered here has there")
    for name, value in module.fields.items():
        without_bias = name == "bias" and value is None
        if name not in SILENT | HEEDED[module.kind] and not without_bias:
            raise CheckpointError(
                f"{where} ({module.kind}) has {name[:80]} = {shown(value)}, which is not known here and may change "
                "the image"
            )
    for name in sorted(HEEDED[module.kind] - module.fields.keys()):
        raise CheckpointError(f"it is damaged: {where} ({module.kind}) does not say its {name}")
    activation = module.fields.get("activation", "linear")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise CheckpointError(
            f"{where} has the activation {shown(activation)}; rendered are {', '.join(ACTIVATIONS)}"
        )


def rendered(module: Module, sizes: list[int], layers: int) -> dict[str, object]:
    """Return the only values of a module's attributes with which its image is the one that is rendered here.

    `sizes` are the resolutions of the network's blocks, `layers` is the number of its mapping's layers.
    """
    num_ws, size = 2 * len(sizes), int((re.findall(r"\.b(\d{1,9})", module.place) or [0])[0])
    activation = module.fields.get("activation")
    found: dict[str, dict[str, object]] = {
        "Generator": {"img_channels": 3, "num_ws": num_ws},
        "MappingNetwork": {"num_layers": layers, "num_ws": num_ws},
        "SynthesisNetwork": {"img_channels": 3, "num_ws": num_ws, "block_resolutions": sizes},
        "SynthesisBlock": {"img_channels": 3, "resolution": size},
        "SynthesisLayer": {
            "resolution": size,
            "up": 2 if module.place.endswith("conv0") else 1,
            "padding": 1,
            "act_gain": ACTIVATIONS[activation].gain if isinstance(activation, str) else None,
        },
        "FullyConnectedLayer": {} if ".fc" in module.place else {"activation": "linear"},
        "Conv2dLayer": {
            "activation": "linear",
            "act_gain": 1,
            "up": 2,
            "down": 1,
            "padding": 0,
            "conv_clamp": None,
        },
    }
    return found.get(module.kind, {})


def agrees(found: object, value: object) -> bool:
    """Tell whether an attribute has the value it must have; gains may differ in their last digits."""
    if (one := number(found)) is not None and (other := number(value)) is not None:
        return math.isclose(one, other, rel_tol=1e-6)
    return found == value


def number(value: object) -> float | None:
    """Return a finite number as float; anything else is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e30 < value < 1e30:
        return None
    return float(value)


def adapt(state: dict[str, Tensor], module: Module) -> None:
    """Put into the tensors of a module what its attributes say of it."""
    prefix = f"{module.place}." if module.place else ""
    weight, taps = state.get(f"{prefix}weight"), state.get(f"{prefix}resample_filter")
    if "weight_gain" in module.fields and weight is not None and weight.ndim > 1:
        rate = MAPPING_RATE if module.place.startswith("mapping.fc") else 1.0
        usual = rate / math.sqrt(math.prod(weight.shape[1:]) or 1)
        scale(state, f"{prefix}weight", module, "weight_gain", usual)
        if "bias_gain" in module.fields:
            scale(state, f"{prefix}bias", module, "bias_gain", rate)
    if module.fields.get("use_noise") is False:
        for name in ("noise_const", "noise_strength"):
            state.pop(f"{prefix}{name}", None)
    if taps is not None:
        state[f"{prefix}resample_filter"] = square(taps, module)


def scale(state: dict[str, Tensor], key: str, module: Module, name: str, usual: float) -> None:
    """Fold a gain that is not the usual one of its layer into the layer's tensor."""
    if (gain := number(module.fields[name])) is None:
        raise refusal(module, name, usual)
    if key in state and not math.isclose(gain, usual, rel_tol=1e-6):
        state[key] = (state[key].double() * (gain / usual)).float()


def square(taps: Tensor, module: Module) -> Tensor:
    """Give a low-pass as [h, w]; long ones are kept as the [n] that their rows and columns are."""
    if module.fields.get("up") == 1:  # nothing is doubled, and the filter not used
        return resample_filter_buffer()
    if taps.ndim not in (1, 2) or not 1 <= max(taps.shape) <= MAX_TAPS or not taps.numel():
        raise CheckpointError(
            f"its filter at '{module.place}' is of shape {list(taps.shape)}, which is not rendered"
        )
    return torch.outer(taps, taps) if taps.ndim == 1 else taps


def common(network: Network, kinds: str, name: str, place: str = "") -> object:
    """Return the value that an attribute has in all modules of these classes; None if there are none.

    Raises:
        CheckpointError: they differ.
    """
    found = [
        module.fields[name]
        for module in network.modules
        if re.fullmatch(kinds, module.kind) and re.match(place, module.place)
    ]
    for value in found:
        if not agrees(value, found[0]):
            values = f"{shown(found[0])} and {shown(value)}"
            raise CheckpointError(f"its layers differ in their {name}, {values}: only networks of one are rendered")
    return found[0] if found else None


def clamp_of(value: object) -> float | None:
    """Check a bound on activations."""
    bound = number(value)
    if value is not None and (bound is None or bound < 0):
        raise CheckpointError(f"its conv_clamp is {shown(value)}, which is no bound")
    return bound


def refusal(module: Module, name: str, rendered: object) -> CheckpointError:
    """Say which attribute has a value that is not rendered."""
    where = f" at '{module.place}'" if module.place else ""
    found = shown(module.fields[name])
    return CheckpointError(f"its {name}{where} is {found}, but only {shown(rendered)} is rendered here")


def shown(value: object) -> str:
    """Show a value in few characters."""
    if isinstance(value, str):
        return ascii(value[:40])
    if isinstance(value, list) and len(value) < 12 and all(isinstance(item, int) for item in value):
        return str(value)[:60]
    return str(value)[:40] if isinstance(value, int | float | None) else "something else"
