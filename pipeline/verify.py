"""Recounts and rehashes a whole build, and names what is wrong."""

from collections.abc import Callable
from typing import Any

from pipeline.build import Build
from pipeline.config import digest_of
from pipeline.errors import BuildError
from pipeline.files import PARTIAL
from pipeline.ledger import problem_of_outputs, read_record, stage_digest
from pipeline.shards.manifest import check_manifest


def verify_build(build: Build, on_chunk: Callable[[], None]) -> dict[str, Any]:
    """Check samples, records, data and shards; return counts and the `problems` found, one sentence each."""
    info = build.info()
    problems: list[str] = []
    checked = {"samples": check_samples(build, problems), "chunks": 0, "shard_sets": 0}
    for name, entry in info.get("stages", {}).items():
        if "finished" not in entry:
            problems.append(f"{name} is not finished: run its command again")
            continue
        checked["chunks"] += check_stage(build, name, entry, problems, on_chunk)
    for name in build.shard_names():
        problems += check_manifest(build.shards_path(name))
        checked["shard_sets"] += 1
    problems += [f"{path} was left behind by a killed run" for path in sorted(build.root.rglob(f"*{PARTIAL}"))]
    return {"build": str(build.root), **checked, "problems": problems}


def check_samples(build: Build, problems: list[str]) -> int:
    """Check the table of samples; return how many there are."""
    try:
        samples = build.samples("id")
    except BuildError as error:
        problems.append(str(error))
        return 0
    if not samples["id"].is_unique:
        problems.append(f"{build.samples_path}: ids are not unique")
    return len(samples)


def check_stage(
    build: Build, name: str, entry: dict[str, Any], problems: list[str], on_chunk: Callable[[], None]
) -> int:
    """Check every record of a stage and the data it stands for; return how many there are."""
    key = digest_of({"stage": name, "version": entry["version"], "settings": entry["settings"]})
    for index in range(entry["chunks"]):
        record = read_record(build, name, index)
        if record is None:
            problems.append(f"{name}: chunk {index} has no readable record: run its command again")
        elif record["key"] != key:
            problems.append(f"{name}: chunk {index} was made by other settings than build.toml says")
        elif (problem := problem_of_outputs(build, record)) is not None:
            problems.append(f"{name}: chunk {index}: {problem}: run its command again")
        on_chunk()
    problems += [f"{name}: {reason}" for reason in stale_reasons(build, entry)]
    return int(entry["chunks"])


def stale_reasons(build: Build, entry: dict[str, Any]) -> list[str]:
    """Which upstream stages have changed since a stage was finished."""
    return [
        f"made before {upstream} changed: run its command again"
        for upstream, digest in entry.get("upstream", {}).items()
        if stage_digest(build, upstream) != digest
    ]
