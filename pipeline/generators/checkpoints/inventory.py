"""Which generators and encoders are declared, where their weights are, and whether those are as declared."""

from pathlib import Path
from typing import Any

from pipeline.errors import ManifestError
from pipeline.files import sha256_file, user_path
from pipeline.generators.loading import find_generator, missing_weights
from pipeline.manifest import (
    EncoderManifest,
    GeneratorManifest,
    find_manifest,
    manifest_names,
    parse_manifest,
    read_toml,
)


def inventory() -> list[dict[str, Any]]:
    """Return a row for every declared generator and encoder; `problem` is None where its weights are present."""
    return [row(name) for name in manifest_names("generators")] + [
        encoder_row(name) for name in manifest_names("encoders")
    ]


def row(name: str) -> dict[str, Any]:
    """Describe one declared generator."""
    try:
        manifest, path = find_generator(name)
    except ManifestError as error:
        return {"name": name, "kind": "generator", "present": False, "problem": str(error)}
    facts = described("generator", name, manifest, path, missing_weights(manifest, path))
    return facts | {"resolution": manifest.resolution}


def find_encoder(name_or_path: str) -> tuple[EncoderManifest, Path]:
    """Return an encoder's manifest and the file of its weights. Raises ManifestError."""
    path = find_manifest("encoders", name_or_path)
    manifest = parse_manifest(EncoderManifest, read_toml(path), path)
    return manifest, user_path(manifest.weights, path.parent)


def encoder_row(name: str) -> dict[str, Any]:
    """Describe one declared encoder."""
    try:
        manifest, path = find_encoder(name)
    except ManifestError as error:
        return {"name": name, "kind": "encoder", "present": False, "problem": str(error)}
    return described("encoder", name, manifest, path, f"no weights at {path}") | {"generator": manifest.generator}


def described(
    kind: str, name: str, manifest: GeneratorManifest | EncoderManifest, path: Path, missing: str
) -> dict[str, Any]:
    """What a manifest says of its weights at `path`, and `missing` as the problem where they are not there."""
    keys = ("family", "description", "licence", "homepage", "source_file")
    present = path.is_file()
    return {
        "name": name,
        "kind": kind,
        **{key: getattr(manifest, key) for key in keys},
        "weights": str(path),
        "present": present,
        "problem": None if present else missing,
    }


def check(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Hold the digests of weights of these names (if none is named: all present) against their manifests.

    Raises:
        ManifestError: there is neither a generator nor an encoder of that name.
    """
    rows = inventory()
    if not names:
        return [check_one(found) for found in rows if found["present"] or "weights" not in found]
    found = {name: [one for one in rows if one["name"] == name] for name in names}
    return [
        check_one(one) for name in names for one in found[name] or [row(str(find_manifest("generators", name)))]
    ]


def check_one(found: dict[str, Any]) -> dict[str, Any]:
    """Check one network: `problem` is None where its weights are those that were declared."""
    problem = found["problem"] or digest_problem(found["name"], found["kind"])
    return {"name": found["name"], "kind": found["kind"], "weights": found.get("weights"), "problem": problem}


def digest_problem(name: str, kind: str) -> str | None:
    """Say what is wrong with weights that are there."""
    manifest, path = find_encoder(name) if kind == "encoder" else find_generator(name)
    if manifest.sha256 is None:
        return f"{path} has no declared digest: import it with `pipeline weights import FILE --as {name}`"
    if (digest := sha256_file(path)) == manifest.sha256:
        return None
    return (
        f"{path} is not the declared file: sha256 is {digest}, the manifest says {manifest.sha256}; "
        "import it again with --force"
    )
