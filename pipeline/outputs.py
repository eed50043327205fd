"""What a chunk has put on disk, described so that anyone can check it without knowing the stage."""

from pathlib import Path
from typing import Any

from pipeline.errors import BuildError
from pipeline.files import sha256_file
from pipeline.store import read_rows, rows_digest

Output = dict[str, Any]


def rows_output(root: Path, path: Path, arrays: list[str], start: int, stop: int, sha256: str) -> Output:
    """Rows [start, stop) of some arrays of a Zarr group; `sha256` is their `rows_digest`."""
    relative = path.relative_to(root).as_posix()
    return {"zarr": relative, "arrays": sorted(arrays), "start": start, "stop": stop, "sha256": sha256}


def file_output(root: Path, path: Path, samples: int) -> Output:
    """A whole file with its size, digest and number of samples."""
    relative = path.relative_to(root).as_posix()
    return {"file": relative, "bytes": path.stat().st_size, "samples": samples, "sha256": sha256_file(path)}


def problem_of_output(root: Path, output: Output) -> str | None:
    """Read an output back; say what is wrong with it, or None."""
    if "file" in output:
        path = root / output["file"]
        if not path.is_file():
            return f"{path} is missing"
        try:
            same = path.stat().st_size == output["bytes"] and sha256_file(path) == output["sha256"]
        except OSError as error:
            return f"{path} cannot be read: {error}"
        return None if same else f"{path} differs from what was written"
    path, start, stop = root / output["zarr"], output["start"], output["stop"]
    try:
        found = rows_digest(read_rows(path, output["arrays"], start, stop))
    except BuildError as error:
        return str(error)
    return None if found == output["sha256"] else f"{path}, rows {start} to {stop}: differ from what was written"
