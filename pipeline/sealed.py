"""JSON files that carry the digest of their own content, so that a damaged one is told from a whole one."""

import json
from pathlib import Path
from typing import Any

from pipeline.config import digest_of
from pipeline.files import write_bytes

Content = dict[str, Any]


def sealed(content: Content) -> bytes:
    """The bytes of a sealed file: keys in order, and `sha256`, the digest of all others."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return written({**rest, "sha256": digest_of(rest)})


def written(content: Content) -> bytes:
    """The one way in which a content is written."""
    return (json.dumps(content, sort_keys=True, indent=1) + "\n").encode()


def write_sealed(path: Path, content: Content) -> None:
    """Write a sealed file, whole or not at all."""
    write_bytes(path, sealed(content))


def read_sealed(path: Path, plain: frozenset[str] = frozenset()) -> Content | None:
    """The content of a sealed file; None if there is none, or a single byte of it is not as it was written.

    One without a digest, of before there were any, is taken if it has exactly the keys `plain`.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)
        if not isinstance(content, dict):
            return None
        whole = (written(content) if plain and content.keys() == plain else sealed(content)) == data
    except (OSError, ValueError, RecursionError):
        return None
    return content if whole else None
