"""Zarr v3 groups: created once by the driver, written by whole chunks, read with checksums.

Zarr neither locks nor warns when two processes write parts of one chunk, so a task always writes whole storage
chunks. Every chunk carries a crc32c; floats are filled with NaN, so that what was never written shows.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from pipeline.errors import BuildError
from pipeline.files import remove

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
    """Create a group with one array for each spec, unless the same is there already; tasks write whole shards.

    Raises:
        BuildError: another layout is there.
    """
    wanted = {name: [[rows, *spec.tail], spec.dtype] for name, spec in specs.items()}
    marker = {"layout": wanted, "rows_per_task": rows_per_shard}
    if path.exists():
        present = read_attributes(path).get(COMPLETE)
        if present == marker:
            return
        if present is not None:
            raise BuildError(f"{path} has another layout: use --fresh to start over")
        remove(path)  # creation was cut short, so nothing can have been written yet
    group = zarr.create_group(path, attributes=dict(attributes))
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
    group.attrs[COMPLETE] = cast(Any, marker)


def read_attributes(path: Path) -> dict[str, Any]:
    """Attributes of a group; empty if it cannot be opened."""
    try:
        return dict(zarr.open_group(path, mode="r").attrs)
    except (OSError, ValueError, KeyError):
        return {}


def open_group(path: Path, mode: str = "r") -> zarr.Group:
    """Open a group. Raises BuildError if there is none."""
    try:
        return zarr.open_group(path, mode=cast(Any, mode))
    except (OSError, ValueError, KeyError) as error:
        raise BuildError(f"{path} is missing or not a Zarr group: {error}") from error


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
            columns[name] = np.asarray(cast(zarr.Array[Any], group[name])[start:stop])
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


def rows_digest(columns: Mapping[str, Array]) -> str:
    """sha256 over the names and values of columns."""
    digest = hashlib.sha256()
    for name in sorted(columns):
        values = columns[name]
        digest.update(f"{name}:{values.dtype.str}:{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()
