"""Runs a stage on a build: what is left to do, in chunks, and then its end."""

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.belongings import announce, conclude, forget, tidy
from pipeline.build import Build, changed_settings, now
from pipeline.devices import resolve_device
from pipeline.errors import BuildError
from pipeline.execute import Execution, Task, execute
from pipeline.files import remove, sweep_partial
from pipeline.ledger import (
    Record,
    drop_records,
    look_again,
    read_record,
    stage_digest,
    stage_key,
    state_of,
    write_record,
)
from pipeline.progress import Progress
from pipeline.redo import finish_mended, redo_path
from pipeline.stage import Chunk, Mending, Revising, Stage, WritingFiles

Summary = dict[str, Any]


def run_stage(
    stage: Stage,
    build: Build,
    execution: Execution,
    *,
    fresh: bool = False,
    unit: str = "samples",
) -> Summary:
    """Do what is left of a stage and return its summary. The caller holds the build's lock.

    Raises:
        BuildError: the stage was begun with other settings (they are named), unless `fresh`.
    """
    began = time.perf_counter()
    look_again()
    if execution.scheduler is None:
        resolve_device(execution.device)
    settings = flat(stage.settings(build))  # what it needs and is not there is told before anything is deleted
    if fresh:
        stage.reset(build)
        forget(build, stage.name)
        remove(redo_path(build, stage.name, 0).parent)
    else:
        refuse_other_settings(stage, build, settings)
    sweep_partial(build.root)
    chunks = stage.plan(build)
    started = declare(stage, build, settings, fresh)
    key = stage_key(stage, build)
    if isinstance(stage, WritingFiles):
        announce(build, stage.name, stage.files(build, chunks))
    if isinstance(stage, Mending):
        finish_mended(stage, build, key)
    left = undone(stage, build, chunks, key)
    rows_left = sum(map(len, left))
    total = sum(map(len, chunks))
    revised = to_revise(stage, build, chunks) if not left else {}
    if left or revised:
        info = build.info()
        info["stages"][stage.name].pop("finished", None)
        build.write_info(info)
        compute(stage, build, chunks, left, key, execution, unit)
    records = read_records(stage, build, chunks)
    for record in records:
        if "sha256" not in record:  # of a version whose records had no digest of their own
            write_record(build, record)
    if isinstance(stage, WritingFiles):
        drop_records(build, stage.name, len(chunks))
        tidy(build, stage.name, stage.files(build, chunks))
    summary = stage.finish(build, records)
    if isinstance(stage, WritingFiles):
        conclude(build, stage.name, filter(Path.is_file, stage.files(build, chunks)))
    seconds = time.perf_counter() - began
    result: Summary = {
        "stage": stage.name,
        "build": str(build.root),
        "done": total,
        "computed": rows_left,
        "failed": sum(len(record["failures"]) for record in records),
        "seconds": round(seconds, 2),
        **summary,
    }
    info = build.info()
    entry = info["stages"][stage.name]
    told = flat(result)
    if not (left or revised) and same_but_for_time(entry.get("summary", {}), told):
        told = entry["summary"]  # nothing has happened, so nothing is written
    entry |= {
        "started": started,
        "chunks": len(chunks),
        "upstream": {name: stage_digest(build, name) for name in stage.upstream},
        "finished": entry.get("finished") or now(),
        "work_seconds": round(sum(record["seconds"] for record in records), 1),
        "summary": told,
    }
    build.write_info(info)
    return result


def same_but_for_time(one: Summary, other: Summary) -> bool:
    """Whether two summaries of a stage tell of the same data."""
    differ = ("computed", "seconds", "build")
    return all(one.get(key) == other.get(key) for key in (one.keys() | other.keys()) - {*differ})


def compute(
    stage: Stage, build: Build, chunks: list[Chunk], left: list[Task], key: str, execution: Execution, unit: str
) -> None:
    """Do the chunks that are left, and then revise what deserves it among all."""
    total = sum(map(len, chunks))
    sizes: dict[int, int] = {}
    shown: Progress

    def passes() -> Generator[list[Task], None, None]:
        nonlocal shown
        if left:
            sizes.update((task.chunk.index, len(task)) for task in left)
            with Progress(stage.name, total, unit, done=total - sum(map(len, left))) as shown:
                yield left
        if again := to_revise(stage, build, chunks):
            sizes.update((task.chunk.index, len(task)) for task in again)
            with Progress(f"{stage.name}, once more", sum(map(len, again)), unit) as shown:
                yield again

    def done(task: Task) -> None:
        shown.advance(len(task), piece=task.chunk.index)

    def tell(index: int, share: float, note: str) -> None:
        shown.move(index, share * sizes[index], note)

    with closing(passes()) as tasks:
        execute(stage, build, tasks, key, execution, done, tell)


def undone(stage: Stage, build: Build, chunks: list[Chunk], key: str) -> list[Task]:
    """The chunks that are not done, or not any more; of some only the rows whose input has changed."""
    tasks = []
    for chunk in chunks:
        problem, rows = state_of(stage, build, chunk, key)
        if problem is not None:
            tasks.append(Task(chunk, "mend", rows) if rows else Task(chunk))
    return tasks


def left_to_do(stage: Stage, build: Build, chunks: list[Chunk], fresh: bool) -> list[Task]:
    """What a run would do of these chunks; nothing is written.

    Raises:
        BuildError: the stage was begun with other settings, unless `fresh`.
    """
    settings = flat(stage.settings(build))
    if fresh:
        return [Task(chunk) for chunk in chunks]
    refuse_other_settings(stage, build, settings)
    return undone(stage, build, chunks, stage_key(stage, build))


def to_revise(stage: Stage, build: Build, chunks: list[Chunk]) -> list[Task]:
    """What a stage wants to look at once more, now that all chunks are done."""
    if not isinstance(stage, Revising):
        return []
    wanted = stage.to_revise(build, read_records(stage, build, chunks))
    return [Task(chunk, "revise", tuple(wanted[chunk.index])) for chunk in chunks if wanted.get(chunk.index)]


def read_records(stage: Stage, build: Build, chunks: list[Chunk]) -> list[Record]:
    """The records of chunks, in order."""
    return [record for chunk in chunks if (record := read_record(build, stage.name, chunk.index)) is not None]


def refuse_other_settings(stage: Stage, build: Build, settings: dict[str, Any]) -> None:
    """Raise BuildError, naming what differs, if the stage was begun with other settings."""
    present = build.info().get("stages", {}).get(stage.name)
    if present is None:
        return
    changed = changed_settings(
        {**present["settings"], "version": present["version"]}, {**settings, "version": stage.version}
    )
    if changed:
        raise BuildError(
            f"{stage.name} was begun with other settings in {build.root} ({'; '.join(changed)}): "
            f"use those again, or --fresh to start this stage over"
        )


def declare(stage: Stage, build: Build, settings: dict[str, Any], fresh: bool) -> str:
    """Write the stage's settings to build.toml, unless they are there; return when the stage was begun."""
    info = build.info()
    stages = info.setdefault("stages", {})
    if fresh or stage.name not in stages:
        stages[stage.name] = {"version": stage.version, "started": now(), "settings": settings}
        build.write_info(info)
    return str(stages[stage.name]["started"])


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Values that TOML can hold: no None, tuples as lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}


def rows_in_chunks(rows: int, size: int, limit: int | None = None) -> list[Chunk]:
    """Cut [0, rows) into chunks of `size` rows; `limit` keeps the first rows only."""
    stop = rows if limit is None else min(rows, limit)
    starts = range(0, stop, size)
    return [Chunk(i, start, min(start + size, stop)) for i, start in enumerate(starts)]


def limited_chunks(build: Build, stage: str, rows: int, size: int, limit: int | None) -> list[Chunk]:
    """The same, but a chunk that is done to beyond `limit` stays whole: what is on disk of it goes together."""
    chunks = rows_in_chunks(rows, size, limit)
    if limit is None or not chunks:
        return chunks
    last = chunks[-1]
    record = read_record(build, stage, last.index)
    if record is not None and record["start"] == last.start:
        chunks[-1] = Chunk(last.index, last.start, max(last.stop, min(record["stop"], last.start + size, rows)))
    return chunks
