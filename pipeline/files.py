"""Files that are either whole or absent: temporary name, fsync, rename."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.errors import PipelineError

PARTIAL = ".partial"


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def expanded(text: str | Path) -> Path:
    """A path that a user typed, with the home folder for `~`. Raises PipelineError where none is known."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise PipelineError(
            f"'{text}': the home folder that ~ stands for is not known: give the whole path, or set HOME"
        ) from error


def user_path(text: str | Path, below: Path | None = None) -> Path:
    """The file that a user means, as an absolute path without links; what is relative lies below `below`.

    Args:
        below: folder that relative paths start from; the present one where it is not given.

    Raises:
        PipelineError: the path begins with `~`, and no home folder is known.
    """
    path = expanded(text)
    return Path(os.path.realpath(path if below is None else below / path))  # goes through loops of links too


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_write(path) as file:
        file.write(data)


@contextmanager
def atomic_folder(path: Path, workspace: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `path` when the block ends without an error.

    It is filled in `workspace`, on the same disk, where nobody mistakes it for the real one.
    """
    partial = workspace / f"{path.name}.{os.getpid()}{PARTIAL}"
    remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(path)
        partial.replace(path)
    except BaseException:
        remove(partial)
        raise


def sha256_file(path: Path) -> str:
    """Digest of a file's content in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_partial(root: Path) -> int:
    """Delete what a killed run left half written below `root`; return how many files that was."""
    leftovers = [path for path in root.rglob(f"*{PARTIAL}") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def remove(path: Path) -> None:
    """Delete a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
