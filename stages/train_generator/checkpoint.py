"""Everything a training run needs to go on, in one safetensors file."""

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.devices import channels_last
from pipeline.errors import BuildError
from pipeline.files import write_bytes
from stages.train_generator.training import Trainer


def save_checkpoint(trainer: Trainer, key: str, path: Path) -> None:
    """Write networks, averages, optimiser moments and the step; `key` identifies the settings."""
    tensors: dict[str, Tensor] = {}
    for name, net in (("G", trainer.G), ("G_ema", trainer.G_ema), ("D", trainer.D)):
        tensors |= {f"{name}/{k}": v.cpu().contiguous() for k, v in net.state_dict().items()}
    for name, optimizer in (("opt_G", trainer.opt_G), ("opt_D", trainer.opt_D)):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{k}": v.cpu().contiguous() for k, v in state.items()}
    write_bytes(path, save(tensors, metadata={"key": key, "step": json.dumps(trainer.step)}))


def load_checkpoint(trainer: Trainer, key: str | None, path: Path) -> None:
    """Restore `trainer` to what `save_checkpoint` wrote; without a key, any checkpoint of the same sizes will do.

    Raises:
        BuildError: the checkpoint was made with other settings, or does not fit.
    """
    if not path.is_file():
        raise BuildError(f"there is no checkpoint at {path}")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if key is not None and metadata["key"] != key:
            raise BuildError(f"{path} was trained with other settings; use those again, or --fresh to start over")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    for name, net in (("G", trainer.G), ("G_ema", trainer.G_ema), ("D", trainer.D)):
        prefix = f"{name}/"
        net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for name, optimizer in (("opt_G", trainer.opt_G), ("opt_D", trainer.opt_D)):
        state: dict[int, dict[str, Tensor]] = {}
        for tensor_name, tensor in tensors.items():
            owner, *rest = tensor_name.split("/")
            if owner == name:
                state.setdefault(int(rest[0]), {})[rest[1]] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    trainer.step = int(json.loads(metadata["step"]))
    for net in (trainer.G, trainer.G_ema, trainer.D):
        channels_last(net.to(trainer.device))
