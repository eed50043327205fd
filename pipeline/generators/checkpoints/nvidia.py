"""Pickles of the StyleGAN2-ADA and StyleGAN3 repositories: modules saved with their source, which stays text."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.arrays import is_array, to_array
from pipeline.generators.checkpoints.records import Call
from pipeline.generators.checkpoints.tensors import Tensors, is_tensor

HOOK = "torch_utils.persistence._reconstruct_persistent_obj"
# A generator at 1024 x 1024 has about 100 modules and 200 tensors.
MAX_MODULES = 2_000
MAX_TENSORS = 10_000
MAX_DEPTH = 16
MAX_NAME = 200
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True)
class Module:
    """One module of a network.

    Attributes:
        place: its name in the network, such as synthesis.b8.conv0; of the network itself, "".
        kind: its class.
        fields: its attributes by name, without those that torch and the persistence keep for themselves.
        arguments: what it was made with, as far as that was named.
    """

    place: str
    kind: str
    fields: dict[str, Any]
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Network:
    """A pickled network: its tensors by the keys of its state dict, and its modules, the outer ones first."""

    state: dict[str, Tensor]
    modules: tuple[Module, ...]


def is_module(record: object) -> bool:
    """Tell whether a record stands for a network."""
    return isinstance(record, Call) and record.function == HOOK


def read_network(record: object, tensors: Tensors) -> Network:
    """Collect the modules of a pickled network and its tensors, bit for bit.

    Raises:
        CheckpointError: it is damaged.
    """
    state: dict[str, Tensor] = {}
    modules: list[Module] = []
    waiting: list[tuple[str, object]] = [("", record)]
    while waiting:
        place, inner = waiting.pop()
        fields = module_fields(inner)
        for group in ("_parameters", "_buffers"):
            for name, tensor in mapping(fields.get(group)).items():
                if is_tensor(tensor):
                    state[joined(place, name)] = tensors.tensor(tensor)
                if len(state) > MAX_TENSORS:
                    raise CheckpointError(f"it is damaged or hostile: a network of over {MAX_TENSORS:,} tensors")
        for name in HOOKS:
            if mapping(fields.get(name)):
                raise CheckpointError(f"its part '{place}' has {name.strip('_')}, which may change the image")
        named = {name: value for name, value in fields.items() if isinstance(name, str)}
        own = {name: plain(value) for name, value in named.items() if not name.startswith("_")}
        made_with = {str(name)[:80]: plain(value) for name, value in mapping(fields.get("_init_kwargs")).items()}
        modules.append(Module(place, module_kind(inner), own, made_with))
        children = mapping(fields.get("_modules"))
        if len(modules) + len(waiting) + len(children) > MAX_MODULES:
            raise CheckpointError("it is damaged or hostile: its modules hold each other without end")
        waiting += [(joined(place, name), child) for name, child in reversed(children.items()) if child is not None]
    return Network(state, tuple(modules))


def joined(place: str, name: object) -> str:
    """Return the place of something within a module."""
    whole = f"{place}.{name}" if place else f"{name}"
    if len(whole) > MAX_NAME or whole.count(".") > MAX_DEPTH:
        raise CheckpointError("it is damaged or hostile: its modules hold each other without end, or have no names")
    return whole


def module_meta(record: object) -> dict[Any, Any]:
    """Return what the persistence says of a module: its class, source and state."""
    meta = record.arguments[0] if isinstance(record, Call) and is_module(record) and record.arguments else None
    if not isinstance(meta, dict):
        raise CheckpointError("it is damaged: a network's module is expected where something else is")
    return meta


def module_fields(record: object) -> dict[Any, Any]:
    """Return a module's attributes."""
    fields = module_meta(record).get("state")
    if not isinstance(fields, dict):
        raise CheckpointError("it is damaged: a network's module is expected where something else is")
    return fields


def module_kind(record: object) -> str:
    """Return the name of a module's class."""
    kind = module_meta(record).get("class_name")
    return kind[:80] if isinstance(kind, str) else "nameless"


def mapping(value: object) -> dict[Any, Any]:
    """Return a dictionary, which a module may lack."""
    if not isinstance(value, dict | None):
        raise CheckpointError("it is damaged: a module's contents are no dictionary")
    return value or {}


def plain(value: object) -> object:
    """Turn a number that was pickled as numpy's into Python's own; leave everything else."""
    array = to_array(value) if is_array(value) else None
    return value if array is None or array.ndim else array.item()
