"""The training run: step, snapshot, go on after a kill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w
from safetensors.torch import save
from torch import Tensor

from pipeline.checkpoint import load_checkpoint, save_checkpoint
from pipeline.files import sha256_file, write_bytes
from stages.train_encoder.config import TrainEncoderConfig
from stages.train_encoder.training import Trainer


def train(
    trainer: Trainer,
    images: Tensor,
    *,
    key: str,
    folder: Path,
    on_progress: Callable[[int, dict[str, float]], None],
) -> None:
    """Train on images uint8 [N, H, W, 3]; write `checkpoint.safetensors` and, at the end, `encoder.safetensors`.

    Continues from the checkpoint that is there.
    """
    config, checkpoint = trainer.config, folder / "checkpoint.safetensors"
    if checkpoint.is_file():
        trainer.step = load_checkpoint(checkpoint, key, trainer.networks, trainer.optimizers)
    while trainer.step < config.steps:
        losses = trainer.train_step(images)
        on_progress(trainer.step, losses)
        if trainer.step % config.snapshot == 0 or trainer.step == config.steps:
            save_checkpoint(checkpoint, key, trainer.step, trainer.networks, trainer.optimizers)
    state = {name: tensor.cpu().contiguous() for name, tensor in trainer.ema.state_dict().items()}
    write_bytes(folder / "encoder.safetensors", save(state))


def write_manifest(folder: Path, dataset: str, generator_sha256: str, config: TrainEncoderConfig) -> Path:
    """Declare the trained encoder, so that `--encoder PATH` takes it; return the manifest's path."""
    content: dict[str, Any] = {
        "name": f"{dataset}-trained",
        "description": f"encoder trained on the training split of {dataset}",
        "weights": "encoder.safetensors",
        "sha256": sha256_file(folder / "encoder.safetensors"),
        "generator_sha256": generator_sha256,
        "passes": config.passes,
        "command": f"pipeline train-encoder --dataset {dataset}",
    }
    path = folder / "encoder.toml"
    write_bytes(path, tomli_w.dumps(content).encode())
    return path
