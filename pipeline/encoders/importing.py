"""Imports an encoder with its generator: safetensors and a manifest in the weights folder, under `encoders`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.encoders import ImageEncoder, build_encoder, encode, open_encoder
from pipeline.encoders.checkpoints import EncoderCheckpoint, read_encoder_checkpoint
from pipeline.errors import CheckpointError, ManifestError, PipelineError, WeightsError
from pipeline.files import remove, sha256_file, write_bytes
from pipeline.generators import LoadedGenerator, open_generator
from pipeline.generators.checkpoints.importing import NAME, Imported, built, import_checkpoint
from pipeline.generators.checkpoints.recognition import Checkpoint
from pipeline.generators.layered import LayeredGenerator
from pipeline.generators.loading import find_generator
from pipeline.manifest import MANIFESTS, EncoderManifest, parse_manifest, read_toml, weights_folder
from pipeline.weights import write_weights

FAMILY = "psp"
# Mean difference between renderings of the mean w up to which two generators are the same one, differently saved.
SAME_RENDERING = 0.02
SAME_TENSORS = 1e-4


@dataclass(frozen=True)
class ImportedEncoder:
    """What an import left in the weights folder.

    Attributes:
        generator: name of the encoder's generator.
        generator_format: what its generator was imported from just now; empty if it was there before.
        repeated: the same file was imported before, and everything was as it should be.
        notes: what a user should know.
    """

    manifest: EncoderManifest
    path: Path
    generator: str
    generator_format: str = ""
    repeated: bool = False
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return what the command shows."""
        return {
            "name": self.manifest.name,
            "kind": "encoder",
            "format": self.manifest.source_format,
            "passes": self.manifest.passes,
            "weights": str(self.path.with_suffix(".safetensors")),
            "manifest": str(self.path),
            "generator": self.generator,
            "generator_imported": bool(self.generator_format),
            "use": f"pipeline invert --generator {self.generator} --encoder {self.manifest.name}",
            "already_imported": self.repeated,
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def import_weights(
    file: Path,
    name: str,
    *,
    fine_layers: tuple[int, ...] | None = None,
    generator: str | None = None,
    force: bool = False,
) -> Imported | ImportedEncoder:
    """Convert a checkpoint and declare it: a generator, or an encoder with its generator. Nothing in it is run.

    Args:
        generator: imported generator that an encoder is for; None: the one in the file.

    Raises:
        CheckpointError: the file is missing, damaged or of no known kind.
        ManifestError: the name is taken, or a manifest describes something else.
        WeightsError: tensors are not those of the network, or encoder and generator do not belong together.
    """
    if NAME.fullmatch(name) and file.is_file() and (checkpoint := read_encoder_checkpoint(file)) is not None:
        return import_encoder(file, name, checkpoint, fine_layers=fine_layers, generator=generator, force=force)
    if generator is not None and file.is_file():
        raise PipelineError(f"--generator {generator}: {file} holds no encoder of pSp's, e4e's or ReStyle's")
    return import_checkpoint(file, name, fine_layers=fine_layers, force=force)


def import_encoder(
    file: Path,
    name: str,
    checkpoint: EncoderCheckpoint,
    *,
    fine_layers: tuple[int, ...] | None,
    generator: str | None,
    force: bool,
) -> ImportedEncoder:
    """Declare an encoder, and the generator in its file unless that is there already."""
    if (MANIFESTS / "encoders" / f"{name}.toml").is_file():
        raise ManifestError(f"--as {name}: an encoder of this name comes with its weights; choose another name")
    path = weights_folder() / "encoders" / f"{name}.toml"
    source_sha256 = sha256_file(file)
    if not force and (done := earlier_import(path, source_sha256, generator)) is not None:
        return ImportedEncoder(done, path, done.generator, repeated=True, notes=checkpoint.notes)
    if generator is not None:
        if fine_layers is not None:
            raise PipelineError(f"--fine-layers goes with an import of a generator, and {generator} is imported")
        loaded, new = open_generator(generator), ""
        check_same(file, checkpoint, loaded, generator)
    else:
        generator, new = its_generator(file, name, checkpoint, fine_layers, force)
        loaded = open_generator(generator)
    network = loaded.network
    for option, layers in checkpoint.layers.items():
        if layers != network.num_ws:
            raise WeightsError(
                f"{file}: its option {option} stands for {layers} layers of w+, but generator '{generator}' has "
                f"{network.num_ws}: they do not belong together"
            )
    try:
        encoder = build_encoder(FAMILY, checkpoint.state, network.num_ws, checkpoint.settings)
    except WeightsError as error:
        raise WeightsError(f"{file} ({checkpoint.format}): {error}") from error
    if encoder.w_dim != network.w_dim:
        raise WeightsError(
            f"{file}: its w has {encoder.w_dim} numbers, that of generator '{generator}' {network.w_dim}: they do "
            "not belong together"
        )
    check_finite(file, encoder, network)
    content = {
        "name": name,
        "description": f"{checkpoint.format} encoder of {file.name}",
        "family": FAMILY,
        "generator": generator,
        "generator_sha256": loaded.sha256,
        "passes": checkpoint.passes,
        "settings": checkpoint.settings,
        "source_file": file.name,
        "source_format": checkpoint.format,
        "source_sha256": source_sha256,
    }
    manifest = write_import(path, content, checkpoint.state)
    open_encoder.cache_clear()
    notes = checkpoint.notes + (loaded.manifest.notes if new else ())
    return ImportedEncoder(manifest, path, generator, new, notes=notes)


def earlier_import(path: Path, source_sha256: str, generator: str | None) -> EncoderManifest | None:
    """Return the manifest of an earlier import of the same file for the same generator, if it is whole.

    Raises:
        ManifestError: the name is taken by something else.
    """
    weights = path.with_suffix(".safetensors")
    if not path.is_file() and not weights.is_file():
        return None
    try:
        manifest = parse_manifest(EncoderManifest, read_toml(path), path)
    except ManifestError:
        manifest = None
    if manifest is None or manifest.source_sha256 != source_sha256 or generator not in (None, manifest.generator):
        raise ManifestError(f"{weights} was imported from another file or otherwise: --force replaces it")
    try:
        its = find_generator(manifest.generator)[1]
    except PipelineError:
        return None
    declared = ((weights, manifest.sha256), (its, manifest.generator_sha256))
    return manifest if all(file.is_file() and sha256_file(file) == digest for file, digest in declared) else None


def its_generator(
    file: Path, name: str, checkpoint: EncoderCheckpoint, fine_layers: tuple[int, ...] | None, force: bool
) -> tuple[str, str]:
    """Find the generator of the file among the imported ones, or import it under the encoder's name.

    Returns:
        Its name, and what it was imported from now, or nothing.
    """
    inside = checkpoint.generator
    if inside is None:
        raise CheckpointError(
            f"{file} holds a {checkpoint.format} encoder alone: import its generator, and name it by --generator"
        )
    if fine_layers is None and (found := equal_generator(inside)) is not None:
        return found, ""
    form = f"{inside.format} in a checkpoint of {checkpoint.format}"
    inside = replace(inside, format=form)
    import_checkpoint(file, name, fine_layers=fine_layers, force=force, read=lambda _: inside)
    return name, form


def equal_generator(inside: Checkpoint) -> str | None:
    """Name of an imported generator whose tensors are those of `inside`, if there is one."""
    for path in sorted(weights_folder().glob("*.toml")):
        try:
            manifest, weights = find_generator(path.stem)
            same = (manifest.family, manifest.settings) == (inside.family, inside.settings)
            if same and weights.is_file() and equal_tensors(weights, inside.state):
                return path.stem
        except (ManifestError, SafetensorError, OSError):
            continue  # `pipeline weights check` tells what is wrong with it
    return None


def equal_tensors(weights: Path, state: Mapping[str, Tensor]) -> bool:
    """Tell whether a file has a network's weights; the mean w, which may be estimated, is left out.

    It is read as far as the first difference.
    """
    with safe_open(weights, framework="pt") as file:
        if set(file.keys()) != state.keys():
            return False
        for key, tensor in state.items():
            if tuple(file.get_slice(key).get_shape()) != tuple(tensor.shape):
                return False
        return all(near(file.get_tensor(key), state[key]) for key in state if key != "mapping.w_avg")


def near(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors of one shape are the same but for rounding."""
    if not one.numel():
        return True
    return bool((one.float() - other.float()).abs().amax() <= SAME_TENSORS * other.float().abs().amax())


def check_same(file: Path, checkpoint: EncoderCheckpoint, loaded: LoadedGenerator, name: str) -> None:
    """Raise WeightsError unless a generator renders as the one in the file, if there is one."""
    if checkpoint.generator is None:
        return
    network, inside = loaded.network, built(checkpoint.generator, file)
    sizes = [(net.resolution, net.num_ws, net.w_dim) for net in (network, inside)]
    if sizes[0] != sizes[1]:
        shown = [f"{size}x{size}, {layers} layers of w+, w of {numbers}" for size, layers, numbers in sizes]
        raise WeightsError(
            f"{file}: its own generator is {shown[1]}, but generator '{name}' is {shown[0]}: they do not belong "
            "together"
        )
    w = checkpoint.generator.state["mapping.w_avg"].expand(1, inside.num_ws, -1)
    with torch.inference_mode():
        difference = float((network.synthesize(w) - inside.synthesize(w)).abs().mean())
    if not difference <= SAME_RENDERING:
        raise WeightsError(
            f"{file}: generator '{name}' is not the one in it, the mean w renders otherwise (by {difference:.3f} "
            "on average): they do not belong together; leave --generator out, and the one in the file is imported"
        )


def check_finite(file: Path, encoder: ImageEncoder, network: LayeredGenerator) -> None:
    """Encode one rendering. Raises WeightsError if the codes are no numbers."""
    with torch.inference_mode():
        images = network.synthesize(encoder.start(1)).clamp(-1, 1)
        if not encode(encoder, network, images).isfinite().all():
            raise WeightsError(f"{file}: its codes are not finite numbers: the weights are damaged")


def write_import(path: Path, content: Mapping[str, Any], state: Mapping[str, Tensor]) -> EncoderManifest:
    """Write weights and, last, the manifest: an encoder without one is not imported."""
    remove(path)
    weights = path.with_suffix(".safetensors")
    weights.parent.mkdir(parents=True, exist_ok=True)
    content = {**content, "weights": weights.name, "sha256": write_weights(weights, state)}
    write_bytes(path, tomli_w.dumps(content).encode())
    return parse_manifest(EncoderManifest, content, path)
