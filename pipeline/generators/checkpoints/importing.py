"""Imports a checkpoint: safetensors, a manifest and a picture of samples in the weights folder."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from torch import Tensor

from pipeline.errors import CheckpointError, ManifestError, PipelineError, WeightsError
from pipeline.files import remove, sha256_file, write_bytes
from pipeline.generators.checkpoints.other_files import folder
from pipeline.generators.checkpoints.recognition import Checkpoint, read_checkpoint
from pipeline.generators.layered import LayeredGenerator, StyleGenerator
from pipeline.generators.loading import check_sizes, family_class, forget_generators
from pipeline.images import Pixels, encode_png, grid, to_uint8
from pipeline.manifest import MANIFESTS, GeneratorManifest, parse_manifest, read_toml, weights_folder
from pipeline.weights import write_weights

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
FINE_FROM = 128  # AdvMix: layers of 128 x 128 and finer do not carry the label

# The picture: at most this many samples, fewer where they are large; each shown at no more than this size.
SAMPLES = 16
SAMPLE_PIXELS = 2**22
SAMPLE_SIZE = 256


@dataclass(frozen=True)
class Imported:
    """What an import left in the weights folder.

    Attributes:
        repeated: the same file was imported before, and everything was as it should be.
    """

    manifest: GeneratorManifest
    path: Path
    repeated: bool

    def summary(self) -> dict[str, Any]:
        """Return what the command shows."""
        manifest = self.manifest
        return {
            "name": manifest.name,
            "family": manifest.family,
            "format": manifest.source_format,
            "resolution": manifest.resolution,
            "num_ws": manifest.num_ws,
            "fine_layers": list(manifest.fine_layers),
            "weights": str(self.path.with_suffix(".safetensors")),
            "manifest": str(self.path),
            "samples": str(self.path.with_suffix(".png")),
            "notes": list(manifest.notes),
            "already_imported": self.repeated,
        }


def import_checkpoint(
    file: Path,
    name: str,
    *,
    fine_layers: tuple[int, ...] | None = None,
    force: bool = False,
    read: Callable[[Path], Checkpoint] = read_checkpoint,
) -> Imported:
    """Convert a checkpoint and declare it as generator `name`. Nothing in the file is run.

    What a shipped manifest of this name says (fine layers, licence, homepage) is kept, and must fit the file.
    `read` finds the generator in the file.

    Raises:
        CheckpointError: the file is missing, damaged or of no known kind.
        ManifestError: the name is taken, or the shipped manifest of that name describes something else.
        WeightsError: its tensors are not those of the network.
    """
    if not NAME.fullmatch(name):
        raise ManifestError(f"--as {name}: a name has letters, digits, '-' and '_' only")
    if file.is_dir():
        raise CheckpointError(f"{file}: {folder(file)}")
    if not file.is_file():
        raise CheckpointError(f"no file at {file}: give the path of the checkpoint")
    path = weights_folder() / f"{name}.toml"
    shipped = shipped_manifest(name)
    source_sha256 = sha256_file(file)
    if not force and (done := earlier_import(path, source_sha256, fine_layers)) is not None:
        return Imported(done, path, repeated=True)
    checkpoint = read(file)
    if shipped is not None and shipped.family != checkpoint.family:
        raise ManifestError(
            f"{file} is a {checkpoint.family} network ({checkpoint.format}), but '{name}' is declared as "
            f"{shipped.family}, to be made of {shipped.source_file}: choose another --as"
        )
    network = built(checkpoint, file)
    if fine_layers is None:
        fine_layers = shipped.fine_layers if shipped else default_fine_layers(network)
    content: dict[str, Any] = shipped.model_dump(exclude_defaults=True) if shipped else {"description": ""}
    content |= {
        "name": name,
        "family": checkpoint.family,
        "resolution": shipped.resolution if shipped else network.resolution,
        "num_ws": (shipped.num_ws if shipped else None) or network.num_ws,
        "fine_layers": fine_layers,
        "conv_clamp": checkpoint.conv_clamp,
        "settings": checkpoint.settings,
        "source_file": file.name,
        "source_format": checkpoint.format,
        "source_sha256": source_sha256,
        "notes": checkpoint.notes,
    }
    check_sizes(parse_manifest(GeneratorManifest, content, file), network, file)
    manifest = write_import(path, content, checkpoint.state, network)
    forget_generators()
    return Imported(manifest, path, repeated=False)


def built(checkpoint: Checkpoint, file: Path) -> LayeredGenerator:
    """Load the weights into their network, which checks every key and shape."""
    try:
        settings = {"conv_clamp": checkpoint.conv_clamp, **checkpoint.settings}
        return family_class(checkpoint.family).from_state_dict(checkpoint.state, **settings)
    except WeightsError as error:
        raise WeightsError(f"{file} ({checkpoint.format}): {error}") from error


def shipped_manifest(name: str) -> GeneratorManifest | None:
    """Return the shipped manifest of this name, if there is one, and if it waits for an import."""
    path = MANIFESTS / "generators" / f"{name}.toml"
    if not path.is_file():
        return None
    manifest = parse_manifest(GeneratorManifest, read_toml(path), path)
    if manifest.weights is not None:
        raise ManifestError(f"--as {name}: a generator of this name comes with its weights; choose another name")
    return manifest


def earlier_import(path: Path, source_sha256: str, fine_layers: tuple[int, ...] | None) -> GeneratorManifest | None:
    """Return the manifest of an earlier import of the same file with the same fine layers, if it is whole.

    Raises:
        ManifestError: the name is taken by something else.
    """
    if not path.is_file() and not path.with_suffix(".safetensors").is_file():
        return None
    try:
        manifest = parse_manifest(GeneratorManifest, read_toml(path), path)
    except ManifestError:
        manifest = None
    weights, picture = path.with_suffix(".safetensors"), path.with_suffix(".png")
    if manifest and manifest.source_sha256 == source_sha256 and fine_layers in (None, manifest.fine_layers):
        if weights.is_file() and picture.is_file() and sha256_file(weights) == manifest.sha256:
            return manifest
        return None  # the same file, but something is missing or damaged: import it again
    raise ManifestError(f"{weights} was imported from another file or otherwise: --force replaces it")


def default_fine_layers(network: LayeredGenerator) -> tuple[int, ...]:
    """0-based layers of 128 x 128 and finer, or of the last resolution where that is below 256.

    Networks without a style for each layer: the last one.
    """
    if not isinstance(network, StyleGenerator):
        return (network.num_ws - 1,)
    from_resolution = FINE_FROM if network.resolution >= 2 * FINE_FROM else network.resolution
    return tuple(row for row in range(network.num_ws) if network.style_resolution(row) >= from_resolution)


def write_import(
    path: Path, content: dict[str, Any], state: dict[str, Tensor], network: LayeredGenerator
) -> GeneratorManifest:
    """Write weights, picture and, last, the manifest: a generator without one is not imported."""
    remove(path)
    weights = path.with_suffix(".safetensors")
    content = {key: value for key, value in content.items() if value not in (None, "", {}, ())}
    content |= {"weights": weights.name, "sha256": write_weights(weights, state)}
    write_bytes(path.with_suffix(".png"), encode_png(sample_grid(network)))
    content |= {key: list(value) for key, value in content.items() if isinstance(value, tuple)}
    write_bytes(path, tomli_w.dumps(content).encode())
    return parse_manifest(GeneratorManifest, content, path)


def sample_grid(network: LayeredGenerator) -> Pixels:
    """Render samples of one seed, labels from first to last, as uint8 [H, W, 3]; large images are shown smaller."""
    count = max(4, min(SAMPLES, SAMPLE_PIXELS // network.resolution**2))
    z = torch.randn(count, network.z_dim, generator=torch.Generator().manual_seed(0))
    labels = torch.linspace(0, max(network.c_dim - 1, 0), count).long()
    c = torch.eye(network.c_dim)[labels] if network.c_dim else None
    images = []
    with torch.inference_mode():
        w = network.map(z, c)
        for one in w.split(1):
            image = network.synthesize(one)
            if not image.isfinite().all():
                raise WeightsError("its samples are not finite numbers: the weights are damaged")
            if network.resolution > SAMPLE_SIZE:
                image = torch.nn.functional.interpolate(image, size=SAMPLE_SIZE, mode="area")
            images.append(to_uint8(image)[0])
    return grid(np.stack(images), columns=4)


def parse_layers(text: str) -> tuple[int, ...]:
    """Read layers written as 8-13 or 5,7,10-17.

    Raises:
        PipelineError: it is written otherwise.
    """
    layers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})(?:-(\d{1,3}))?\s*", part)
        if match is None:
            raise PipelineError(f"--fine-layers {text}: write layers as 10-17 or as 5,7,10-17")
        layers |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    if not layers:
        raise PipelineError(f"--fine-layers {text}: names no layer; write them as 10-17 or as 5,7,10-17")
    return tuple(sorted(layers))
