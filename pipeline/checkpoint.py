"""Everything a training run needs to go on, in one safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.errors import BuildError
from pipeline.files import write_bytes


def save_checkpoint(
    path: Path, key: str, step: int, networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> None:
    """Write weights, buffers, optimiser moments and the step; `key` identifies the settings."""
    tensors: dict[str, Tensor] = {}
    for name, net in networks.items():
        tensors |= {f"{name}/{k}": v.cpu().contiguous() for k, v in net.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{k}": v.cpu().contiguous() for k, v in state.items()}
    write_bytes(path, save(tensors, metadata={"key": key, "step": json.dumps(step)}))


def load_checkpoint(
    path: Path, key: str | None, networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> int:
    """Restore what `save_checkpoint` wrote and return the step; without a key, any of the same sizes will do.

    Raises:
        BuildError: the checkpoint is missing, or was made with other settings.
    """
    if not path.is_file():
        raise BuildError(f"there is no checkpoint at {path}")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if key is not None and metadata["key"] != key:
            raise BuildError(f"{path} was trained with other settings; use those again, or --fresh to start over")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    for name, net in networks.items():
        prefix = f"{name}/"
        net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for tensor_name, tensor in tensors.items():
            owner, *rest = tensor_name.split("/")
            if owner == name:
                state.setdefault(int(rest[0]), {})[rest[1]] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(json.loads(metadata["step"]))
