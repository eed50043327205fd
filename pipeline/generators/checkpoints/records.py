"""What a checkpoint's pickle may hold, as inert records: nothing here is ever imported, called or built.

A pickle is a program; these records are what its instructions would have made. `numpy.ndarray` or
`torch.FloatStorage` in a file is only a name here.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.errors import CheckpointError

MAPPINGS = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "dnnlib.util.EasyDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
    }
)
SETS = frozenset({"builtins.set", "__builtin__.set"})
# What training programs save beside a network, such as their settings and paths.
BESIDE = frozenset(
    {
        "argparse.Namespace",
        "torch.device",
        "torch.Size",
        "typing.Any",
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        "omegaconf.nodes.AnyNode",
        "models.utils.config.BaseConfig",
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    }
    | {
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in ("dict", "list", "int", "float", "str")
    }
)

# Every name a known checkpoint refers to. Anything else is refused, although it would not be run either.
KNOWN = (
    MAPPINGS
    | SETS
    | BESIDE
    | {
        "torch_utils.persistence._reconstruct_persistent_obj",
        "dnnlib.tflib.network.Network",
        "tfutil.Network",
        "_codecs.encode",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.storage._load_from_bytes",
    }
    | {
        f"torch.{kind}Storage"
        for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
    }
    | {f"torch.{dtype}" for dtype in ("float64", "float32", "float16", "bfloat16")}
    | {
        f"pathlib{place}.{system}Path"
        for place in ("", "._local")
        for system in ("Posix", "Windows", "PurePosix", "PureWindows")
    }
    | {
        f"numpy{place}.{name}"
        for place, name in (
            ("", "dtype"),
            ("", "ndarray"),
            (".core.multiarray", "_reconstruct"),
            (".core.multiarray", "scalar"),
            (".core.numeric", "_frombuffer"),
            ("._core.multiarray", "_reconstruct"),
            ("._core.multiarray", "scalar"),
            ("._core.numeric", "_frombuffer"),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the file refers to, such as `torch.FloatStorage`."""

    name: str


@dataclass(slots=True, eq=False)
class Call:
    """What the file would have made by calling `function` with `arguments`, and then given `state`."""

    function: str
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Persistent:
    """A reference to data outside the pickle: in torch files, a storage."""

    id: Any


def is_key(value: object) -> bool:
    """Tell whether a value may be a dictionary's key: a text, name or small number, whose hashes cost nothing."""
    return isinstance(value, str | Global) or (isinstance(value, int) and abs(value) < 2**31)


def make_call(function: object, arguments: object) -> Any:
    """Record a call; of dictionaries and sets, make plain ones.

    Raises:
        CheckpointError: this is not a name called with a tuple, or the container holds odd keys.
    """
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        raise CheckpointError("it is damaged: something is called that is no name")
    if function.name not in MAPPINGS and function.name not in SETS:
        return Call(function.name, arguments)
    if function.name == "collections.defaultdict":
        arguments = arguments[1:]  # the first is what makes its missing values
    items = arguments[0] if arguments else ()
    if len(arguments) > 1 or not isinstance(items, list | tuple):
        raise CheckpointError(f"it is damaged: '{function.name}' is made of something else than a list")
    if function.name in SETS:
        return make_set(list(items))
    pairs = [item for item in items if isinstance(item, list | tuple) and len(item) == 2]
    if len(pairs) != len(items):
        raise CheckpointError(f"it is damaged: '{function.name}' is made of something else than pairs")
    target: dict[Any, Any] = {}
    set_items(target, [value for pair in pairs for value in pair])
    return target


def make_set(items: list[Any]) -> set[Any]:
    """Make a set of checked items."""
    if not all(map(is_key, items)):
        raise CheckpointError("it is damaged: a set holds something else than text and numbers")
    return set(items)


def set_items(target: object, flat: list[Any]) -> None:
    """Put [key, value, key, value, …] into a dictionary."""
    if not isinstance(target, dict) or len(flat) % 2:
        raise CheckpointError("it is damaged: items are put into something that is no dictionary")
    if not all(map(is_key, flat[::2])):
        raise CheckpointError("it is damaged: a dictionary has a key that is neither text nor a number")
    target.update(zip(flat[::2], flat[1::2], strict=True))
