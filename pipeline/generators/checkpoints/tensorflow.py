"""Pickles of the TensorFlow repositories (ProGAN, StyleGAN, StyleGAN2): networks that hold plain numpy arrays."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.arrays import to_array
from pipeline.generators.checkpoints.records import Call

NETWORKS = frozenset({"dnnlib.tflib.network.Network", "tfutil.Network"})
MAX_COMPONENTS = 16


@dataclass(frozen=True)
class TFNetwork:
    """A network's variables by name, its components' prefixed by theirs, and the settings it was built with."""

    variables: dict[str, NDArray[Any]]
    settings: dict[Any, Any]


def is_network(record: object) -> bool:
    """Tell whether a record stands for a network of TensorFlow's."""
    return isinstance(record, Call) and record.function in NETWORKS


def read_network(record: object) -> TFNetwork:
    """Return the variables of a pickled network and of its components.

    Raises:
        CheckpointError: it is damaged.
    """
    variables: dict[str, NDArray[Any]] = {}
    settings: dict[Any, Any] = {}
    waiting = [("", record)]
    for visited in range(MAX_COMPONENTS):
        prefix, network = waiting.pop()
        state = network.state if isinstance(network, Call) and is_network(network) else None
        if not isinstance(state, dict):
            raise CheckpointError("it is damaged: a TensorFlow network without contents")
        if not visited:
            settings = dict(checked(state.get("static_kwargs", {}), dict))
        for pair in checked(state.get("variables", []), list):
            if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
                raise CheckpointError("it is damaged: a variable without a name")
            variables[prefix + pair[0]] = to_array(pair[1])
        for name, component in checked(state.get("components", {}), dict).items():
            waiting.append((f"{prefix}{name}/", component))
        if not waiting:
            return TFNetwork(variables, settings)
    raise CheckpointError("it is damaged or hostile: its networks hold each other without end")


def checked(value: Any, kind: type[Any]) -> Any:
    """Return a value of the right kind."""
    if not isinstance(value, kind):
        raise CheckpointError(f"it is damaged: a network's contents are no {kind.__name__}")
    return value
