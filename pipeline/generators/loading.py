"""From a manifest's name, or a path, to a generator that is ready to render."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from pipeline.errors import ManifestError, WeightsError
from pipeline.files import sha256_file
from pipeline.generators.stylegan2 import StyleGAN2
from pipeline.manifest import GeneratorManifest, find_manifest, parse_manifest, read_toml
from pipeline.weights import read_weights

# family -> class with `from_state_dict`
FAMILIES: dict[str, type[StyleGAN2]] = {"stylegan2": StyleGAN2}


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator with what its manifest says of it.

    Attributes:
        fine_layers: 0-based w+ layers that do not carry the label.
        sha256: digest of the weights.
    """

    network: StyleGAN2
    manifest: GeneratorManifest
    fine_layers: tuple[int, ...]
    sha256: str


def find_generator(name_or_path: str) -> tuple[GeneratorManifest, Path]:
    """Return a generator's manifest and the file of its weights.

    `name_or_path` is a manifest's name, a manifest (.toml) or bare StyleGAN2 weights (.safetensors), whose
    three finest layers then count as fine.
    """
    if name_or_path.endswith(".safetensors"):
        path = Path(name_or_path).expanduser().resolve()
        state = read_weights(path)
        network = StyleGAN2.from_state_dict(state)
        content = {
            "name": path.stem.replace(".", "-"),
            "family": "stylegan2",
            "weights": str(path),
            "sha256": sha256_file(path),
            "resolution": network.resolution,
            "fine_layers": list(range(network.num_ws))[-3:],
        }
        return parse_manifest(GeneratorManifest, content, path), path
    path = find_manifest("generators", name_or_path)
    manifest = parse_manifest(GeneratorManifest, read_toml(path), path)
    if manifest.family not in FAMILIES:
        raise ManifestError(
            f"{path}: key 'family' = '{manifest.family}' (network family): known are {', '.join(FAMILIES)}"
        )
    return manifest, (path.parent / Path(manifest.weights).expanduser()).resolve()


@lru_cache(maxsize=2)
def open_generator(name_or_path: str, device: str = "cpu") -> LoadedGenerator:
    """Load a generator with its manifest; a process keeps the last two.

    On a GPU the finest four resolutions run in bfloat16.

    Raises:
        ManifestError: no such generator, or a manifest that does not fit its weights.
        WeightsError: the weights are missing, damaged or another file than declared.
    """
    manifest, weights = find_generator(name_or_path)
    state = read_weights(weights, manifest.sha256)
    network = FAMILIES[manifest.family].from_state_dict(state, conv_clamp=manifest.conv_clamp)
    if network.resolution != manifest.resolution:
        raise WeightsError(
            f"{weights} renders {network.resolution}x{network.resolution}, but the manifest "
            f"'{manifest.name}' says {manifest.resolution}"
        )
    network.to(device)
    if device == "cuda":
        network.set_precision(torch.bfloat16)
    fine = tuple(sorted(set(manifest.fine_layers)))
    if not fine or fine[0] < 0 or fine[-1] >= network.num_ws:
        raise ManifestError(
            f"manifest '{manifest.name}': key 'fine_layers' = {list(manifest.fine_layers)} must name layers from 0 "
            f"to {network.num_ws - 1}"
        )
    return LoadedGenerator(network, manifest, fine, manifest.sha256)


def load_generator(name_or_path: str, device: str = "cpu") -> StyleGAN2:
    """Load a generator by manifest name, manifest path or safetensors path."""
    return open_generator(name_or_path, device).network
