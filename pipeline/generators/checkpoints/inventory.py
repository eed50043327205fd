"""Which generators are declared, where their weights are looked for, and whether those are as declared."""

from typing import Any

from pipeline.errors import ManifestError
from pipeline.files import sha256_file
from pipeline.generators.loading import find_generator, missing_weights
from pipeline.manifest import find_manifest, manifest_names


def inventory() -> list[dict[str, Any]]:
    """Return a row for every declared generator; `problem` is None where its weights are present."""
    return [row(name) for name in manifest_names("generators")]


def row(name: str) -> dict[str, Any]:
    """Describe one declared generator."""
    try:
        manifest, path = find_generator(name)
    except ManifestError as error:
        return {"name": name, "present": False, "problem": str(error)}
    present = path.is_file()
    return {
        "name": name,
        "family": manifest.family,
        "resolution": manifest.resolution,
        "description": manifest.description,
        "licence": manifest.licence,
        "homepage": manifest.homepage,
        "source_file": manifest.source_file,
        "weights": str(path),
        "present": present,
        "problem": None if present else missing_weights(manifest, path),
    }


def check(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Hold the digests of these generators' weights (if none is named: all present) against their manifests.

    Raises:
        ManifestError: there is no generator of that name.
    """
    rows = inventory()
    if not names:
        return [check_one(found) for found in rows if found["present"] or "weights" not in found]
    by_name = {found["name"]: found for found in rows}
    return [check_one(by_name.get(name) or row(str(find_manifest("generators", name)))) for name in names]


def check_one(found: dict[str, Any]) -> dict[str, Any]:
    """Check one generator: `problem` is None where its weights are those that were declared."""
    problem = found["problem"] or digest_problem(found["name"])
    return {"name": found["name"], "weights": found.get("weights"), "problem": problem}


def digest_problem(name: str) -> str | None:
    """Say what is wrong with weights that are there."""
    manifest, path = find_generator(name)
    if manifest.sha256 is None:
        return f"{path} has no declared digest: import it with `pipeline weights import FILE --as {name}`"
    if (digest := sha256_file(path)) == manifest.sha256:
        return None
    return (
        f"{path} is not the declared file: sha256 is {digest}, the manifest says {manifest.sha256}; "
        "import it again with --force"
    )
