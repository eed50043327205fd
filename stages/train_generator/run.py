"""The training run: step, measure, snapshot, go on after a kill."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from pipeline.batches import rendered_slots_of
from pipeline.checkpoint import load_checkpoint, read_notes, save_checkpoint
from pipeline.config import changed_options
from pipeline.files import atomic_write, sha256_file, write_bytes
from pipeline.images import grid, shrunk, to_uint8
from pipeline.manifest import write_toml
from pipeline.seeds import torch_generator
from stages.train_generator.config import TrainGeneratorConfig
from stages.train_generator.quality import Judge
from stages.train_generator.start import Start
from stages.train_generator.training import Trainer

NAME = "generator"  # of the folder, and in the ledger
CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"
FILES = (CHECKPOINT, METRICS, "generator.safetensors", "generator.toml")  # beside the grids
SHOWN, FEW = 128, 32  # samples in a grid; of large images
LARGEST = 128  # pixels of their sides there


def train(
    trainer: Trainer,
    images: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    key: str,
    folder: Path,
    on_progress: Callable[[int, dict[str, float]], None],
    on_grid: Callable[[Path], None] = lambda path: None,
) -> dict[str, Any]:
    """Train on images uint8 [N, H, W, 3]; return the quality of the generator at the end.

    Writes `checkpoint.safetensors`, `metrics.jsonl`, `grids/*.png` and `generator.safetensors` to `folder`,
    and continues from the checkpoint that is there. `on_grid` is told of each grid that is drawn.
    """
    config, checkpoint = trainer.config, folder / CHECKPOINT
    metrics: list[dict[str, Any]] = []
    if checkpoint.is_file():
        trainer.step = load_checkpoint(checkpoint, key, trainer.networks, trainer.optimizers)
        metrics = json.loads(read_notes(checkpoint))
    judge = Judge(images, labels, num_classes, config.seed, config.judge_epochs, trainer.device)

    losses: dict[str, float] = {}
    while trainer.images_seen < config.images:
        losses = trainer.train_step(images)
        on_progress(trainer.images_seen, losses)
        before = (trainer.step - 1) * config.train_batch // config.snapshot
        if trainer.images_seen // config.snapshot > before or trainer.images_seen >= config.images:
            quality = judge.measure(trainer.G_ema)
            metrics.append({"images": trainer.images_seen, **quality.as_dict(), **losses})
            write_snapshot(trainer, folder, metrics, on_grid)
            notes = json.dumps(metrics)
            save_checkpoint(checkpoint, key, trainer.step, trainer.networks, trainer.optimizers, notes)
    write_snapshot(trainer, folder, metrics, on_grid)  # it may have been damaged since
    return {
        **metrics[-1],
        "frechet_real_real": round(judge.real_real, 4),
        "confidence_real": round(judge.real_confidence, 4),
    }


def write_snapshot(
    trainer: Trainer, folder: Path, metrics: list[dict[str, Any]], on_grid: Callable[[Path], None]
) -> None:
    """Write the averaged generator, its grid, and how good all were up to now."""
    save_generator(trainer, folder / "generator.safetensors")
    grid_path = folder / "grids" / f"{trainer.images_seen:08d}.png"
    write_grid(trainer, grid_path)
    on_grid(grid_path)
    write_bytes(folder / METRICS, "".join(json.dumps(row) + "\n" for row in metrics).encode())


def save_generator(trainer: Trainer, path: Path) -> None:
    """Write the averaged generator's weights."""
    state = {name: tensor.cpu().contiguous() for name, tensor in trainer.G_ema.state_dict().items()}
    write_bytes(path, save(state, metadata={"images": str(trainer.images_seen)}))


@torch.inference_mode()
def write_grid(trainer: Trainer, path: Path) -> None:
    """Write the same samples of the averaged generator as a PNG, as thumbnails where they are large."""
    network = trainer.G_ema
    count = SHOWN if network.resolution <= LARGEST else FEW
    z = torch.randn(count, network.z_dim, generator=torch_generator(trainer.config.seed, "grid"))
    cells = [
        shrunk(pixels, LARGEST)
        for part in z.split(rendered_slots_of(network, trainer.device))
        for pixels in to_uint8(network.synthesize(network.map(part.to(trainer.device))))
    ]
    with atomic_write(path) as file:
        Image.fromarray(grid(np.stack(cells), columns=max(8, count // 8))).save(file, format="PNG")


def write_manifest(
    folder: Path,
    dataset: str,
    resolution: int,
    config: TrainGeneratorConfig,
    init: str | None = None,
    start: Start | None = None,
) -> Path:
    """Declare the trained generator, so that `--generator PATH` takes it; return the manifest's path."""
    weights = folder / "generator.safetensors"
    family, command = config.family, f"pipeline train-generator --dataset {dataset}"
    if init is not None:
        command = f"{command} --init {shlex.quote(init)}"
    if start is not None:
        family, command = start.family, f"{command} --generator {shlex.quote(start.spec)}"
    content: dict[str, Any] = {
        "name": f"{Path(dataset).stem}-trained",
        "description": f"{family} trained on the training split of {dataset}",
        "family": family,
        "weights": weights.name,
        "sha256": sha256_file(weights),
        "resolution": resolution,
        "fine_layers": list(range(2 * resolution.bit_length() - 4))[-config.fine_layers :],
        "command": command + changed_options(config),
    }
    if start is not None:
        content |= start.settings
    path = folder / "generator.toml"
    write_toml(path, content)
    return path
