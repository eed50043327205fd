"""Files that are either whole or absent: temporary name, fsync, rename."""

import hashlib
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.errors import PipelineError

PARTIAL = ".onmanifold-partial"
OURS = re.compile(rf".+\.\d+(-[0-9a-f]+)?{re.escape(PARTIAL)}")
ZARRS = re.compile(r".+\.[0-9a-f]{32}\.partial")  # what Zarr calls a chunk that it is writing
MACHINE = secrets.token_hex(4)  # processes of two machines may have one number


def partial_path(path: Path) -> Path:
    """What a file or folder is called while this process writes it."""
    return path.with_name(f"{path.name}.{os.getpid()}-{MACHINE}{PARTIAL}")


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
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


def sha256_file(path: Path) -> str:
    """Digest of a file's content in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_of(path: Path) -> tuple[int, ...]:
    """What changes when a file does: size, times and inode; empty where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def leftovers(build: Path) -> list[Path]:
    """What killed runs left half written in a build: our own partials, and Zarr's inside our groups."""
    groups = (build / "latents.zarr", build / "directions.zarr", build / "variants")
    found = []
    for folder, folders, files in os.walk(build):
        inside = any(Path(folder).is_relative_to(group) for group in groups)
        for name in (*folders, *files):
            if OURS.fullmatch(name) or (inside and ZARRS.fullmatch(name)):
                found.append(Path(folder, name))
        folders[:] = [name for name in folders if not OURS.fullmatch(name)]
    return sorted(found)


def sweep_partial(build: Path) -> int:
    """Delete what killed runs left half written in a build; return how many files and folders that was."""
    found = leftovers(build)
    for path in found:
        remove(path)
    return len(found)


def remove(path: Path) -> None:
    """Delete a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_empty(folder: Path, top: Path) -> None:
    """Delete a folder, and those above it that are empty then, up to `top`, which stays."""
    while folder != top and folder.is_relative_to(top) and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def typed(path: Path) -> str:
    """A path as one would type it in a shell, from here."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here)) if path != here and path.is_relative_to(here) else str(path))
