"""Everything a training run needs to go on, in one safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.errors import BuildError
from pipeline.tensors import read_tensors, write_tensors


def save_checkpoint(
    path: Path,
    key: str,
    step: int,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    notes: str = "[]",
) -> None:
    """Write weights, buffers, optimiser moments, the step, and notes; `key` identifies the settings."""
    tensors: dict[str, Tensor] = {}
    for name, net in networks.items():
        tensors |= {f"{name}/{k}": v.cpu().contiguous() for k, v in net.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{k}": v.cpu().contiguous() for k, v in state.items()}
    write_tensors(path, tensors, {"key": key, "step": json.dumps(step), "notes": notes})


def load_checkpoint(
    path: Path, key: str | None, networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> int:
    """Restore what `save_checkpoint` wrote and return the step; without a key, any of the same sizes will do.

    Raises:
        BuildError: the checkpoint is missing or damaged, or was made with other settings or for other sizes.
    """
    if not path.is_file():
        raise BuildError(f"there is no checkpoint at {path}")
    tensors, metadata = opened(path)
    if "step" not in metadata:
        raise BuildError(f"{path} holds weights alone, not a checkpoint to go on from")
    if key is not None and metadata["key"] != key:
        raise BuildError(f"{path} was trained with other settings; use those again, or --fresh to start over")
    for name, net in networks.items():
        prefix = f"{name}/"
        try:
            net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        except RuntimeError as error:
            reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
            raise BuildError(f"{path} holds other networks than these settings make: {reason}") from error
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for tensor_name, tensor in tensors.items():
            owner, *rest = tensor_name.split("/")
            if owner == name:
                state.setdefault(int(rest[0]), {})[rest[1]] = tensor
        sizes = [weights.shape for group in optimizer.param_groups for weights in group["params"]]
        if any(i >= len(sizes) or moments["exp_avg"].shape != sizes[i] for i, moments in state.items()):
            raise BuildError(f"{path} is a checkpoint of a training of other weights than these settings train")
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(json.loads(metadata["step"]))


def read_notes(path: Path) -> str:
    """The notes that were saved with a checkpoint. Raises BuildError if it is damaged."""
    return opened(path)[1].get("notes", "[]")


def opened(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a checkpoint. Raises BuildError if it is damaged."""
    try:
        return read_tensors(path)
    except ValueError as error:
        raise BuildError(
            f"{path} is not a checkpoint, or damaged ({error}): put it back from a backup, or begin the training "
            f"anew with --fresh"
        ) from error
