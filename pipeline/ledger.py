"""The ledger: one JSON record for each finished chunk, written after its data.

A chunk is done if its record has the present key and inputs and covers its rows, and its outputs on disk have the
record's digests. Everything else is done again: a record that is damaged, or lies where another belongs, is none.
"""

import os
import platform
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.build import Build, now
from pipeline.config import digest_of
from pipeline.errors import PipelineError
from pipeline.outputs import problem_of_output
from pipeline.promised import PLAIN
from pipeline.samples import samples_digest
from pipeline.sealed import read_sealed, write_sealed
from pipeline.stage import Chunk, ChunkResult, Mending, Stage

Record = dict[str, Any]
SAMPLES = "samples"  # stands for samples.parquet where stages name what they are made from
NUMBER = re.compile(r"\d{6,}")  # what records of chunks are called


def stage_key(stage: Stage, build: Build) -> str:
    """Digest of what decides the stage's output, apart from its input data."""
    return digest_of({"stage": stage.name, "version": stage.version, "settings": stage.settings(build)})


def record_path(build: Build, stage: str, index: int) -> Path:
    """Where the record of a chunk lies."""
    return build.ledger_path(stage) / f"{index:06d}.json"


def write_record(build: Build, record: Record) -> None:
    """Put a record on disk; only call this when the chunk's data is there."""
    write_sealed(record_path(build, record["stage"], record["chunk"]), record)


def record_of(stage: Stage, chunk: Chunk, key: str, inputs: str, result: ChunkResult, seconds: float) -> Record:
    """What is recorded of a chunk that this process has done."""
    return {
        "stage": stage.name,
        "chunk": chunk.index,
        "start": chunk.start,
        "stop": chunk.stop,
        "key": key,
        "inputs": inputs,
        "outputs": result.outputs,
        "failures": {str(row): reason for row, reason in sorted(result.failures.items())},
        "details": result.details,
        "seconds": round(seconds, 3),
        "finished": now(),
        "worker": f"{platform.node()}:{os.getpid()}",
    }


def read_record(build: Build, stage: str, index: int) -> Record | None:
    """The record of a chunk; None if there is none, it is damaged, or it is another chunk's."""
    record = read_sealed(record_path(build, stage, index), PLAIN)
    if record is None or (record.get("stage"), record.get("chunk")) != (stage, index):
        return None
    return record


def recorded_chunks(build: Build, stage: str) -> list[int]:
    """Numbers of the chunks that have a record, whole or not, in order."""
    names = (path.stem for path in build.ledger_path(stage).glob("*.json"))
    return sorted(int(name) for name in names if NUMBER.fullmatch(name))


def all_records(build: Build, stage: str) -> list[Record]:
    """Every whole record of a stage, in order of chunks."""
    found = (read_record(build, stage, index) for index in recorded_chunks(build, stage))
    return [record for record in found if record is not None]


def drop_records(build: Build, stage: str, first: int) -> None:
    """Delete the records of chunks from number `first` on."""
    for index in recorded_chunks(build, stage):
        if index >= first:
            record_path(build, stage, index).unlink()


def state_of(stage: Stage, build: Build, chunk: Chunk, key: str) -> tuple[str | None, tuple[int, ...]]:
    """Why a chunk counts as not done, or None; and the rows that are to be mended, if it is not all of them."""
    record = read_record(build, stage.name, chunk.index)
    if record is None:
        return "not done yet", ()
    if record.get("key") != key:
        return "made by other settings", ()
    done = Chunk(chunk.index, record["start"], record["stop"])
    grown = isinstance(stage, Mending) and record["details"].get("to_end", False)  # else a limit cut the chunk
    if done.start != chunk.start or (done.stop < chunk.stop and not grown):
        return "covers other rows", ()
    if isinstance(stage, Mending):
        rows = (*stage.changed_rows(build, done, record), *range(done.stop, chunk.stop))
        problem = problem_of_outputs(build, record)
        return ("made from data that has changed since", rows) if rows and problem is None else (problem, ())
    if record["inputs"] != stage.inputs(build, done):
        return "made from data that has changed since", ()
    return problem_of_outputs(build, record), ()


def problem_of_outputs(build: Build, record: Record) -> str | None:
    """The first thing wrong with what a record says is on disk; None if all is there."""
    problems = (problem_of_output(build.root, output) for output in record["outputs"])
    return next((problem for problem in problems if problem is not None), None)


def data_digests(build: Build, stage: str) -> list[tuple[int, int, str]]:
    """(start, stop, digest of the outputs) of every chunk of a stage with a whole record, in order of rows."""
    folder = build.ledger_path(stage)
    return list(_data_digests(build, stage, folder.stat().st_mtime_ns)) if folder.is_dir() else []


@lru_cache(maxsize=8)
def _data_digests(build: Build, stage: str, changed_ns: int) -> tuple[tuple[int, int, str], ...]:
    return tuple(
        sorted(
            (record["start"], record["stop"], digest_of([output["sha256"] for output in record["outputs"]]))
            for record in all_records(build, stage)
        )
    )


def look_again() -> None:
    """Read all records anew from now on: they may have been damaged where they lie, which no folder tells."""
    _data_digests.cache_clear()


def recorded_rows(build: Build, stage: str) -> int:
    """Where the last recorded chunk of a stage ends; 0 if there is none."""
    return max((stop for _, stop, _ in data_digests(build, stage)), default=0)


def details_of(build: Build, stage: str) -> list[dict[str, Any]]:
    """What every recorded chunk of a stage tells beside its outputs, in order of chunks."""
    return [record["details"] for record in all_records(build, stage)]


def stage_digest(build: Build, stage: str) -> str:
    """One digest for all that a stage has put on disk so far.

    Besides names of stages, `samples` stands for the table of samples, and `samples/KEY` for the labels by an
    attribute too.
    """
    table, _, attribute = stage.partition("/")
    if table != SAMPLES:
        return digest_of(data_digests(build, stage))
    try:
        labels, classes = build.labels(attribute) if attribute else (None, None)
    except PipelineError as error:  # there is no such attribute any more
        return digest_of(str(error))
    return digest_of([samples_digest(build.samples_path), None if labels is None else labels.tolist(), classes])
