"""Chunks of which some rows are mended: what is about to be written is kept aside, so that a kill undoes nothing.

A chunk that is computed as a whole can be computed again. One of which some rows are mended cannot: what the others
were computed from may be gone. So its new rows and record lie under .cache/mended until they are in their places.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.files import atomic_write, remove_empty
from pipeline.ledger import read_record, record_of, write_record
from pipeline.stage import Chunk, ChunkResult, Stage
from pipeline.store import write_rows

RESULT = "result.json"


def redo_path(build: Build, stage: str, index: int) -> Path:
    """Where the mended rows of a chunk lie until they are written."""
    return build.root / ".cache" / "mended" / stage / f"{index:06d}.npz"


def keep_aside(
    build: Build, stage: str, chunk: Chunk, columns: Mapping[str, NDArray[Any]], result: ChunkResult
) -> None:
    """Keep what a chunk's rows in a Zarr group will be, and what the chunk's record will say of them."""
    (output,) = result.outputs
    said = {"outputs": [output], "failures": list(result.failures.items()), "details": result.details}
    with atomic_write(redo_path(build, stage, chunk.index)) as file:
        content = json.dumps({**said, "start": chunk.start, "stop": chunk.stop}).encode()
        np.savez(file, allow_pickle=False, **columns, **{RESULT: np.frombuffer(content, np.uint8)})


def let_go(build: Build, stage: str, index: int) -> None:
    """Forget a chunk that is in its place, or of no use any more."""
    path = redo_path(build, stage, index)
    path.unlink(missing_ok=True)
    remove_empty(path.parent, build.root)


def finish_mended(stage: Stage, build: Build, key: str) -> None:
    """Put chunks into their places whose mending was killed; what is not whole counts for nothing."""
    for path in sorted(redo_path(build, stage.name, 0).parent.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = {name: file[name] for name in file.files}
            said = json.loads(columns.pop(RESULT).tobytes())
            chunk = Chunk(int(path.stem), said["start"], said["stop"])
            result = ChunkResult(said["outputs"], {int(row): why for row, why in said["failures"]}, said["details"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            path.unlink()
            continue
        write_rows(build.root / said["outputs"][0]["zarr"], chunk.start, columns)
        before = read_record(build, stage.name, chunk.index)
        spent = 0.0 if before is None else before["seconds"]
        write_record(build, record_of(stage, chunk, key, stage.inputs(build, chunk), result, spent))
        let_go(build, stage.name, chunk.index)
