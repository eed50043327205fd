"""samples.parquet: a row for each source sample, read and rewritten a group of rows at a time."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import BuildError
from pipeline.kept import check_kept, kept_write

GROUP = 8192  # rows that lie together in the file


def open_table(path: Path) -> pq.ParquetFile:
    """Open samples.parquet. Raises BuildError if it cannot be read, or is not as it was written."""
    check_kept(path)
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise BuildError(f"cannot read {path}: {error}") from error


def count_samples(path: Path) -> int:
    """Number of samples, from the file's footer."""
    with open_table(path) as table:
        return int(table.metadata.num_rows)


def read_samples(
    path: Path, columns: Sequence[str] | None = None, start: int = 0, stop: int | None = None
) -> pd.DataFrame:
    """Read rows [start, stop) of some columns (None: all); what lies in other groups is not read.

    Raises:
        BuildError: the file cannot be read.
    """
    with open_table(path) as table:
        sizes = [table.metadata.row_group(i).num_rows for i in range(table.metadata.num_row_groups)]
        last = table.metadata.num_rows if stop is None else stop
        groups, skipped, first = [], 0, 0
        for group, size in enumerate(sizes):
            if first < last and first + size > start:
                groups.append(group)
            elif first + size <= start:
                skipped += size
            first += size
        try:
            rows = table.read_row_groups(groups, columns=None if columns is None else list(columns))
        except (OSError, ValueError) as error:
            raise BuildError(f"cannot read {path}: {error}") from error
        frame: pd.DataFrame = rows.slice(start - skipped, last - start).to_pandas()
        return frame


def read_notes(path: Path) -> list[str]:
    """What the reader of the dataset had to say when it listed the samples."""
    with open_table(path) as table:
        metadata = table.schema_arrow.metadata or {}
    notes: list[str] = json.loads(metadata.get(b"notes", b"[]"))
    return notes


def write_samples(path: Path, samples: pd.DataFrame) -> None:
    """Write the table whole or not at all, with the frame's `attrs["notes"]`."""
    table = pa.Table.from_pandas(samples, preserve_index=False)
    notes = json.dumps(samples.attrs.get("notes", [])).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"notes": notes})
    with kept_write(path) as file:
        pq.write_table(table, file, row_group_size=GROUP)
    del table
    pa.default_memory_pool().release_unused()  # what a large table took would stay with the process


def update_samples(path: Path, change: Callable[[pd.DataFrame, int], dict[str, Any]]) -> None:
    """Give columns new values, a group of rows at a time.

    Args:
        path: the table.
        change: takes a group of rows and the number of its first row, and returns columns by name.
    """
    first = 0
    with (
        open_table(path) as table,
        kept_write(path) as file,
        pq.ParquetWriter(file, table.schema_arrow) as writer,
    ):
        for group in range(table.metadata.num_row_groups):
            rows = table.read_row_group(group)
            for name, values in change(rows.to_pandas(), first).items():
                field = rows.schema.field(name)
                rows = rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))
            writer.write_table(rows)
            first += rows.num_rows
