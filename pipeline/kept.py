"""The two files that are rewritten in place: build.toml and samples.parquet, with a digest and a second copy.

Both lie in .ledger. The digest of what is about to be written is recorded beside the old one before the file is
renamed into place, and the old one forgotten afterwards, so a kill in between is no damage.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.errors import BuildError
from pipeline.files import atomic_write, partial_path, sha256_file, stamp_of, typed
from pipeline.sealed import read_sealed, write_sealed

_checked: dict[Path, tuple[tuple[int, ...], tuple[int, ...]]] = {}


def copy_path(path: Path) -> Path:
    """Where the second copy of a kept file lies."""
    return path.parent / ".ledger" / path.name


def seal_path(path: Path) -> Path:
    """Where the digests that a kept file may have are recorded."""
    return path.parent / ".ledger" / f"{path.name}.json"


@contextmanager
def kept_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a kept file for writing; when the block ends without an error, it, its digest and its copy are new.

    Where the content is what is there, nothing is touched.
    """
    seal = seal_path(path)
    with _written(path) as partial:
        with partial.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        new = sha256_file(partial)
        there = [sha256_file(file) for file in (path, copy_path(path)) if file.is_file()]
        if there == [new, new] and acceptable(path) == [new]:
            return  # it says so already
        before = [digest for digest in acceptable(path) if digest in there and digest != new]
        write_sealed(seal, {"file": path.name, "digests": [*before, new]})
        partial.replace(path)
    _copy(path, copy_path(path))
    write_sealed(seal, {"file": path.name, "digests": [new]})


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def acceptable(path: Path) -> list[str]:
    """Digests that a kept file may have, the newest last; none where they are not recorded."""
    seal = read_sealed(seal_path(path))
    return [] if seal is None or seal.get("file") != path.name else list(seal["digests"])


def is_kept(path: Path) -> bool:
    """Whether a kept file was ever written: it, or its copy, is there."""
    return path.exists() or copy_path(path).exists()


def is_plain(path: Path) -> bool:
    """Whether a kept file is of before there were digests and copies: it gets them when it is written next."""
    return path.is_file() and not seal_path(path).exists() and not copy_path(path).exists()


def check_kept(path: Path) -> None:
    """Read a kept file and compare it with its digest; once a process, as long as it does not change.

    Raises:
        BuildError: it is missing or differs from what was written.
    """
    stamps = _stamps(path)
    if _checked.get(path) == stamps or is_plain(path):
        return
    while (problem := problem_of_kept(path)) is not None:
        if stamps == (now := _stamps(path)):
            raise BuildError(problem)
        stamps = now  # it was replaced while it was looked at
    _checked[path] = stamps


def problem_of_kept(path: Path) -> str | None:
    """What is wrong with a kept file or its digest, in a sentence; None if it is as it was written."""
    mend = f"`pipeline verify --build {typed(path.parent)} --repair`"
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        return f"{path} is missing: {mend} restores it"
    except OSError as error:
        return f"cannot read {path}: {error}"
    digests = acceptable(path)
    if not digests:
        return (
            f"{path} has no readable digest in {seal_path(path)}, which builds of earlier versions lack: "
            f"{mend} takes it as it is"
        )
    return None if found in digests else f"{path} differs from what was written: {mend} restores it"


def problem_of_copy(path: Path) -> str | None:
    """What is wrong with the second copy of a kept file; None if it will do."""
    copy = copy_path(path)
    if not copy.is_file():
        return f"{copy}, the second copy of {path.name}, is missing"
    if (digests := acceptable(path)) and sha256_file(copy) not in digests:
        return f"{copy}, the second copy of {path.name}, differs from what was written"
    return None


def restore_kept(path: Path) -> str:
    """Restore whichever of a kept file, its copy and its digest is damaged; return what was done.

    Raises:
        BuildError: both the file and its copy are damaged.
    """
    copy = copy_path(path)
    if not acceptable(path):
        whole = next((file for file in (path, copy) if file.is_file()), None)
        if whole is None:
            raise BuildError(f"{path} and its copy {copy} are missing: begin the build again")
        write_sealed(seal_path(path), {"file": path.name, "digests": [sha256_file(whole)]})
    if problem_of_kept(path) is not None:
        if problem_of_copy(path) is not None:
            raise BuildError(f"{path} and its copy {copy} are both damaged: put one back from a backup")
        _copy(copy, path)
        return f"{path} is restored from its copy"
    _copy(path, copy)
    return f"{path} is taken as it is, and copied"


def read_kept(path: Path) -> bytes:
    """The bytes of a small kept file, or of its copy where the file is damaged. Raises BuildError if both are."""
    digests = acceptable(path)
    for file in (path, copy_path(path)):
        if file.is_file() and (not digests or hashlib.sha256(file.read_bytes()).hexdigest() in digests):
            return file.read_bytes()
    raise BuildError(f"{path} and its copy {copy_path(path)} are both damaged: put one back from a backup")


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as copy, source.open("rb") as file:
        shutil.copyfileobj(file, copy)


def _stamps(path: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return stamp_of(path), stamp_of(seal_path(path))
