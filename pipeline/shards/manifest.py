"""manifest.json of a shard set: written last, so a set that has one is complete."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pipeline.errors import BuildError
from pipeline.files import sha256_file, stamp_of
from pipeline.sealed import read_sealed, write_sealed
from pipeline.shards.base import ShardFile


class SetManifest:
    """What manifest.json says, checked against its own digest.

    Attributes:
        shards: `path`, `split`, `samples`, `bytes` and `sha256` of every shard.
        others: `path`, `bytes` and `sha256` of every other file.
    """

    def __init__(self, root: Path):
        """Read the manifest of a set. Raises BuildError if there is none, or it is not as it was written."""
        path = root / "manifest.json"
        content = read_sealed(path)
        if content is None:
            problem = f"{path} differs from what was written" if path.is_file() else "it has no manifest.json"
            raise BuildError(f"{root} is not complete: {problem}: run `pipeline shard` again")
        self.root = root
        self.shards: list[dict[str, Any]] = content["shards"]
        self.others: list[dict[str, Any]] = content["others"]

    def files(self, pattern: str) -> list[Path]:
        """The shards whose path fits a pattern like `wds/*.tar`, in order."""
        return [self.root / entry["path"] for entry in self.shards if fnmatchcase(entry["path"], pattern)]

    def check(self, *paths: Path) -> None:
        """Compare files of the set with their digests; once a process, as long as they do not change.

        Raises:
            BuildError: one is missing, or differs from what was written.
        """
        entries = {self.root / entry["path"]: entry for entry in (*self.shards, *self.others)}
        for path in paths:
            stamp = stamp_of(path)
            if stamp and _checked.get(path) == (stamp, entries[path]["sha256"]):
                continue
            if (problem := problem_of_file(path, entries[path])) is not None:
                raise BuildError(f"{problem}: run `pipeline shard` again")
            _checked[path] = (stamp, entries[path]["sha256"])


_checked: dict[Path, tuple[tuple[int, ...], str]] = {}


def write_manifest(root: Path, files: Sequence[ShardFile], others: Sequence[Path], key: str) -> None:
    """List every shard with its samples, size and sha256, and every other file with size and sha256."""
    listed = [
        {"path": path.relative_to(root).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(others)
    ]
    content = {"build_key": key, "shards": [file.as_dict() for file in files], "others": listed}
    write_sealed(root / "manifest.json", content)


def check_manifest(root: Path) -> list[str]:
    """Rehash every file of a shard set; return what is wrong, one sentence each."""
    try:
        manifest = SetManifest(root)
    except BuildError as error:
        return [str(error)]
    entries = (*manifest.shards, *manifest.others)
    problems = (problem_of_file(root / entry["path"], entry) for entry in entries)
    return [problem for problem in problems if problem is not None]


def problem_of_file(path: Path, entry: dict[str, Any]) -> str | None:
    """What is wrong with a file that a manifest lists; None if it is as it was written."""
    if not path.is_file():
        return f"{path} is missing"
    if path.stat().st_size != entry["bytes"] or sha256_file(path) != entry["sha256"]:
        return f"{path} differs from what was written"
    return None
