"""Manifests of trained classifiers: how they are read and written."""

from pathlib import Path

from pydantic import Field
from torch import nn

from pipeline.classifiers.architectures import build_network
from pipeline.classifiers.base import LoadedClassifier
from pipeline.config import digest_of
from pipeline.devices import channels_last
from pipeline.errors import ManifestError, PipelineError, WeightsError
from pipeline.files import user_path
from pipeline.manifest import Manifest, parse_manifest, read_toml, write_toml
from pipeline.weights import read_weights, write_weights


class ClassifierManifest(Manifest):
    """A trained classifier: its architecture, its weights and what it was trained on."""

    architecture: str = Field(description="vgg5, vgg16, wideresnet or linear")
    weights: str = Field(description="safetensors file, relative to this manifest")
    sha256: str = Field(description="digest of the weights file", pattern=r"^[0-9a-f]{64}$")
    num_classes: int = Field(description="classes it tells apart", ge=2)
    classes: tuple[str, ...] = Field(default=(), description="names of the classes, where they are known")
    resolution: int = Field(description="height and width of the images it is given", ge=1)
    width: int = Field(default=0, description="channels; 0 is the architecture's own", ge=0)
    input_size: int = Field(default=0, description="size it shrinks images to before looking; 0 leaves them", ge=0)
    command: str = Field(default="", description="the command that made the weights")


def read_classifier(spec: str, num_classes: int, resolution: int) -> LoadedClassifier:
    """Build the classifier a manifest declares.

    Raises:
        ManifestError: it is not a manifest, or is for images of another size.
        WeightsError: the weights are missing, or not those it declares.
    """
    path = user_path(spec)
    if not path.is_file():
        raise ManifestError(
            f"there is no classifier at {path}: `pipeline evaluate` trains some, and writes their manifests to "
            f"BUILD/evaluate/classifiers"
        )
    manifest = parse_manifest(ClassifierManifest, read_toml(path), path)
    if manifest.resolution != resolution:
        raise ManifestError(
            f"classifier '{manifest.name}' is for images of {manifest.resolution}x{manifest.resolution}, and these "
            f"are {resolution}x{resolution}: train one on this build with `pipeline evaluate`"
        )
    try:
        network = build_network(
            manifest.architecture, manifest.num_classes, resolution, manifest.width, manifest.input_size
        )
    except PipelineError as error:
        raise ManifestError(f"{path}: {error}") from error
    weights = user_path(manifest.weights, path.parent)
    put_weights(network, weights, manifest.sha256)
    digest = digest_of([manifest.sha256, manifest.architecture, manifest.width, manifest.input_size])
    return LoadedClassifier(channels_last(network), manifest.name, digest, manifest.num_classes, manifest.classes)


def put_weights(network: nn.Module, weights: Path, sha256: str | None = None) -> None:
    """Load safetensors into a network. Raises WeightsError where they are another network's."""
    state = read_weights(weights, sha256)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise WeightsError(f"{weights} does not fit the network: {reason}") from error


def write_classifier(
    folder: Path,
    name: str,
    network: nn.Module,
    *,
    architecture: str,
    num_classes: int,
    resolution: int,
    classes: tuple[str, ...] = (),
    width: int = 0,
    input_size: int = 0,
    description: str = "",
    command: str = "",
) -> str:
    """Write NAME.safetensors and then NAME.toml, which declares it; return the digest of the weights."""
    weights = folder / f"{name}.safetensors"
    sha256 = write_weights(weights, network.state_dict())
    content = {
        "name": name,
        "description": description,
        "architecture": architecture,
        "weights": weights.name,
        "sha256": sha256,
        "num_classes": num_classes,
        "classes": list(classes) if len(classes) == num_classes else [],
        "resolution": resolution,
        "width": width,
        "input_size": input_size,
        "command": command,
    }
    path = folder / f"{name}.toml"
    parse_manifest(ClassifierManifest, content, path)
    write_toml(path, content)
    return sha256
