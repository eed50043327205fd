"""The trained generator that a training begins from."""

from dataclasses import dataclass
from typing import Any

from pipeline.errors import ManifestError
from pipeline.generators import StyleGAN1, StyleGAN2, open_generator
from pipeline.manifest import network_settings
from stages.train_generator.training import StyleGAN


@dataclass(frozen=True)
class Start:
    """A generator as it was named on the command line, and what its manifest says of it."""

    network: StyleGAN
    spec: str
    family: str
    sha256: str
    settings: dict[str, Any]  # of its network, for the manifest of what is trained


def open_start(name_or_path: str, resolution: int) -> Start:
    """Load a generator to go on from.

    Raises:
        ManifestError: there is none of that name, it renders another size, needs labels, or has no styles to train.
    """
    loaded = open_generator(name_or_path)
    network, name = loaded.network, loaded.manifest.name
    if not isinstance(network, StyleGAN1 | StyleGAN2) or network.c_dim:
        raise ManifestError(
            f"generator '{name}' ({loaded.manifest.family}) cannot be trained further: "
            f"train-generator knows StyleGAN and StyleGAN2 without labels"
        )
    if network.resolution != resolution:
        raise ManifestError(
            f"generator '{name}' renders {network.resolution}x{network.resolution}, the dataset's images have "
            f"{resolution}x{resolution}: set 'resolution' in the dataset's manifest"
        )
    return Start(network, name_or_path, loaded.manifest.family, loaded.sha256, network_settings(loaded.manifest))
