"""What a worker must have before it is given work: the driver's software, its build and its images.

The checks run on workers, when a run begins and before each task, so that one that joins later is checked as well.
"""

import hashlib
import os
import platform
import re
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.build import Build
from pipeline.errors import PipelineError, SampleError, sentence_of
from pipeline.files import remove

PACKAGES = ("dask", "distributed", "torch", "numpy", "pillow", "zarr")
LEASE = re.compile("[0-9a-f]{32}")  # the name of a lease's folder
SAME = "install the same on all machines, and start the workers anew"


class EndedError(PipelineError):
    """The run that wanted a task is over."""


def software() -> dict[str, str]:
    """Versions of what decides the results, and a digest of this program's source when it was first asked for."""
    found = {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "file names in": sys.getfilesystemencoding(),
    }
    found |= {name: installed(name) for name in PACKAGES}
    return {**found, "onmanifold": installed("onmanifold"), "source": source_digest()}


def installed(name: str) -> str:
    """Version of a package, without how it was built, such as for which GPU."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "missing"


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Digest of all Python files of this program."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for part in ("pipeline", "stages") for path in (root / part).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def difference(theirs: dict[str, str], ours: dict[str, str]) -> str | None:
    """What software somebody has that is not ours, as the end of a sentence; None if all is the same."""
    different = [
        f"{name} {theirs.get(name, 'missing')} (here {ours[name]})"
        for name in ours
        if name not in ("onmanifold", "source") and theirs.get(name) != ours[name]
    ]
    if different:
        return f"has {', '.join(different)}: {SAME}"
    if theirs["source"] != ours["source"]:
        which = f"{theirs['onmanifold']} (here {ours['onmanifold']})"
        return f"has another onmanifold, {which}, or has loaded it before it was changed: {SAME}"
    return None


@dataclass(frozen=True)
class Lease:
    """A run's right to have its build written to by workers: a folder in the build, gone when the run is over.

    Each worker writes a file into it, and the driver looks for that file: so all see one folder, and may write.

    Attributes:
        folder: of this run alone.
        sample: an image's source, and the digest of what the driver reads there; None if it cannot read one either.
    """

    build: Build
    folder: Path
    sample: tuple[str, str] | None

    @classmethod
    def begin(cls, build: Build, images: bool) -> "Lease":
        """Make a lease for a run that begins, and that needs the dataset's images or not."""
        folder = leases(build) / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return cls(Build(build.root), folder, first_sample(build) if images else None)

    def end(self) -> None:
        """Take it back: workers that are still at it give up at their next step."""
        remove(self.folder)
        tidy(self.build)

    def check(self) -> None:
        """Raise EndedError if it was taken back."""
        if not self.folder.is_dir():
            raise EndedError(f"the run that wanted this has ended: {self.folder} is gone")

    def has(self, name: str) -> bool:
        """Whether the file that a worker wrote has come here."""
        return (self.folder / name).is_file()


def leases(build: Build) -> Path:
    """Where leases lie."""
    return build.root / ".cache" / "workers"


def end_leases(build: Build) -> None:
    """Take back what runs that were killed have left; the caller holds the build's lock."""
    for folder in leases(build).glob("*"):
        if LEASE.fullmatch(folder.name):
            remove(folder)
    tidy(build)


def tidy(build: Build) -> None:
    """Delete the folder of leases, if it holds none."""
    with suppress(OSError):
        leases(build).rmdir()


def first_sample(build: Build) -> tuple[str, str] | None:
    """The first image's source and digest, if it can be read."""
    sources = build.samples("source", start=0, stop=1)["source"]
    try:
        return (str(sources[0]), build.reader.digest(str(sources[0]))) if len(sources) else None
    except (SampleError, PipelineError):
        return None


@lru_cache(maxsize=16)
def take_up(lease: Lease) -> str:
    """Prove, on a worker, that it sees the build and the images and may write; return the file that proves it.

    Raises:
        PipelineError: it does not.
    """
    root = lease.build.root
    mount = f"mount the folder of this build at {root} there too"
    if not lease.folder.is_dir():
        lacks = "is another folder" if root.is_dir() else "is not there"
        raise PipelineError(f"{root} {lacks} for it: {mount}")
    path = lease.folder / uuid.uuid4().hex
    try:
        path.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
    except OSError as error:
        raise PipelineError(f"it may not write to {root} ({error.strerror}): give it the right to") from error
    if lease.sample is not None:
        source, sha256 = lease.sample
        advice = "mount the dataset's files at the same place there"
        try:
            found = lease.build.reader.digest(source)
        except (SampleError, PipelineError) as error:
            raise PipelineError(f"it cannot read the images ({source}: {error}): {advice}") from error
        if found != sha256:
            raise PipelineError(f"{source} of the dataset is another image for it: {advice}")
    return path.name


@dataclass(frozen=True)
class Terms:
    """What a worker has to fulfil; nothing for processes started here."""

    software: dict[str, str] | None = None
    lease: Lease | None = None


def under(terms: Terms, function: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:
    """On a worker that fulfils the terms, the proof that it sees the build, and what a function returns.

    Raises:
        PipelineError: it does not fulfil them.
    """
    if terms.software is not None and (lack := difference(software(), terms.software)) is not None:
        raise PipelineError(f"it {lack}")
    try:
        proof = "" if terms.lease is None else take_up(terms.lease)
        return proof, function(*arguments)
    except OSError as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        raise PipelineError(sentence) from error


def nothing() -> None:
    """What a worker is asked to do that is only checked."""
