"""Perceptual distance, loaded by manifest name."""

from functools import lru_cache
from pathlib import Path

from pipeline.devices import channels_last
from pipeline.errors import ManifestError
from pipeline.files import user_path
from pipeline.manifest import PerceptualManifest, find_manifest, parse_manifest, read_toml
from pipeline.perceptual.base import Features, PerceptualNet, Target
from pipeline.perceptual.small import SmallPerceptual
from pipeline.perceptual.vgg16 import VGG16Perceptual
from pipeline.weights import read_weights

__all__ = ["Features", "PerceptualNet", "Target", "load_perceptual", "perceptual_digest"]


def find_perceptual(name_or_path: str) -> tuple[PerceptualManifest, Path | None]:
    """Return a perceptual net's manifest and the file of its weights, if it names one."""
    path = find_manifest("perceptual", name_or_path)
    manifest = parse_manifest(PerceptualManifest, read_toml(path), path)
    if manifest.family not in ("small", "vgg16"):
        raise ManifestError(f"{path}: key 'family' = '{manifest.family}': known are small, vgg16")
    if manifest.family == "small" and manifest.weights is None:
        raise ManifestError(f"{path}: key 'weights' is missing (safetensors file, relative to this manifest)")
    return manifest, None if manifest.weights is None else user_path(manifest.weights, path.parent)


@lru_cache(maxsize=2)
def load_perceptual(name_or_path: str, device: str = "cpu") -> PerceptualNet:
    """Load a perceptual net by manifest name or path; a process keeps the last two.

    Raises:
        WeightsError: the weights are missing or not the declared ones.
    """
    manifest, weights = find_perceptual(name_or_path)
    net: PerceptualNet
    if weights is not None:
        family = SmallPerceptual if manifest.family == "small" else VGG16Perceptual
        net = family.from_state_dict(read_weights(weights, manifest.sha256))
    else:
        net = VGG16Perceptual.from_files()
    return channels_last(net.eval().requires_grad_(False).to(device))


def perceptual_digest(name_or_path: str) -> str:
    """What identifies a perceptual net: the digest of its weights, or its family."""
    manifest, _ = find_perceptual(name_or_path)
    return manifest.sha256 or manifest.family
