"""What a shift leaves behind: a generator and its encoder, declared."""

from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from pipeline.config import changed_options
from pipeline.encoders import LoadedEncoder
from pipeline.files import sha256_file, write_bytes
from pipeline.generators import LoadedGenerator
from pipeline.manifest import network_settings, write_toml
from stages.shift_generator.config import ShiftGeneratorConfig


def write_shifted(
    folder: Path,
    network: nn.Module,
    before: LoadedGenerator,
    encoder: LoadedEncoder,
    dataset: str,
    config: ShiftGeneratorConfig,
) -> Path:
    """Write `generator.toml` and `encoder.toml` with their weights; return the generator's manifest."""
    weights = {"generator": network, "encoder": encoder.network}
    for name, net in weights.items():
        state = {key: tensor.cpu().contiguous() for key, tensor in net.state_dict().items()}
        write_bytes(folder / f"{name}.safetensors", save(state))
    digests = {name: sha256_file(folder / f"{name}.safetensors") for name in weights}
    command = f"pipeline shift-generator --dataset {dataset}{changed_options(config)}"
    base = before.manifest
    generator: dict[str, Any] = {
        "name": f"{base.name}-shifted",
        "description": f"{base.name}, shifted towards {dataset}",
        "family": base.family,
        "weights": "generator.safetensors",
        "sha256": digests["generator"],
        "resolution": base.resolution,
        "fine_layers": list(base.fine_layers),
        "shifted_from": before.sha256,
        "command": command,
    }
    generator |= network_settings(base)
    shifted: dict[str, Any] = {
        "name": f"{encoder.manifest.name}-shifted",
        "description": f"{encoder.manifest.name}, for the shifted generator",
        "weights": "encoder.safetensors",
        "sha256": digests["encoder"],
        "generator_sha256": digests["generator"],
        "passes": encoder.passes,
        "command": command,
    }
    shifted |= {"family": encoder.manifest.family, "settings": encoder.manifest.settings}
    for name, content in (("encoder", shifted), ("generator", generator)):
        write_toml(folder / f"{name}.toml", content)
    return folder / "generator.toml"
