"""Compares the source files of a build with the digests they had when they were inverted."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count

from pipeline.build import Build
from pipeline.errors import SampleError

AT_ONCE = 4096  # samples whose digests are awaited together


def check_sources(build: Build, on_sample: Callable[[int], None]) -> list[str]:
    """Read every source that was inverted; return which of them are gone or others, a sentence each."""
    samples = build.samples("id", "source", "sha256")
    samples = samples[samples["sha256"].astype(str) != ""]
    reader, problems = build.reader, []

    def problem_of(source: str, sha256: str) -> str | None:
        try:
            found = reader.digest(source)
        except SampleError as error:
            return f"cannot be read any more: {error}"
        return None if found == sha256 else "has changed since it was inverted"

    with ThreadPoolExecutor(min(32, 4 * (cpu_count() or 1))) as pool:
        for first in range(0, len(samples), AT_ONCE):
            some = samples.iloc[first : first + AT_ONCE]
            found = pool.map(problem_of, some["source"].astype(str), some["sha256"].astype(str))
            for sample, problem in zip(some.itertuples(), found, strict=True):
                if problem is not None:
                    problems.append(
                        f"source of {sample.id} ({sample.source}) {problem}: run `pipeline invert` again"
                    )
            on_sample(len(some))
    return problems
