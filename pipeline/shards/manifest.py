"""manifest.json of a shard set: written last, so a set that has one is complete."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.files import sha256_file, write_bytes
from pipeline.shards.base import ShardFile


def write_manifest(root: Path, files: Sequence[ShardFile], key: str) -> None:
    """List every shard with its samples, size and sha256, and every other file with size and sha256."""
    shards = {file.path for file in files}
    others = [
        {"path": name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(root.rglob("*"))
        if path.is_file() and (name := path.relative_to(root).as_posix()) not in shards and name != "manifest.json"
    ]
    content = {"build_key": key, "shards": [file.as_dict() for file in files], "others": others}
    write_bytes(root / "manifest.json", (json.dumps(content, indent=1) + "\n").encode())


def check_manifest(root: Path) -> list[str]:
    """Rehash every file of a shard set; return what is wrong, one sentence each."""
    path = root / "manifest.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        entries = [*content["shards"], *content["others"]]
    except FileNotFoundError:
        return [f"{root} is not complete: it has no manifest.json"]
    except (OSError, ValueError, KeyError) as error:
        return [f"{path} cannot be read: {error}"]
    problems = []
    for entry in entries:
        file = root / entry["path"]
        if not file.is_file():
            problems.append(f"{file} is missing")
        elif file.stat().st_size != entry["bytes"] or sha256_file(file) != entry["sha256"]:
            problems.append(f"{file} differs from what was written")
    listed = {entry["path"] for entry in entries} | {"manifest.json"}
    problems += [
        f"{file} does not belong to the set"
        for file in sorted(root.rglob("*"))
        if file.is_file() and file.relative_to(root).as_posix() not in listed
    ]
    return problems
