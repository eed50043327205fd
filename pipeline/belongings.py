"""Whole files that a stage's end or a command writes: named before they are written, recorded when all are there.

`.ledger/NAME/end.json` holds the record. Only what a record names is ever deleted.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.build import Build
from pipeline.files import remove_empty
from pipeline.ledger import all_records
from pipeline.outputs import Output, file_output, problem_of_output
from pipeline.sealed import read_sealed, write_sealed

END = "end.json"
Record = dict[str, Any]


def end_path(build: Build, name: str) -> Path:
    """Where the record of a stage's or command's own files lies."""
    return build.ledger_path(name) / END


def read_end(build: Build, name: str) -> Record | None:
    """That record; None if there is none, it is damaged, or it is another's."""
    record = read_sealed(end_path(build, name))
    return record if record is not None and record.get("name") == name else None


def announce(build: Build, name: str, files: Iterable[Path]) -> None:
    """Say which files are about to be written, in addition to those that were named before."""
    paths = {path.relative_to(build.root).as_posix() for path in files} | named(build, name)
    before = read_end(build, name) or {}
    kept = {"files": before.get("files", []), "details": before.get("details", {})}
    write_sealed(end_path(build, name), {"name": name, "complete": False, "named": sorted(paths), **kept})


def tidy(build: Build, name: str, files: Iterable[Path]) -> None:
    """Delete what was named before and is none of these files."""
    delete(build, named(build, name) - {path.relative_to(build.root).as_posix() for path in files})


def conclude(build: Build, name: str, files: Iterable[Path], details: Mapping[str, Any] | None = None) -> None:
    """Record files that are all there now, and delete those that were named before and are none of them."""
    chunks = {output["file"] for output in chunk_files(build, name)}
    present = {path.relative_to(build.root).as_posix(): path for path in files}
    delete(build, named(build, name) - chunks - present.keys())
    outputs = [file_output(build.root, present[name], 0) for name in sorted(present.keys() - chunks)]
    content = {"name": name, "complete": True, "named": [], "files": outputs, "details": dict(details or {})}
    write_sealed(end_path(build, name), content)


def add(build: Build, name: str, files: Iterable[Path], *, complete: bool = False) -> None:
    """Record files that are there now, beside those that are recorded already."""
    record = read_end(build, name) or {"files": [], "named": [], "details": {}}
    outputs = {output["file"]: output for output in record["files"]}
    outputs |= {output["file"]: output for output in (file_output(build.root, path, 0) for path in files)}
    left = [] if complete else sorted({*record["named"], *outputs})
    content = {"name": name, "complete": complete, "named": left, "details": record["details"]}
    write_sealed(end_path(build, name), {**content, "files": [outputs[file] for file in sorted(outputs)]})


@contextmanager
def writing(
    build: Build, name: str, files: Iterable[Path], details: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Write these files in the block, and record them when it ends without an error."""
    paths = list(files)
    announce(build, name, paths)
    yield
    conclude(build, name, paths, details)


def problem_of_end(build: Build, name: str) -> str | None:
    """The first thing wrong with the files that a record stands for; None if they are as they were written."""
    record = read_end(build, name)
    if record is None:
        return f"{end_path(build, name)} is missing or damaged"
    if not record["complete"]:
        return "it is not finished"
    problems = (problem_of_output(build.root, output) for output in record["files"])
    return next((problem for problem in problems if problem is not None), None)


def forget(build: Build, name: str) -> None:
    """Delete every file that a stage or command has named, and its records."""
    delete(build, named(build, name))
    folder = build.ledger_path(name)
    for path in folder.glob("*.json"):
        path.unlink()
    remove_empty(folder, build.root)


def named(build: Build, name: str) -> set[str]:
    """Every file that the records of a stage or command name, relative to the build."""
    record = read_end(build, name)
    found = {output["file"] for output in chunk_files(build, name)}
    if record is not None:
        found |= {*record["named"], *(output["file"] for output in record["files"])}
    return found


def chunk_files(build: Build, name: str) -> list[Output]:
    """The whole files among the outputs of a stage's chunks."""
    return [output for record in all_records(build, name) for output in record["outputs"] if "file" in output]


def delete(build: Build, files: Iterable[str]) -> None:
    """Delete files that records name, and the folders that are empty then."""
    for name in files:
        path = build.root / name
        if path.is_file() or path.is_symlink():
            path.unlink()
        remove_empty(path.parent, build.root)
