"""What a training run of an encoder leaves behind."""

from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from pipeline.config import changed_options
from pipeline.files import sha256_file, write_bytes
from pipeline.manifest import write_toml
from stages.train_encoder.config import TrainEncoderConfig


def write_encoder(
    folder: Path,
    encoder: nn.Module,
    dataset: str,
    generator_sha256: str,
    config: TrainEncoderConfig,
    init: str | None = None,
) -> Path:
    """Write an encoder and declare it, so that `--encoder PATH` takes it; return the manifest's path."""
    weights = folder / "encoder.safetensors"
    state = {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    write_bytes(weights, save(state))
    begun = f" --init {init}" if init else ""
    content: dict[str, Any] = {
        "name": f"{Path(dataset).stem}-trained",
        "description": f"encoder trained on the training split of {dataset}",
        "weights": weights.name,
        "sha256": sha256_file(weights),
        "generator_sha256": generator_sha256,
        "passes": config.passes,
        "command": f"pipeline train-encoder --dataset {dataset}{begun}{changed_options(config)}",
    }
    path = folder / "encoder.toml"
    write_toml(path, content)
    return path
