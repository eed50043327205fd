"""Results kept under a key of what they depend on, and what a shard set's own manifest says of its files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.config import digest_of
from pipeline.files import sha256_file
from pipeline.sealed import read_sealed, write_sealed
from pipeline.shards.manifest import SetManifest


def cached(path: Path, key: str, files: tuple[Path, ...], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result in `path` if it has this key and its files are as it left them; else compute and keep it."""
    kept = read_sealed(path)
    if (
        kept is not None
        and kept.get("key") == key
        and all(map(Path.is_file, files))
        and kept["files"] == digests(files)
    ):
        return dict(kept["result"])
    result = compute()
    write_sealed(path, {"key": key, "files": digests(files), "result": result})
    return result


def digests(files: tuple[Path, ...]) -> list[str]:
    """The digest of every file. Raises OSError where one is missing."""
    return [sha256_file(path) for path in files]


def set_digest(folder: Path, split: str) -> str:
    """Digest of a split's images: of the digests that the set's manifest.json lists.

    Raises:
        BuildError: the set has no manifest.json, or it is not as it was written.
    """
    shards = SetManifest(folder).shards
    return digest_of([[entry["path"], entry["sha256"]] for entry in shards if entry["split"] == split])
