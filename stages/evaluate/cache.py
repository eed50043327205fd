"""Results kept under a key of what they depend on, and what a shard set's own manifest says of its files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.config import digest_of
from pipeline.errors import PipelineError
from pipeline.files import sha256_file, write_bytes


def cached(path: Path, key: str, files: tuple[Path, ...], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result in `path` if it has this key and its files are as it left them; else compute and keep it."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == key and kept["files"] == digests(files):
            return dict(kept["result"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or cut short, or of another kind: done again
    result = compute()
    content = {"key": key, "files": digests(files), "result": result}
    write_bytes(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    return result


def digests(files: tuple[Path, ...]) -> list[str]:
    """The digest of every file. Raises OSError where one is missing."""
    return [sha256_file(path) for path in files]


def set_digest(folder: Path, split: str) -> str:
    """Digest of a split's images: of the digests that the set's manifest.json lists.

    Raises:
        PipelineError: the set has no readable manifest.json.
    """
    try:
        shards = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["shards"]
        return digest_of([[entry["path"], entry["sha256"]] for entry in shards if entry["split"] == split])
    except (OSError, ValueError, KeyError) as error:
        raise PipelineError(
            f"the shard set in {folder} is not complete, for its manifest.json cannot be read: "
            f"run `pipeline shard` again"
        ) from error
