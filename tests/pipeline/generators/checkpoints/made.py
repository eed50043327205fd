"""Checkpoints of every kind, made without anyone's code: stand-ins under the names that real files refer to."""

import pickle
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from tests.reference import reference

HOOK = "torch_utils.persistence._reconstruct_persistent_obj"


@contextmanager
def stand_ins(*names: str) -> Iterator[dict[str, Any]]:
    """Put functions and classes under dotted names where pickle finds them, and take them away again."""
    made: dict[str, Any] = {}
    before = set(sys.modules)
    for full in names:
        module_name, _, name = full.rpartition(".")
        parts = module_name.split(".")
        for parent in (".".join(parts[: i + 1]) for i in range(len(parts))):
            sys.modules.setdefault(parent, types.ModuleType(parent))
        module = sys.modules[module_name]
        base = dict if name == "EasyDict" else object
        made[name] = type(name, (base,), {"__module__": module_name, "__qualname__": name})
        setattr(module, name, made[name])
    try:
        yield made
    finally:
        for module_name in set(sys.modules) - before:
            del sys.modules[module_name]


class Persistent:
    """A module as NVIDIA's persistence pickles it: a hook called with its class, source and attributes."""

    def __init__(self, hook: Any, attributes: dict[str, Any], kind: str = "Generator"):
        self.hook, self.attributes, self.kind = hook, attributes, kind

    def __reduce__(self) -> Any:
        source = "import os\nraise SystemExit('the source was run')\n"
        meta = {"type": "class", "version": 6, "module_src": source, "class_name": self.kind}
        return self.hook, (meta | {"state": self.attributes},), None


BUFFERS = ("w_avg", "noise_const", "resample_filter")
ORDER = ("const", "conv0", "conv1", "torgb", "skip", "embed", "synthesis", "mapping")


@dataclass(frozen=True)
class Snapshot:
    """What is pickled: tensors, and attributes that are not the usual ones, by a module's class or its place."""

    state: Mapping[str, Tensor]
    clamp: float | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rate: float = 0.01

    def count(self, pattern: str) -> list[int]:
        """Return the numbers that keys have at the pattern's group."""
        return sorted({int(found[1]) for key in self.state if (found := re.match(pattern, key))})

    def shape(self, key: str, axis: int) -> int:
        """Return one size of a tensor, which a tiny snapshot may lack."""
        return self.state[key].shape[axis] if key in self.state else 0


def module_tree(hook: Any, snapshot: Snapshot, at: str = "") -> Persistent:
    """Nest tensors into modules with the attributes that NVIDIA's classes of StyleGAN2-ADA give them."""
    prefix = f"{at}." if at else ""
    inside = [key.removeprefix(prefix) for key in snapshot.state if key.startswith(prefix)]
    names = dict.fromkeys(key.partition(".")[0] for key in inside)
    tensors = {name: snapshot.state[prefix + name] for name in names if prefix + name in snapshot.state}
    children = sorted(names.keys() - tensors.keys(), key=lambda n: ORDER.index(n) if n in ORDER else 0)
    children.sort(key=lambda name: int(re.sub(r"^(b|fc)", "", name)) if re.match(r"(b|fc)\d", name) else -1)
    kind, attributes = attributes_of(snapshot, at)
    return Persistent(
        hook,
        # What torch itself keeps in every module, in the order in which it does.
        dict(nn.Module().__dict__)
        | {
            "training": False,
            "_parameters": {k: nn.Parameter(t, False) for k, t in tensors.items() if k not in BUFFERS},
            "_buffers": {k: t for k, t in tensors.items() if k in BUFFERS},
            "_modules": {name: module_tree(hook, snapshot, prefix + name) for name in children},
        }
        | attributes
        | snapshot.changes.get(kind, {})
        | snapshot.changes.get(at, {}),
        kind,
    )


def attributes_of(snapshot: Snapshot, at: str) -> tuple[str, dict[str, Any]]:
    """Class and attributes of the module at a place of a generator."""
    shape, clamp = snapshot.shape, snapshot.clamp
    sizes, name = snapshot.count(r"synthesis\.b(\d+)\."), at.rpartition(".")[2]
    w_dim, c_dim = shape("mapping.w_avg", 0), shape("mapping.embed.weight", 1)
    z_dim = shape("mapping.fc0.weight", 1) - shape("mapping.embed.weight", 0)
    dims = {"z_dim": z_dim, "c_dim": c_dim, "w_dim": w_dim}
    num_ws, layers = 2 * len(sizes), len(snapshot.count(r"mapping\.fc(\d+)\."))
    image = {"img_resolution": max(sizes, default=0), "img_channels": 3}
    widths = {size: shape(f"synthesis.b{size}.conv1.weight", 0) for size in sizes}
    options = {"channel_base": max(sizes, default=0) * [*widths.values(), 0][len(sizes) - 1]}
    options |= {"channel_max": max(widths.values(), default=0), "num_fp16_res": 0, "conv_clamp": clamp}
    size = int((re.findall(r"\.b(\d+)", at) or [0])[0])
    out, fan_in = shape(f"{at}.weight", 0), shape(f"{at}.weight", 1)
    if at == "":
        arguments = {"mapping_kwargs": {"num_layers": layers}, "synthesis_kwargs": options}
        return "Generator", dims | image | {"num_ws": num_ws} | called(**dims, **image, **arguments)
    if at == "mapping":
        sized = dims | {"num_ws": num_ws, "num_layers": layers}
        return "MappingNetwork", sized | {"w_avg_beta": 0.995} | called(**sized)
    if at == "synthesis":
        own = {"w_dim": w_dim, "img_resolution": image["img_resolution"]}
        own |= {"img_resolution_log2": image["img_resolution"].bit_length() - 1, "img_channels": 3}
        own |= {"block_resolutions": sizes, "num_ws": num_ws}
        return "SynthesisNetwork", own | called(w_dim=w_dim, **image, **options)
    if re.fullmatch(r"synthesis\.b\d+", at):
        named = {"w_dim": w_dim, "resolution": size, "img_channels": 3, "is_last": size == max(sizes)}
        own = {"in_channels": shape(f"{at}.conv0.weight", 1)} | named | {"architecture": "skip", "use_fp16": False}
        own |= {"channels_last": False, "num_conv": 2 if size > 4 else 1, "num_torgb": 1}
        out = shape(f"{at}.conv1.weight", 0)
        return "SynthesisBlock", own | called(own["in_channels"], out, **named, use_fp16=False, conv_clamp=clamp)
    if name in ("conv0", "conv1"):
        own = {"resolution": size, "up": 2 if name == "conv0" else 1, "use_noise": True, "activation": "lrelu"}
        own |= {"conv_clamp": clamp, "padding": 1, "act_gain": np.sqrt(2)}
        up = {"up": 2, "resample_filter": [1, 3, 3, 1]} if name == "conv0" else {}
        named = {"w_dim": w_dim, "resolution": size, **up, "conv_clamp": clamp, "channels_last": False}
        return "SynthesisLayer", own | called(fan_in, out, **named)
    if name == "torgb":
        named = {"w_dim": w_dim, "conv_clamp": clamp, "channels_last": False}
        own = {"conv_clamp": clamp, "weight_gain": 1 / np.sqrt(fan_in)}
        return "ToRGBLayer", own | called(fan_in, out, **named)
    if name == "skip":
        own = {"activation": "linear", "up": 2, "down": 1, "conv_clamp": None, "padding": 0}
        own |= {"weight_gain": 1 / np.sqrt(fan_in), "act_gain": 1, "bias": None}
        named = {"kernel_size": 1, "bias": False, "up": 2, "resample_filter": [1, 3, 3, 1], "channels_last": False}
        return "Conv2dLayer", own | called(fan_in, out, **named)
    mapped, named = name.startswith("fc"), {"bias_init": 1} if name == "affine" else {}
    rate = snapshot.rate if mapped else 1
    own = {"activation": "lrelu" if mapped else "linear", "weight_gain": rate / np.sqrt(max(fan_in, 1))}
    named |= {"activation": "lrelu", "lr_multiplier": rate} if mapped else {}
    return "FullyConnectedLayer", own | {"bias_gain": rate} | called(fan_in, out, **named)


def called(*arguments: Any, **named: Any) -> dict[str, Any]:
    """Return how the persistence remembers the arguments that a module was made with."""
    return {"_init_args": arguments, "_init_kwargs": named}


def nvidia_pickle(
    path: Path,
    state: Mapping[str, Tensor],
    clamp: float | None,
    protocol: int = 4,
    copies: int = 1,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    rate: float = 0.01,
) -> Path:
    """Write a StyleGAN2-ADA snapshot of this generator.

    `changes` are attributes by the class or the place of their modules, `rate` is the mapping's lr_multiplier.
    """
    with stand_ins(HOOK, "dnnlib.util.EasyDict") as made:
        hook = made["_reconstruct_persistent_obj"]
        settings = made["EasyDict"](class_name="training.dataset.ImageFolderDataset", max_size=np.int64(7))
        snapshot = {"training_set_kwargs": settings, "G": None, "D": None}
        for name in ("G", "D")[: copies - 1]:
            copied = {key: tensor.clone() for key, tensor in state.items()}
            snapshot[name] = module_tree(hook, Snapshot(copied, clamp))
        snapshot |= {"G_ema": module_tree(hook, Snapshot(state, clamp, changes or {}, rate)), "augment_pipe": None}
        path.write_bytes(pickle.dumps(snapshot, protocol))
    return path


# What the outermost network takes for itself; all else it hands to its components, whose files repeat it.
TF_OWN = {"truncation_psi", "style_mixing_prob", "synthesis_func", "mapping_func"}


def tf_network(
    Network: Any,
    settings: Mapping[str, Any],
    variables: Mapping[str, Any],
    version: int = 4,
    source: str = "raise SystemExit('the source was run')",
) -> Any:
    """Make a TensorFlow network; variables named part/… go into its components."""
    network = Network()
    parts = {part: {} for part in ("mapping", "synthesis")}
    own = []
    for name, array in variables.items():
        part, _, rest = name.partition("/")
        if part in parts:
            parts[part][rest] = array
        else:
            own.append((name, array))
    handed = {name: value for name, value in settings.items() if name not in TF_OWN}
    extra = {"mapping": {"dlatent_broadcast": 6}, "synthesis": {}}
    components = {
        part: tf_network(Network, handed | extra[part], inner, version, source)
        for part, inner in parts.items()
        if inner
    }
    network.__dict__ |= {
        "version": version, "name": "Gs", "static_kwargs": dict(settings), "components": components,
        "build_module_src": source, "build_func_name": "G", "variables": own,
    }  # fmt: skip
    if version == 5:
        network.__dict__ |= {"input_shapes": [[None, 6]], "output_names": ["images_out"]}
    return network


def tf_pickle(
    path: Path,
    variables: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    protocol: int = 4,
    name: str = "dnnlib.tflib.network.Network",
    **more: Any,
) -> Path:
    """Write a tuple (G, D, Gs) of which only Gs holds these variables."""
    with stand_ins(name) as made:
        empty, full = {}, tf_network(made["Network"], settings or {}, variables, **more)
        others = [tf_network(made["Network"], empty, empty) for _ in range(2)]
        path.write_bytes(pickle.dumps((*others, full), protocol))
    return path


def parity(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State dict and inputs and outputs of a reference network."""
    return reference(name)[:2]


def as_tf_stylegan2(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Undo what turns TensorFlow's StyleGAN2 into StyleGAN2-ADA's state dict."""
    variables: dict[str, Any] = {"lod": np.float32(0)}
    for key, tensor in state.items():
        array = tensor.numpy()
        network, *place, leaf = key.split(".")
        if network == "mapping" and place:
            names = {"embed": "LabelEmbed"} | {f"fc{i}": f"Dense{i}" for i in range(8)}
            variables[f"mapping/{names[place[0]]}/{leaf}"] = array.T
        elif key == "mapping.w_avg":
            variables["dlatent_avg"] = array
        elif leaf == "const":
            variables["synthesis/4x4/Const/const"] = array[None]
        elif leaf != "resample_filter":
            size, layer = int(place[0][1:]), place[1]
            index = 2 * (size.bit_length() - 1) - (4 if layer == "conv1" else 5)
            names = {"conv0": "Conv0_up", "conv1": "Conv" if size == 4 else "Conv1", "torgb": "ToRGB"}
            scope = f"synthesis/{size}x{size}/{names[layer]}"
            if leaf == "noise_const":
                variables[f"synthesis/noise{index}"] = array[None, None]
            elif "affine" in place:
                variables[f"{scope}/mod_{leaf}"] = array.T if leaf == "weight" else array - 1
            elif leaf == "weight":
                hwio = array.transpose(2, 3, 1, 0)
                variables[f"{scope}/weight"] = np.flip(hwio, (0, 1)) if layer == "conv0" else hwio
            else:
                variables[f"{scope}/{leaf}"] = array
    return variables


def as_rosinality(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Rename a StyleGAN2-ADA state dict as rosinality's checkpoint has it."""
    result: dict[str, Tensor] = {}
    leaves = {
        "weight": "conv.weight", "affine.weight": "conv.modulation.weight", "affine.bias": "conv.modulation.bias",
        "noise_strength": "noise.weight", "bias": "activate.bias",
    }  # fmt: skip
    for key, tensor in state.items():
        network, place, *rest = key.split(".")
        if network == "mapping" and rest:
            result[f"style.{int(place[2:]) + 1}.{rest[0]}"] = tensor
        elif rest == ["const"]:
            result["input.input"] = tensor[None]
        elif rest[-1:] == ["resample_filter"] and rest[0] != "conv1" and place != "b4":
            step = int(place[1:]).bit_length() - 4
            name = f"convs.{2 * step}.conv.blur" if rest[0] == "conv0" else f"to_rgbs.{step}.upsample"
            result[f"{name}.kernel"] = 4 * tensor
        elif network == "synthesis" and rest[-1] != "resample_filter":
            step = int(place[1:]).bit_length() - 4  # 0 for 8 x 8
            layer, leaf = rest[0], ".".join(rest[1:])
            if leaf == "noise_const":
                index = 2 * step + 1 + (layer == "conv1")
                result[f"noises.noise_{index}"] = tensor[None, None]
                continue
            if layer == "torgb":
                target = "to_rgb1" if step < 0 else f"to_rgbs.{step}"
                named = "bias" if leaf == "bias" else leaves[leaf]
                tensor = tensor.reshape(1, 3, 1, 1) if leaf == "bias" else tensor
            else:
                target = "conv1" if step < 0 else f"convs.{2 * step + (layer == 'conv1')}"
                named = leaves[leaf]
            if leaf == "weight":
                tensor = tensor[None]
            result[f"{target}.{named}"] = tensor.reshape(1) if leaf == "noise_strength" else tensor
    return {"g_ema": OrderedDict(result), "latent_avg": state["mapping.w_avg"]}


def as_tf_stylegan1(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Undo what turns TensorFlow's StyleGAN into its PyTorch port (below 128 x 128)."""
    variables: dict[str, Any] = {}
    for key, tensor in state.items():
        array = tensor.numpy()
        parts = key.split(".")
        if parts[0] == "mapping":
            leaf = "weight" if parts[2] == "linear" else "bias"
            variables[f"mapping/Dense{parts[1][5:]}/{leaf}"] = array.T
        elif key == "truncation.w_avg":
            variables["dlatent_avg"] = array
        elif key == "synthesis.lod":
            variables["synthesis/lod"] = np.float32(array)
        elif parts[1].startswith("output"):
            scope = f"synthesis/ToRGB_lod{3 - int(parts[1][6:])}"
            variables[f"{scope}/{parts[-1]}"] = array.transpose(2, 3, 1, 0) if parts[-1] == "weight" else array
        elif parts[0] == "synthesis" and "blur" not in parts:
            index = int(parts[1][5:])
            size = 4 << index // 2
            scope = (
                f"synthesis/{size}x{size}/" + (["Conv0_up", "Conv1"] if index > 1 else ["Const", "Conv"])[index % 2]
            )
            rest = ".".join(parts[2:])
            if rest == "epilogue.apply_noise.noise":
                variables[f"synthesis/noise{index}"] = array
            elif rest == "conv.weight":
                variables[f"{scope}/weight"] = array.transpose(2, 3, 1, 0)
            elif rest.endswith("linear.weight"):
                variables[f"{scope}/StyleMod/weight"] = array.T
            else:
                leaf = {
                    "first_layer": "const", "epilogue.apply_noise.weight": "Noise/weight", "epilogue.bias": "bias",
                    "epilogue.style_mod.dense.wscale.bias": "StyleMod/bias",
                }[rest]  # fmt: skip
                variables[f"{scope}/{leaf}"] = array
    return variables


def tf_progan(channels: tuple[int, ...], z_dim: int, fused: bool = True) -> dict[str, Any]:
    """Random variables of an official ProGAN."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    variables: dict[str, Any] = {"lod": np.float32(0)}
    for i, width in enumerate(channels):
        scope, before = f"{4 << i}x{4 << i}", channels[max(i - 1, 0)]
        if i == 0:
            variables |= {f"{scope}/Dense/weight": normal(z_dim, 16 * width), f"{scope}/Dense/bias": normal(width)}
        elif fused:
            variables |= {f"{scope}/Conv0_up/weight": normal(3, 3, width, before)}
            variables |= {f"{scope}/Conv0_up/bias": normal(width)}
        else:
            variables |= {
                f"{scope}/Conv0/weight": normal(3, 3, before, width),
                f"{scope}/Conv0/bias": normal(width),
            }
        name = f"{scope}/Conv1" if i else f"{scope}/Conv"
        variables |= {f"{name}/weight": normal(3, 3, width, width), f"{name}/bias": normal(width)}
        lod = len(channels) - 1 - i
        variables |= {f"ToRGB_lod{lod}/weight": normal(1, 1, width, 3), f"ToRGB_lod{lod}/bias": normal(3)}
    return variables
