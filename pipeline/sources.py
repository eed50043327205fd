"""The pixels behind a build's samples, read again: only if they are those that were inverted."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.datasets import LoadedImage
from pipeline.devices import cpu_count
from pipeline.errors import BuildError, SampleError
from pipeline.files import typed
from pipeline.images import Pixels
from pipeline.progress import Progress
from pipeline.store import open_group, read_scattered

CHANGED = "the source has changed since it was inverted"
NAMED = 3  # samples that a sentence names


def load_source(build: Build, source: str, sha256: str) -> LoadedImage:
    """Read a sample whose bytes had a digest when they were inverted ("": not yet inverted).

    Raises:
        SampleError: it cannot be read, or is another picture now.
    """
    loaded = build.reader.load(source)
    if sha256 and loaded.sha256 != sha256:
        raise SampleError(CHANGED)
    return loaded


def source_problems(build: Build, rows: NDArray[np.int64], *, thorough: bool = False) -> dict[int, str]:
    """Which of some inverted samples [N] cannot be read again as they were, by row, and why.

    Args:
        thorough: read every one; else only those whose file has another stamp than when it was listed.
    """
    table = build.samples("source", "sha256", "stamp")
    sources, digests, stamps = (table[name].to_numpy() for name in ("source", "sha256", "stamp"))

    def problem(row: int) -> str | None:
        try:
            if not thorough and stamps[row] and build.reader.stamp(sources[row]) == stamps[row]:
                return None
            return CHANGED if digests[row] and build.reader.digest(sources[row]) != digests[row] else None
        except SampleError as error:
            return str(error)

    found = {}
    with Progress("sources", len(rows), "samples") as progress, ThreadPoolExecutor(cpu_count()) as pool:
        for row, reason in zip(rows.tolist(), pool.map(problem, rows.tolist()), strict=True):
            progress.advance(1)
            if reason is not None:
                found[row] = reason
    return found


def missing_sources(build: Build, rows: NDArray[np.int64]) -> dict[int, str]:
    """Those of some inverted samples [N] that are not there any more, by row, and why.

    Raises:
        BuildError: some have changed instead, or none is there.
    """
    found = source_problems(build, rows)
    again = f"`pipeline invert --build {typed(build.root)}`"
    if changed := [row for row, reason in found.items() if reason == CHANGED]:
        raise BuildError(
            f"{named(build, changed)} changed since {'it was' if len(changed) == 1 else 'they were'} inverted: run "
            f"{again}, which does just {'that one' if len(changed) == 1 else 'those'} again; nothing was written"
        )
    if len(rows) and len(found) == len(rows):
        raise BuildError(
            f"none of the {len(rows):,} source images can be read ({found[int(rows[0])]}): mount their disk again, "
            f"or say where they are now: change 'root' in the manifest and run `pipeline invert --dataset` with it"
        )
    return found


def missing_note(build: Build, missing: dict[int, str], consequence: str) -> str | None:
    """One sentence about samples whose source is missing; None if there are none."""
    if not missing:
        return None
    reasons = sorted(set(missing.values()))
    return f"{named(build, sorted(missing))} cannot be read any more ({'; '.join(reasons[:NAMED])}): {consequence}"


def named(build: Build, rows: Sequence[int]) -> str:
    """How many samples, and the ids of some."""
    ids = build.samples("id")["id"]
    some = ", ".join(ids.iloc[list(rows[:NAMED])])
    more = ", …" if len(rows) > NAMED else ""
    return f"{len(rows):,} source image{'s' * (len(rows) != 1)} ({some}{more})"


def stored_originals(build: Build) -> bool:
    """Whether the build keeps the pixels it was made from (`invert --store-images`)."""
    return "original" in open_group(build.latents_path)


class Originals:
    """The samples' own pixels: those that the build keeps, else the sources', if they are what was inverted."""

    def __init__(self, build: Build):
        self.build = build
        table = build.samples("source", "sha256")
        self.sources, self.digests = table["source"].to_numpy(), table["sha256"].to_numpy()
        self.stored = build.latents_path.exists() and stored_originals(build)

    def read(self, rows: Sequence[int]) -> Iterator[Pixels | SampleError]:
        """Pixels uint8 [H, W, 3] of samples, in their order; a SampleError says why some cannot be had."""
        if self.stored:
            yield from read_scattered(self.build.latents_path, ["original"], np.asarray(rows, np.int64))["original"]
            return
        for row in rows:
            try:
                yield load_source(self.build, self.sources[row], self.digests[row]).pixels
            except SampleError as error:
                yield error
