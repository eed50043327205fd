"""Which rows of a Zarr group a record says are on disk: where Zarr finds no chunk, it gives the fill value."""

from functools import lru_cache
from pathlib import Path

from pipeline.sealed import read_sealed

Rows = tuple[int, int]
# Keys of a chunk's record of before they had a digest of their own.
PLAIN = frozenset(
    ("stage", "chunk", "start", "stop", "key", "inputs", "outputs", "failures", "details", "seconds", "finished")
) | {"worker"}


def promised_rows(group: Path, array: str) -> list[Rows]:
    """Ranges [start, stop) of rows of an array that whole records speak of; none outside a build."""
    ledger = ledger_of(group)
    if ledger is None or not ledger.is_dir():
        return []
    return [rows for arrays, rows in _promised(group, ledger, ledger.stat().st_mtime_ns) if array in arrays]


def ledger_of(group: Path) -> Path | None:
    """Folder of the records of the stage that writes a group; None if it is no build's."""
    if group.name == "latents.zarr":
        return group.parent / ".ledger" / "invert"
    if group.parent.name == "variants":
        return group.parent.parent / ".ledger" / "augment" / group.stem
    return None


@lru_cache(maxsize=8)
def _promised(group: Path, ledger: Path, changed_ns: int) -> list[tuple[list[str], Rows]]:
    records = (read_sealed(path, PLAIN) for path in ledger.glob("[0-9]*.json"))
    outputs = (output for record in records if record is not None for output in record["outputs"])
    return [
        (output["arrays"], (output["start"], output["stop"]))
        for output in outputs
        if "zarr" in output and Path(output["zarr"]).name == group.name
    ]
