"""Encoders from images to w+, loaded by manifest name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.encoders.base import ImageEncoder
from pipeline.encoders.network import Encoder
from pipeline.errors import ManifestError, WeightsError
from pipeline.files import user_path
from pipeline.generators import Generator, open_generator
from pipeline.manifest import EncoderManifest, find_manifest, parse_manifest, read_toml
from pipeline.weights import read_weights

__all__ = ["Encoder", "ImageEncoder", "LoadedEncoder", "encode", "load_encoder", "open_encoder", "read_encoder"]

# family -> class with `from_state_dict`, imported when one is loaded
FAMILIES = {"bies": "pipeline.encoders.network:Encoder", "psp": "pipeline.encoders.psp:PspEncoder"}


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder with what its manifest says of it.

    Attributes:
        passes: corrections it makes.
        sha256: digest of the weights.
    """

    network: ImageEncoder
    manifest: EncoderManifest
    passes: int
    sha256: str


@lru_cache(maxsize=2)
def open_encoder(name_or_path: str, generator: str, device: str = "cpu") -> LoadedEncoder:
    """Load an encoder for a generator; a process keeps the last two.

    Raises:
        ManifestError: no such encoder, or it was trained for another generator.
        WeightsError: the weights are missing, damaged or another file than declared.
    """
    path = find_manifest("encoders", name_or_path)
    manifest = parse_manifest(EncoderManifest, read_toml(path), path)
    loaded = open_generator(generator)
    if manifest.generator_sha256 != loaded.sha256:
        its = f" (its own is '{manifest.generator}')" if manifest.generator else ""
        raise ManifestError(
            f"encoder '{manifest.name}' was trained for another generator than '{generator}'{its}: "
            f"{remedy(manifest, generator)}, or use --method lpips"
        )
    network = read_network(path, manifest, loaded.network.num_ws).to(device)
    return LoadedEncoder(network, manifest, manifest.passes, manifest.sha256)


def remedy(manifest: EncoderManifest, generator: str) -> str:
    """How to get an encoder for another generator."""
    if manifest.source_file:
        return f"import {manifest.source_file} again with --generator {generator}"
    return f"train one with `pipeline train-encoder --generator {generator}`"


def read_encoder(name_or_path: str, generator: Generator) -> Encoder:
    """Read an encoder to train it further, for this generator or another of its sizes.

    Raises:
        ManifestError: no such encoder, or its family or its sizes are others.
        WeightsError: the weights are missing, damaged or another file than declared.
    """
    path = find_manifest("encoders", name_or_path)
    encoder = read_network(path, parse_manifest(EncoderManifest, read_toml(path), path), generator.num_ws)
    if not isinstance(encoder, Encoder):
        raise ManifestError(
            f"encoder '{name_or_path}' is of the family that pSp, e4e and ReStyle share, which is not trained here"
        )
    if (encoder.resolution, encoder.w_dim) != (generator.resolution, generator.w_dim):
        raise ManifestError(
            f"encoder '{name_or_path}' takes {encoder.resolution} pixels to w of {encoder.w_dim} numbers, the "
            f"generator's are {generator.resolution} and {generator.w_dim}: begin without it"
        )
    return encoder


def read_network(path: Path, manifest: EncoderManifest, num_ws: int) -> ImageEncoder:
    """Read the weights that the manifest at `path` names. Raises ManifestError or WeightsError."""
    if manifest.family not in FAMILIES:
        raise ManifestError(
            f"{path}: key 'family' = '{manifest.family}' (network family): known are {', '.join(FAMILIES)}"
        )
    weights = user_path(manifest.weights, path.parent)
    return build_encoder(manifest.family, read_weights(weights, manifest.sha256), num_ws, manifest.settings)


def build_encoder(
    family: str, state: Mapping[str, Tensor], num_ws: int, settings: Mapping[str, Any]
) -> ImageEncoder:
    """Build the encoder whose sizes the tensors tell, frozen.

    Raises:
        WeightsError: the tensors are something else's, or a setting is not the family's.
    """
    module, _, attribute = FAMILIES[family].partition(":")
    network: type[ImageEncoder] = getattr(import_module(module), attribute)
    for name in settings.keys() - set(network.settings):
        raise WeightsError(f"{name} = {settings[name]}: encoders of family {family} have none; take it out")
    return network.from_state_dict(state, num_ws, **settings)


def load_encoder(name_or_path: str, generator: str, device: str = "cpu") -> ImageEncoder:
    """Load an encoder by manifest name or path."""
    return open_encoder(name_or_path, generator, device).network


def encode(encoder: ImageEncoder, generator: Generator, images: Tensor, passes: int = 1) -> Tensor:
    """Encode images [B, 3, H, W] in [-1, 1], of the generator's size, as w+ [B, num_ws, w_dim]."""
    *_, w = passes_of(encoder, generator, images, passes)
    return w


def passes_of(encoder: ImageEncoder, generator: Generator, images: Tensor, passes: int) -> Iterator[Tensor]:
    """The w+ after each pass. A pass takes the last one's w+ as given: no gradient flows from pass to pass."""
    w = encoder.start(len(images))
    rendered = images  # where renderings are not looked at, none is made
    for number in range(passes):
        if encoder.sees_rendering and number == 0:
            rendered = generator.synthesize(w[:1]).expand(len(images), -1, -1, -1)
        elif encoder.sees_rendering:
            rendered = generator.synthesize(w)
        w = encoder(images, rendered.detach(), w.detach())
        yield w
