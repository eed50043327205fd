"""Typed manifests: TOML files that declare which datasets, generators and perceptual nets exist."""

import difflib
import hashlib
import os
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from pipeline.errors import ManifestError, PipelineError
from pipeline.files import user_path, write_bytes

MANIFESTS = Path(__file__).resolve().parent.parent / "manifests"


class Manifest(BaseModel):
    """What every manifest has. Unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="how commands refer to it", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    description: str = Field(default="", description="one sentence for listings")
    licence: str = Field(default="", description="licence of the data or weights")
    homepage: str = Field(default="", description="where it is published")

    @field_validator("*", mode="before")
    @classmethod
    def refuse_empty(cls, value: Any, info: ValidationInfo) -> Any:
        """What a manifest leaves unset it does not name: an empty text would mean the manifest's own folder."""
        if value == "" and cls.model_fields[info.field_name or ""].default != "":
            raise ValueError("empty, give it a value or leave the key out")
        return value


class DatasetManifest(Manifest):
    """A dataset: how its files are laid out and which generator is meant for it."""

    format: str = Field(description="on-disk layout, one of those that docs/datasets.md lists")
    resolution: int = Field(description="images are delivered as resolution x resolution pixels", ge=4)
    classes: tuple[str, ...] = Field(default=(), description="class names in the order of the labels")
    generator: str | None = Field(default=None, description="generator manifest to invert into")
    perceptual: str | None = Field(default=None, description="perceptual net that measures distance")
    encoder: str | None = Field(default=None, description="encoder from its images to w+ of that generator")
    label: str | None = Field(default=None, description="attribute that is the label, where there are several")

    @field_validator("label")
    @classmethod
    def check_label(cls, label: str | None) -> str | None:
        """Refuse a choice of label; layouts that have several replace this."""
        if label is not None:
            raise ValueError("this dataset has one label only, leave it out")
        return label


class GeneratorManifest(Manifest):
    """A generator: its weights and which of its layers do not carry the label."""

    family: str = Field(description="network family, e.g. stylegan2")
    weights: str | None = Field(
        default=None,
        description="safetensors file, relative to this manifest; left out: NAME.safetensors in the weights folder",
    )
    sha256: str | None = Field(default=None, description="digest of the weights file", pattern=r"^[0-9a-f]{64}$")
    resolution: int = Field(description="height and width of its images", ge=4)
    num_ws: int | None = Field(default=None, description="layers of its w+", ge=1)
    fine_layers: tuple[int, ...] = Field(description="0-based w+ layers that do not carry the label")
    conv_clamp: float | None = Field(default=None, description="bound on activations; official fp16: 256")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="what its network differs in from its family's usual one"
    )
    shifted_from: str | None = Field(default=None, description="digest of the weights it was fine-tuned from")
    source_file: str = Field(default="", description="name of the file to import, as it is published")
    source_url: str = Field(default="", description="page to download that file from")
    source_format: str = Field(default="", description="what kind of checkpoint that file is")
    source_sha256: str | None = Field(default=None, description="digest of the imported file")
    notes: tuple[str, ...] = Field(
        default=(), description="what its import had to make up, or found in an odd place"
    )
    command: str = Field(default="", description="the command that made the weights")


def network_settings(manifest: GeneratorManifest) -> dict[str, Any]:
    """What a manifest says of its network beside the weights, for a manifest of one like it."""
    return {key: value for key in ("conv_clamp", "settings") if (value := getattr(manifest, key))}


class PerceptualManifest(Manifest):
    """A perceptual net in LPIPS form."""

    family: str = Field(description="network family: `small` or `vgg16`")
    weights: str | None = Field(default=None, description="safetensors file, relative to this manifest")
    sha256: str | None = Field(default=None, description="digest of the weights file")
    command: str = Field(default="", description="the command that made the weights")


class EncoderManifest(Manifest):
    """An encoder from images to w+."""

    family: str = Field(
        default="bies", description="network family: `bies` (train-encoder's) or `psp` (pSp's, e4e's and ReStyle's)"
    )
    weights: str = Field(description="safetensors file, relative to this manifest")
    sha256: str = Field(description="digest of the weights file", pattern=r"^[0-9a-f]{64}$")
    generator: str = Field(default="", description="name that its generator had when it was imported")
    generator_sha256: str = Field(description="digest of the generator it was trained against")
    passes: int = Field(description="corrections it makes", ge=1)
    settings: dict[str, Any] = Field(
        default_factory=dict, description="what its network differs in from its family's usual one"
    )
    source_file: str = Field(default="", description="name of the imported file")
    source_format: str = Field(default="", description="what kind of checkpoint that file is")
    source_sha256: str | None = Field(default=None, description="digest of the imported file")
    command: str = Field(default="", description="the command that made the weights")


M = TypeVar("M", bound=Manifest)


def weights_folder() -> Path:
    """Where imported networks and their manifests are: $ONMANIFOLD_WEIGHTS, or in the user's data folder.

    A user without a home folder, as in some containers, has ./weights.
    """
    if named := os.environ.get("ONMANIFOLD_WEIGHTS"):
        return user_path(named)
    try:
        return user_path("~/.local/share/onmanifold/weights")
    except PipelineError:
        return Path("weights").absolute()


def manifest_folders(kind: str) -> tuple[Path, ...]:
    """Return where manifests of a kind are looked for: of generators and encoders, the imported ones come first."""
    imported = {"generators": weights_folder(), "encoders": weights_folder() / "encoders"}
    return (imported[kind], MANIFESTS / kind) if kind in imported else (MANIFESTS / kind,)


def manifest_names(kind: str) -> list[str]:
    """Names of the declared manifests of a kind: `datasets`, `generators` or `perceptual`."""
    return sorted({path.stem for folder in manifest_folders(kind) for path in folder.glob("*.toml")})


def find_manifest(kind: str, name_or_path: str) -> Path:
    """Return the file of a manifest given by name or by path (anything ending in .toml).

    Raises:
        ManifestError: there is no such manifest; the message holds the nearest names.
    """
    if name_or_path.endswith(".toml"):
        path = user_path(name_or_path)
        if not path.is_file():
            raise ManifestError(f"no manifest at {path}: check the path, or write one (docs/datasets.md)")
        return path
    if Path(name_or_path).name == name_or_path:
        for folder in manifest_folders(kind):
            if (path := folder / f"{name_or_path}.toml").is_file():
                return path
    names = manifest_names(kind)
    near = difflib.get_close_matches(name_or_path, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"declared are: {', '.join(names) or 'none'}."
    raise ManifestError(
        f"there is no {kind.removesuffix('s')} named '{name_or_path}'; {hint} "
        f"A path to a manifest of your own (NAME.toml) works too."
    )


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; one that begins with the digest of its other lines must have it.

    Raises:
        ManifestError: it has a syntax error (the message tells the place), or is not as it was written.
    """
    try:
        data = path.read_bytes()
        first, _, rest = data.partition(b"\n")
        if first.startswith(b"digest = "):
            if first != digest_line(rest):
                raise ManifestError(
                    f"{path} differs from what was written: make it again, or take out its first line (digest) if "
                    f"you changed it yourself"
                )
            data = rest
        return tomllib.loads(data.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        hint = (
            "; write paths with /, or in single quotes, for \\ begins a code in double ones"
            if b"\\" in data
            else ""
        )
        raise ManifestError(f"{path} is not valid TOML: {error}{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot read the manifest {path}: {error}") from error


def write_toml(path: Path, content: dict[str, Any]) -> None:
    """Write a manifest, its first line the digest of the others."""
    import tomli_w

    data = tomli_w.dumps(content).encode()
    write_bytes(path, digest_line(data) + b"\n" + data)


def digest_line(data: bytes) -> bytes:
    """What a manifest of these lines begins with."""
    return f'digest = "{hashlib.sha256(data).hexdigest()}"'.encode()


def parse_manifest(model: type[M], content: dict[str, Any], path: Path) -> M:
    """Validate a manifest's content. Raises ManifestError naming each key and what it means."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ManifestError(f"{path}: {describe_validation_error(model, error)}") from error


def describe_validation_error(model: type[BaseModel], error: ValidationError) -> str:
    """One sentence: every wrong key, what is wrong with it, and what the key means."""
    fields = model.model_fields
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        top = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(top, list(fields), n=1)
            parts.append(f"unknown key '{key}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
        elif item["type"] == "missing":
            parts.append(f"key '{key}' is missing ({fields[top].description})")
        else:
            meaning = fields[top].description if top in fields else None
            problem = item["msg"].removeprefix("Value error, ")
            parts.append(f"key '{key}' = {item['input']!r}: {problem}" + (f" ({meaning})" if meaning else ""))
    return "; ".join(parts)
