"""Recounts and rehashes a whole build: every byte of it belongs to a record, or is named."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.belongings import END, end_path, problem_of_end, read_end
from pipeline.build import Build
from pipeline.config import digest_of
from pipeline.errors import BuildError
from pipeline.files import typed
from pipeline.kept import problem_of_copy, problem_of_kept
from pipeline.ledger import (
    NUMBER,
    SAMPLES,
    look_again,
    problem_of_outputs,
    read_record,
    record_path,
    recorded_chunks,
    recorded_rows,
    stage_digest,
)
from pipeline.listing import GONE, RETRY
from pipeline.shards.manifest import SetManifest
from pipeline.sources import source_problems
from pipeline.store import problem_of_metadata
from pipeline.strays import Strays, find_strays


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        sentence: what, and how to mend it.
        name: the stage or command it belongs to; empty where it is none's.
        spoilt: files that `--repair` deletes, so that they count as not done.
        kept: build.toml or samples.parquet, which `--repair` restores.
    """

    sentence: str
    name: str = ""
    spoilt: tuple[Path, ...] = ()
    kept: Path | None = None


@dataclass
class Checked:
    """What a look at a build has found."""

    findings: list[Finding] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    samples: int = 0
    chunks: int = 0
    shard_sets: int = 0

    def add(self, sentence: str, name: str = "", *spoilt: Path, kept: Path | None = None) -> None:
        """Note something that is not as it was written."""
        self.findings.append(Finding(sentence, name, spoilt, kept))


def verify_build(build: Build, on_chunk: Callable[[], None]) -> Checked:
    """Check build.toml, samples, records, data, and that nothing else is there."""
    look_again()
    checked = Checked()
    for path in (build.info_path, build.samples_path):
        check_kept_file(path, checked)
    try:
        stages = build.last_info().get("stages", {})
    except BuildError as error:
        checked.add(str(error))
        return checked
    checked.samples = check_samples(build, checked)
    for name, entry in stages.items():
        check_stage(build, name, entry, checked, on_chunk)
    for name in recorded_names(build):
        if name not in stages:
            check_command(build, name, checked)
    strays = find_strays(build, stages, {finding.name for finding in checked.findings})
    report_strays(build, strays, checked)
    return checked


def check_kept_file(path: Path, checked: Checked) -> None:
    """Check build.toml or samples.parquet, its digest and its second copy."""
    problem = problem_of_kept(path)
    copy = problem_of_copy(path)
    if problem is None and copy is not None:
        problem = f"{copy}: `pipeline verify --build {typed(path.parent)} --repair` copies it"
    if problem is not None:
        checked.add(problem, kept=path)


def check_samples(build: Build, checked: Checked) -> int:
    """Check the table of samples; return how many there are."""
    if problem_of_kept(build.samples_path) is not None:
        return 0
    try:
        samples = build.samples("id")
    except BuildError as error:
        checked.add(str(error))
        return 0
    if not samples["id"].is_unique:
        checked.add(f"{build.samples_path}: ids are not unique")
    return len(samples)


def check_sources(build: Build, checked: Checked) -> None:
    """Compare the dataset's files with the digests that they had when they were inverted."""
    if problem_of_kept(build.samples_path) is not None:
        return
    samples = build.samples("id", "source", "sha256", "status")
    inverted = (samples["sha256"].astype(str) != "") & (samples["status"] != GONE)
    for row, reason in source_problems(build, np.flatnonzero(inverted), thorough=True).items():
        sample = samples.iloc[row]
        checked.add(f"source of {sample['id']} ({sample['source']}): {reason}: run `pipeline invert` again")


def check_stage(
    build: Build, name: str, entry: dict[str, Any], checked: Checked, on_chunk: Callable[[], None]
) -> None:
    """Check every record of a stage and the data it stands for."""
    finished = "finished" in entry
    if not finished:
        checked.add(f"{name} is not finished: run its command again", name)
    key = digest_of({"stage": name, "version": entry["version"], "settings": entry["settings"]})
    group = group_of(build, name)
    if group is not None and (group.exists() or finished) and (problem := problem_of_metadata(group)) is not None:
        checked.add(f"{name}: {problem}: run its command again", name)
    present = recorded_chunks(build, name)
    for index in sorted({*present, *range(entry["chunks"] if finished else 0)}):
        record, place = read_record(build, name, index), record_path(build, name, index)
        if record is None:
            checked.add(f"{name}: chunk {index} has no readable record: run its command again", name, place)
        elif record["key"] != key:
            checked.add(f"{name}: chunk {index} was made by other settings than build.toml says", name, place)
        elif (problem := problem_of_outputs(build, record)) is not None:
            checked.add(f"{name}: chunk {index}: {problem}: run its command again", name, place)
        checked.chunks += 1
        on_chunk()
    if name.startswith("shard/"):
        checked.shard_sets += 1
        if finished:
            check_set(build, name, checked)
    if problem_of_kept(build.samples_path) is None:
        for reason in stale_reasons(build, name, entry):
            checked.add(f"{name}: {reason}", name)


def check_set(build: Build, name: str, checked: Checked) -> None:
    """Check what a shard set has beside its shards."""
    try:
        SetManifest(build.shards_path(name.removeprefix("shard/")))
    except BuildError as error:
        checked.add(f"{name}: {error}", name, end_path(build, name))
        return
    if (problem := problem_of_end(build, name)) is not None:
        checked.add(f"{name}: {problem}: run its command again", name, end_path(build, name))


def check_command(build: Build, name: str, checked: Checked) -> None:
    """Check the files of a command that is no stage, or tell of records that belong to nothing."""
    if chunks := recorded_chunks(build, name):
        sentence = f"{build.ledger_path(name)} holds records of a stage that build.toml does not know"
        checked.add(sentence, name, *(record_path(build, name, index) for index in chunks))
    elif (problem := problem_of_end(build, name)) is not None:
        checked.add(f"{name}: {problem}: run its command again", name, end_path(build, name))


def report_strays(build: Build, strays: Strays, checked: Checked) -> None:
    """Tell of files that no record names."""
    for path in strays.leftovers:
        checked.add(f"{path} was left behind by a killed run", "", path)
    for path, name in strays.unrecorded:
        lost = read_end(build, name) is None and not recorded_chunks(build, name)
        checked.add(
            f"{path} does not belong to {name}, or its record is lost: run its command again, or delete it",
            name if lost else "",
        )
    checked.strangers = strays.strangers


def group_of(build: Build, name: str) -> Path | None:
    """The Zarr group that a stage writes; None where it writes none."""
    if name == "invert":
        return build.latents_path
    kind, _, rest = name.partition("/")
    return build.variants_path(rest) if kind == "augment" else None


def recorded_names(build: Build) -> list[str]:
    """Names of the stages and commands that have a folder in the ledger."""
    return sorted(_recorded_names(build.root / ".ledger", ""))


def _recorded_names(folder: Path, name: str) -> Iterator[str]:
    entries = list(folder.iterdir()) if folder.is_dir() else []
    folders = [entry for entry in entries if entry.is_dir()]
    records = [entry for entry in entries if entry.name == END or NUMBER.fullmatch(entry.stem)]
    if name and (records or not folders):
        yield name
    for entry in folders:
        yield from _recorded_names(entry, f"{name}/{entry.name}".lstrip("/"))


def stale_reasons(build: Build, name: str, entry: dict[str, Any]) -> list[str]:
    """What a stage was made from and has changed since it was finished."""
    before = entry.get("upstream", {})
    changed = [upstream for upstream, digest in before.items() if stage_digest(build, upstream) != digest]
    if "invert" in changed:  # and so have the samples
        changed = [upstream for upstream in changed if upstream.partition("/")[0] != SAMPLES]
    reasons = [
        f"made before {'the samples' if upstream.partition('/')[0] == SAMPLES else upstream} changed: "
        f"run its command again"
        for upstream in changed
    ]
    if name == "invert" and (waiting := waiting_samples(build)):
        reasons.append(f"{waiting:,} of its samples changed or came back since: run its command again")
    return reasons


def waiting_samples(build: Build) -> int:
    """How many samples in rows that are done have changed or come back since."""
    status = build.samples("status", stop=recorded_rows(build, "invert"))["status"]
    return int(status.isin(["pending", RETRY]).sum())


LOCKED = re.compile(rb"(process \d+ on [^\n]+)?")  # empty, unless the process was killed


def problem_of_lock(build: Build) -> str | None:
    """What is wrong with the file that processes lock, before one does; None if it is as they leave it."""
    path = build.root / ".lock"
    if not path.is_file():
        return f"{path} is missing; it is there again now"
    left = path.read_bytes()
    return None if LOCKED.fullmatch(left) else f"{path} differs from what was written; it is empty now"
