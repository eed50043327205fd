"""Encoders from images to w+, loaded by manifest name."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from pipeline.encoders.network import Encoder
from pipeline.errors import ManifestError
from pipeline.generators import Generator, open_generator
from pipeline.manifest import EncoderManifest, find_manifest, parse_manifest, read_toml
from pipeline.weights import read_weights

__all__ = ["Encoder", "LoadedEncoder", "encode", "load_encoder", "open_encoder", "read_encoder"]


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder with what its manifest says of it.

    Attributes:
        passes: corrections it was trained for.
        sha256: digest of the weights.
    """

    network: Encoder
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
        raise ManifestError(
            f"encoder '{manifest.name}' was trained for another generator than '{generator}': "
            f"train one with `pipeline train-encoder --generator {generator}`, or use --method lpips"
        )
    network = read_network(path, manifest, loaded.network.num_ws).to(device)
    return LoadedEncoder(network, manifest, manifest.passes, manifest.sha256)


def read_encoder(name_or_path: str, generator: Generator) -> Encoder:
    """Read an encoder to train it further, for this generator or another of its sizes.

    Raises:
        ManifestError: no such encoder, or its sizes are not the generator's.
        WeightsError: the weights are missing, damaged or another file than declared.
    """
    path = find_manifest("encoders", name_or_path)
    encoder = read_network(path, parse_manifest(EncoderManifest, read_toml(path), path), generator.num_ws)
    if (encoder.resolution, encoder.w_dim) != (generator.resolution, generator.w_dim):
        raise ManifestError(
            f"encoder '{name_or_path}' takes {encoder.resolution} pixels to w of {encoder.w_dim} numbers, the "
            f"generator's are {generator.resolution} and {generator.w_dim}: begin without it"
        )
    return encoder


def read_network(path: Path, manifest: EncoderManifest, num_ws: int) -> Encoder:
    """Read the weights that the manifest at `path` names. Raises WeightsError."""
    state = read_weights((path.parent / Path(manifest.weights).expanduser()).resolve(), manifest.sha256)
    return Encoder.from_state_dict(state, num_ws)


def load_encoder(name_or_path: str, generator: str, device: str = "cpu") -> Encoder:
    """Load an encoder by manifest name or path."""
    return open_encoder(name_or_path, generator, device).network


def encode(encoder: Encoder, generator: Generator, images: Tensor, passes: int = 1) -> Tensor:
    """Encode images [B, 3, H, W] in [-1, 1] as w+ [B, num_ws, w_dim]."""
    *_, w = passes_of(encoder, generator, images, passes)
    return w


def passes_of(encoder: Encoder, generator: Generator, images: Tensor, passes: int) -> Iterator[Tensor]:
    """The w+ after each pass. A pass takes the last one's w+ as given: no gradient flows from pass to pass."""
    w = encoder.start(len(images))
    for number in range(passes):
        if number == 0:
            rendered = generator.synthesize(w[:1]).expand(len(images), -1, -1, -1)
        else:
            rendered = generator.synthesize(w)
        w = encoder(images, rendered.detach().clamp(-1, 1), w.detach())
        yield w
