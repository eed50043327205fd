"""From a manifest's name, or a path, to a generator that is ready to render."""

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import torch

from pipeline.errors import ManifestError, WeightsError
from pipeline.files import sha256_file, user_path
from pipeline.generators.layered import LayeredGenerator
from pipeline.manifest import GeneratorManifest, find_manifest, parse_manifest, read_toml, weights_folder
from pipeline.weights import read_weights

# family -> class with `from_state_dict`, imported when one is loaded
FAMILIES = {
    "stylegan1": "pipeline.generators.stylegan1:StyleGAN1",
    "stylegan2": "pipeline.generators.stylegan2:StyleGAN2",
    "stylegan3": "pipeline.generators.stylegan3:StyleGAN3",
    "lucidrains": "pipeline.generators.lucidrains:LucidStyleGAN2",
    "biggan": "pipeline.generators.biggan:BigGAN",
    "biggan-deep": "pipeline.generators.biggan_deep:BigGANDeep",
    "progan": "pipeline.generators.progan:ProGAN",
    "dcgan": "pipeline.generators.dcgan:DCGAN",
}


@dataclass(frozen=True, eq=False)
class LoadedGenerator:
    """A generator with what its manifest says of it.

    Attributes:
        fine_layers: 0-based w+ layers that do not carry the label.
        sha256: digest of the weights.
    """

    network: LayeredGenerator
    manifest: GeneratorManifest
    fine_layers: tuple[int, ...]
    sha256: str


def family_class(name: str) -> type[LayeredGenerator]:
    """Import the class of a network family."""
    module, _, attribute = FAMILIES[name].partition(":")
    network: type[LayeredGenerator] = getattr(import_module(module), attribute)
    return network


def find_generator(name_or_path: str) -> tuple[GeneratorManifest, Path]:
    """Return a generator's manifest and the file of its weights, which may not be there yet.

    `name_or_path` is a manifest's name, a manifest (.toml) or bare weights (.safetensors) of a family that their
    keys tell, whose three finest layers then count as fine.
    """
    if name_or_path.endswith(".safetensors"):
        return bare_weights(user_path(name_or_path))
    path = find_manifest("generators", name_or_path)
    manifest = parse_manifest(GeneratorManifest, read_toml(path), path)
    if manifest.family not in FAMILIES:
        raise ManifestError(
            f"{path}: key 'family' = '{manifest.family}' (network family): known are {', '.join(FAMILIES)}"
        )
    if manifest.weights is None:
        return manifest, weights_folder() / f"{manifest.name}.safetensors"
    return manifest, user_path(manifest.weights, path.parent)


def bare_weights(path: Path) -> tuple[GeneratorManifest, Path]:
    """Make a manifest for weights without one."""
    from pipeline.generators.checkpoints.recognition import recognise

    state = read_weights(path)
    family = recognise(state).family
    network = family_class(family).from_state_dict(state)
    content = {
        "name": re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).lstrip("-_") or "weights",
        "family": family,
        "weights": str(path),
        "sha256": sha256_file(path),
        "resolution": network.resolution,
        "fine_layers": list(range(network.num_ws))[-3:],
    }
    return parse_manifest(GeneratorManifest, content, path), path


def missing_weights(manifest: GeneratorManifest, path: Path) -> str:
    """Tell what to do about weights that are not there, in one sentence."""
    if manifest.weights is not None or not manifest.source_file:
        return f"no weights at {path}"
    return (
        f"the weights of generator '{manifest.name}' are not imported yet, nothing is at {path}: download "
        f"{manifest.source_file} from {manifest.source_url} (see {manifest.homepage}; licence: "
        f"{manifest.licence}), then run `pipeline weights import {manifest.source_file} --as {manifest.name}`"
    )


def open_generator(name_or_path: str, device: str = "cpu") -> LoadedGenerator:
    """Load a generator with its manifest; a process keeps the last two, and reads one anew whose file has changed.

    On a GPU the finest four resolutions run in bfloat16.

    Raises:
        ManifestError: no such generator, or a manifest that does not fit its weights.
        WeightsError: the weights are missing, damaged or another file than declared.
    """
    bare = name_or_path.endswith(".safetensors")
    path = user_path(name_or_path) if bare else find_manifest("generators", name_or_path)
    return _open(name_or_path, device, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=2)
def _open(name_or_path: str, device: str, changed: int) -> LoadedGenerator:
    manifest, weights = find_generator(name_or_path)
    if not weights.is_file():
        raise WeightsError(missing_weights(manifest, weights))
    state = read_weights(weights, manifest.sha256)
    settings = {"conv_clamp": manifest.conv_clamp, **manifest.settings}
    network = family_class(manifest.family).from_state_dict(state, **settings)
    check_sizes(manifest, network, weights)
    network.to(device)
    if device == "cuda":
        network.set_precision(torch.bfloat16)
    fine = tuple(sorted(set(manifest.fine_layers)))
    return LoadedGenerator(network, manifest, fine, manifest.sha256 or sha256_file(weights))


def forget_generators() -> None:
    """Read every generator anew when it is next asked for."""
    _open.cache_clear()


def check_sizes(manifest: GeneratorManifest, network: LayeredGenerator, weights: Path) -> None:
    """Raise WeightsError or ManifestError where a network is not what its manifest says."""
    if network.resolution != manifest.resolution:
        raise WeightsError(
            f"{weights} renders {network.resolution}x{network.resolution}, but the manifest "
            f"'{manifest.name}' says {manifest.resolution}"
        )
    if manifest.num_ws not in (None, network.num_ws):
        raise WeightsError(
            f"{weights} has {network.num_ws} layers of w+, but the manifest '{manifest.name}' says "
            f"{manifest.num_ws}"
        )
    fine = sorted(manifest.fine_layers)
    if not fine or fine[0] < 0 or fine[-1] >= network.num_ws:
        raise ManifestError(
            f"manifest '{manifest.name}': key 'fine_layers' = {list(manifest.fine_layers)} must name layers from 0 "
            f"to {network.num_ws - 1}"
        )


def load_generator(name_or_path: str, device: str = "cpu") -> LayeredGenerator:
    """Load a generator by manifest name, manifest path or safetensors path."""
    return open_generator(name_or_path, device).network
