"""Zarr v3 groups: created once by the driver, written by whole chunks, read with checksums.

Zarr neither locks nor warns when two processes write parts of one chunk, so a task always writes whole storage
chunks. Every chunk carries a crc32c; floats are filled with NaN, so that what was never written shows.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from pipeline.config import digest_of
from pipeline.errors import BuildError
from pipeline.files import ZARRS, remove, remove_empty, stamp_of, write_bytes
from pipeline.promised import promised_rows

Array = NDArray[Any]
COMPLETE = "onmanifold_complete"
BLOCK_ROWS = 4096
CHUNK_BYTES = 2**20
SHARD_SAMPLES = 64
DENSE = 16  # rows spanned for each that is wanted
DENSE_BYTES = 2**28  # of rows that are read in one piece for some of them


@dataclass(frozen=True)
class ArraySpec:
    """Layout of one array over rows.

    Attributes:
        tail: shape of one row.
        dims: names of the dimensions after `row`.
        sharded: a storage shard holds smaller chunks, for cheap random reads; else it is one chunk.
        compress: zstd before the checksum (pixels and text shrink, latents do not).
    """

    dtype: str
    tail: tuple[int, ...] = ()
    dims: tuple[str, ...] = ()
    fill: float = 0
    sharded: bool = False
    compress: bool = False


def rows_of_chunk(spec: ArraySpec, rows_per_shard: int) -> int:
    """Rows of a chunk: the shard's, or of a sharded array a power of two that fills it, of at most CHUNK_BYTES.

    Reading a chunk takes some tenths of a millisecond whatever its size, and a microsecond for some kilobytes.
    """
    if not spec.sharded:
        return rows_per_shard
    rows, row_bytes = 1, math.prod(spec.tail) * np.dtype(spec.dtype).itemsize
    while rows_per_shard % (2 * rows) == 0 and 2 * rows * row_bytes <= CHUNK_BYTES:
        rows *= 2
    return rows


def shard_samples(samples_per_task: int, resolution: int) -> int:
    """Samples of a storage shard, which fill a task: of no more pixels than CHUNK_BYTES, or one.

    SHARD_SAMPLES where they do, so that the layout is the same whatever a task's size; else as many as may be.
    """
    most = max(1, CHUNK_BYTES // (3 * resolution**2))
    if most >= SHARD_SAMPLES and samples_per_task % SHARD_SAMPLES == 0:
        return SHARD_SAMPLES
    return next(size for size in range(min(most, samples_per_task), 0, -1) if samples_per_task % size == 0)


def create_group(
    path: Path, rows: int, rows_per_shard: int, specs: Mapping[str, ArraySpec], attributes: Mapping[str, Any]
) -> None:
    """Create a group with one array for each spec, unless it is there; tasks write whole shards.

    A group of fewer rows grows, and damaged or missing metadata is written anew; rows that are there stay.

    Raises:
        BuildError: another layout is there.
    """
    wanted = metadata_files(rows, rows_per_shard, specs, attributes)
    marker = json.loads(wanted["zarr.json"])["attributes"][COMPLETE]
    if path.exists() and problem_of_metadata(path) is None:
        present = json.loads((path / "zarr.json").read_bytes())
        found = present["attributes"][COMPLETE]
        same_tasks = found["rows_per_task"] == marker["rows_per_task"]
        if same_tasks and found["layout"] == marker["layout"] and "sha256" in found:
            return
        if not (same_tasks and grows(found["layout"], marker["layout"])):
            raise BuildError(f"{path} has another layout: use --fresh to start over")
        wanted |= {name: (path / name).read_bytes() for name in wanted if found["layout"] == marker["layout"]}
        wanted["zarr.json"] = with_marker(present, wanted, marker)
    for name, data in wanted.items():  # the group's own is the last
        target = path / name
        if not target.is_file() or target.read_bytes() != data:
            write_bytes(target, data)


def metadata_files(
    rows: int, rows_per_shard: int, specs: Mapping[str, ArraySpec], attributes: Mapping[str, Any]
) -> dict[str, bytes]:
    """Every zarr.json of a group by its path in it, the group's own last."""
    held: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(held), attributes=dict(attributes))
    for name, spec in specs.items():
        compressors: list[Any] = [ZstdCodec(level=1)] if spec.compress else []
        group.create_array(
            name,
            shape=(rows, *spec.tail),
            dtype=spec.dtype,
            chunks=(rows_of_chunk(spec, rows_per_shard), *spec.tail),
            shards=(rows_per_shard, *spec.tail) if spec.sharded else None,
            compressors=[*compressors, Crc32cCodec()],
            fill_value=np.nan if spec.dtype.startswith("float") else spec.fill,
            dimension_names=("row", *spec.dims),
            config={"write_empty_chunks": True},
        )
    files = {name: held[name].to_bytes() for name in sorted(held) if name != "zarr.json"}
    layout = {name: [[rows, *spec.tail], spec.dtype] for name, spec in specs.items()}
    marker = {"layout": layout, "rows_per_task": rows_per_shard}
    return {**files, "zarr.json": with_marker(json.loads(held["zarr.json"].to_bytes()), files, marker)}


def with_marker(root: dict[str, Any], arrays: Mapping[str, bytes], marker: Mapping[str, Any]) -> bytes:
    """A group's own zarr.json: it says that the group is whole, and the digest of all its metadata."""
    plain = {key: marker[key] for key in ("layout", "rows_per_task")}
    root["attributes"][COMPLETE] = plain
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in arrays.items() if name != "zarr.json"}
    root["attributes"][COMPLETE] = {**plain, "sha256": digest_of([root, digests])}
    return as_zarr_writes(root)


def as_zarr_writes(root: dict[str, Any]) -> bytes:
    """The bytes of a zarr.json."""
    return json.dumps(root, indent=2).encode()


def grows(present: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a layout is the wanted one with fewer rows."""

    def without_rows(arrays: dict[str, Any]) -> dict[str, Any]:
        return {name: [shape[1:], dtype] for name, (shape, dtype) in arrays.items()}

    alike = without_rows(present) == without_rows(wanted)
    return alike and all(shape[0] <= wanted[name][0][0] for name, (shape, _) in present.items())


def problem_of_metadata(path: Path) -> str | None:
    """What is wrong with a group's metadata; None if every zarr.json is as it was written."""
    try:
        data = (path / "zarr.json").read_bytes()
        root = json.loads(data)
        marker = root["attributes"][COMPLETE]
        arrays = {f"{name}/zarr.json": (path / name / "zarr.json").read_bytes() for name in marker["layout"]}
        if set(marker) == {"layout", "rows_per_task"}:
            return None  # of before there was a digest
        whole = as_zarr_writes(root) == data == with_marker(root, arrays, marker)
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    return None if whole else f"{path}: its metadata (zarr.json) differ from what was written"


_checked: dict[Path, dict[Path, tuple[int, ...]]] = {}


def check_metadata(path: Path) -> None:
    """Raise BuildError if a group's metadata are not as they were written; looks again when they change."""
    known = _checked.get(path)
    if known is not None and all(stamp and stamp_of(file) == stamp for file, stamp in known.items()):
        return
    names = ["zarr.json", *(f"{folder.name}/zarr.json" for folder in path.glob("*") if folder.is_dir())]
    stamps = {path / name: stamp_of(path / name) for name in names if (path / name).is_file()}
    if (problem := problem_of_metadata(path)) is not None:
        raise BuildError(f"{problem}: run the command that made it again")
    _checked[path] = stamps


def read_attributes(path: Path) -> dict[str, Any]:
    """Attributes of a group; empty if there is none yet. Raises BuildError if it is damaged."""
    if not (path / "zarr.json").exists() and not any(path.glob("*/c")):
        return {}
    return dict(open_group(path).attrs)


def open_group(path: Path, mode: str = "r") -> zarr.Group:
    """Open a group. Raises BuildError if there is none, or its metadata are damaged."""
    if not path.is_dir():
        raise BuildError(f"{path} is missing or not a Zarr group")
    check_metadata(path)
    try:
        return zarr.open_group(path, mode=cast(Any, mode))
    except (OSError, ValueError, KeyError) as error:
        raise BuildError(f"{path} is missing or not a Zarr group: {error}") from error


def block_rows(path: Path) -> dict[str, int]:
    """Rows of a storage chunk of each array. Raises BuildError if the group is damaged."""
    group = open_group(path)
    marker = cast(dict[str, Any], group.attrs[COMPLETE])
    arrays = {name: cast(zarr.Array[Any], group[name]) for name in marker["layout"]}
    return {name: (array.shards or array.chunks)[0] for name, array in arrays.items()}


def remove_group(path: Path) -> None:
    """Delete a group: its chunks and metadata, and the folders in which nobody keeps anything else."""
    for name, folders, files in os.walk(path, topdown=False):
        folder = Path(name)
        places = folder.relative_to(path).parts[1:]  # within an array: c, and a number for each dimension
        chunks = places[:1] == ("c",) and all(place.isdecimal() for place in places[1:])
        for file in files:
            if file == "zarr.json" or (chunks and (file.isdecimal() or ZARRS.fullmatch(file))):
                (folder / file).unlink()
        for inner in folders:
            remove_empty(folder / inner, folder)
    remove_empty(path, path.parent)


def write_rows(path: Path, start: int, columns: Mapping[str, Array]) -> str:
    """Write rows from `start` on to every array of a group and return their digest.

    The first row must begin a storage chunk. A piece that ends inside one is filled up, for no other task may
    write to it.
    """
    group = open_group(path, "r+")
    for name, values in columns.items():
        array = cast(zarr.Array[Any], group[name]).with_config({"write_empty_chunks": True})
        step = (array.shards or array.chunks)[0]
        assert start % step == 0, f"{name}: row {start} is not the start of a storage chunk of {step}"
        stop = min(-(-(start + len(values)) // step) * step, array.shape[0])
        whole = np.full((stop - start, *array.shape[1:]), array.fill_value, dtype=array.dtype)
        whole[: len(values)] = values
        try:
            array[start:stop] = whole
        except ValueError:  # Zarr reads a shard's index before it replaces the shard, and this one is damaged
            remove(path / name / "c" / str(start // step))
            array[start:stop] = whole
    return rows_digest(columns)


def read_rows(path: Path, names: Sequence[str], start: int, stop: int) -> dict[str, Array]:
    """Read rows [start, stop) of some arrays.

    Raises:
        BuildError: a checksum does not hold; the message names array, rows and file.
    """
    group = open_group(path)
    columns = {}
    for name in names:
        try:
            array = cast(zarr.Array[Any], group[name])
            columns[name] = np.asarray(array[start:stop])
            check_present(path, name, array, np.arange(start, min(stop, array.shape[0])))
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            raise BuildError(f"{path}/{name}, rows {start} to {stop}: {error}") from error
    return columns


def read_scattered(path: Path, names: Sequence[str], rows: Array) -> dict[str, Array]:
    """Read rows [N] of some arrays, in any order and as often as they are asked for. Raises as `read_rows` does.

    Where many of a block's rows are wanted, the block is read in one piece, which costs less than picking them.
    """
    wanted, place = np.unique(rows, return_inverse=True)
    ends = np.flatnonzero(np.diff(wanted // BLOCK_ROWS)) + 1
    group = open_group(path)
    columns = {}
    for name in names:
        found = []
        try:
            array = cast(zarr.Array[Any], group[name])
            check_present(path, name, array, wanted)
            for part in np.split(wanted, ends) if len(wanted) else []:
                first, stop = int(part[0]), int(part[-1]) + 1
                spanned = (stop - first) * math.prod(array.shape[1:]) * array.dtype.itemsize
                if stop - first <= DENSE * len(part) and spanned <= DENSE_BYTES:
                    found.append(np.asarray(array[first:stop])[part - first])
                else:
                    found.append(np.asarray(array.oindex[part]))
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            raise BuildError(f"{path}/{name}, some of rows {rows.min()} to {rows.max()}: {error}") from error
        columns[name] = np.concatenate(found)[place] if found else np.empty((0, *array.shape[1:]), array.dtype)
    return columns


def check_present(path: Path, name: str, array: "zarr.Array[Any]", rows: Array) -> None:
    """Raise BuildError if a file of some rows, in order, is not there, though a record says that they are."""
    step, inner = (array.shards or array.chunks)[0], "/0" * (array.ndim - 1)
    blocks = np.unique(rows // step).tolist()
    missing = [block for block in blocks if not (path / f"{name}/c/{block}{inner}").is_file()]
    if not missing:
        return
    promised = promised_rows(path, name)
    for block in missing:
        low, high = np.searchsorted(rows, [block * step, (block + 1) * step])
        first, last = int(rows[low]), int(rows[high - 1])
        if any(start <= last and first < stop for start, stop in promised):
            raise BuildError(f"{path}/{name}, rows {first} to {last + 1}: {name}/c/{block}{inner} is missing")


def rows_digest(columns: Mapping[str, Array]) -> str:
    """sha256 over the names and values of columns."""
    digest = hashlib.sha256()
    for name in sorted(columns):
        values = columns[name]
        digest.update(f"{name}:{values.dtype.str}:{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()
