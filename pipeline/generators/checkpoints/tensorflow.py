"""Pickles of the TensorFlow repositories (ProGAN, StyleGAN, StyleGAN2): networks that hold plain numpy arrays.

A network's state has had the same fields in all its versions: 2 (ProGAN), 3 (StyleGAN, with components), 4
(StyleGAN2) and 5 (StyleGAN2-ADA, with the shapes of inputs and outputs added, which are not needed here).
"""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.arrays import to_array
from pipeline.generators.checkpoints.records import Call
from pipeline.generators.checkpoints.tf_settings import agreed, shown

NETWORKS = frozenset({"dnnlib.tflib.network.Network", "tfutil.Network"})
VERSIONS = (2, 3, 4, 5)
MAX_COMPONENTS = 16


@dataclass(frozen=True)
class TFNetwork:
    """A network as its pickle has it.

    Attributes:
        variables: by name, its components' prefixed by theirs.
        settings: what it was built with; its own go before its components', as in the repositories' code.
        version: of the pickle's fields.
        source: text of the Python module that built it. It is only ever looked at.
    """

    variables: dict[str, NDArray[Any]]
    settings: dict[Any, Any]
    version: int = 3
    source: str = ""


def is_network(record: object) -> bool:
    """Tell whether a record stands for a network of TensorFlow's."""
    return isinstance(record, Call) and record.function in NETWORKS


def read_network(record: object) -> TFNetwork:
    """Return the variables of a pickled network and of its components.

    Raises:
        CheckpointError: it is damaged.
    """
    variables: dict[str, NDArray[Any]] = {}
    settings: list[dict[Any, Any]] = []
    version, source = 3, ""
    waiting = [("", record)]
    for _ in range(MAX_COMPONENTS):
        prefix, network = waiting.pop()
        state = network.state if isinstance(network, Call) and is_network(network) else None
        if not isinstance(state, dict):
            raise CheckpointError("it is damaged: a TensorFlow network without contents")
        if not settings:
            version, source = check_version(state.get("version", version)), state.get("build_module_src", "")
        settings.append(checked(state.get("static_kwargs", {}), dict))
        for pair in checked(state.get("variables", []), list):
            if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
                raise CheckpointError("it is damaged: a variable without a name")
            variables[prefix + pair[0]] = to_array(pair[1])
        for name, component in checked(state.get("components", {}), dict).items():
            waiting.append((f"{prefix}{name}/", component))
        if not waiting:
            own, *parts = settings
            joined = {**agreed(parts), **own}
            return TFNetwork(variables, joined, version, source if isinstance(source, str) else "")
    raise CheckpointError("it is damaged or hostile: its networks hold each other without end")


def check_version(version: Any) -> int:
    """Return a known version. Networks of ProGAN's Theano code have none."""
    if version not in VERSIONS or not isinstance(version, int):
        known = ", ".join(map(str, VERSIONS))
        raise CheckpointError(f"its network is of version {shown(version)}; the versions {known} are read")
    return version


def checked(value: Any, kind: type[Any]) -> Any:
    """Return a value of the right kind."""
    if not isinstance(value, kind):
        raise CheckpointError(f"it is damaged: a network's contents are no {kind.__name__}")
    return value
