"""samples.parquet: a row for each source sample, read and rewritten a group of rows at a time."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import digest_of
from pipeline.errors import BuildError
from pipeline.files import stamp_of
from pipeline.kept import check_kept, kept_write

INVERTED = ("ok", "poor")  # statuses of samples that have latents
GROUP = 8192  # rows that lie together in the file
ABOUT = b"onmanifold"  # key of the file's metadata


@dataclass(frozen=True)
class About:
    """What a dataset says of its samples besides their rows.

    Attributes:
        classes: names of the classes in the order of the labels.
        label_values: of attributes whose values have names: {attribute: {value as text: name}}, by label.
        notes: what the user should know of the listing, in sentences.
    """

    classes: tuple[str, ...] = ()
    label_values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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


def read_about(path: Path) -> About:
    """What the dataset said of its samples when they were listed.

    Raises:
        BuildError: the file cannot be read, or is of a version that did not keep this.
    """
    with open_table(path) as table:
        metadata = table.schema_arrow.metadata or {}
    try:
        content = json.loads(metadata[ABOUT])
        return About(tuple(content["classes"]), content["label_values"], tuple(content["notes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(
            f"{path} does not hold the names of the classes, for an earlier version made it: run `pipeline invert` "
            f"on this build again, which adds them and keeps what is inverted"
        ) from error


def samples_digest(path: Path) -> str:
    """Digest of what later stages use of the inverted samples, and of the names of the classes."""
    return _samples_digest(path, stamp_of(path))


@lru_cache(maxsize=4)
def _samples_digest(path: Path, stamp: tuple[int, ...]) -> str:
    samples = read_samples(path, ("id", "split", "label", "sha256", "status"))
    inverted = samples[samples["status"].isin(INVERTED)]
    columns = [inverted.index, *(inverted[name] for name in inverted)]
    return digest_of([[column.tolist() for column in columns], read_about(path).classes])


def write_samples(path: Path, samples: pd.DataFrame, about: About) -> None:
    """Write the table whole or not at all; one that is there already is left alone."""
    table = pa.Table.from_pandas(samples, preserve_index=False)
    types = [pa.string() if pa.types.is_large_string(field.type) else field.type for field in table.schema]
    metadata = {ABOUT: json.dumps(asdict(about)).encode()}
    table = table.cast(pa.schema(zip(table.schema.names, types, strict=True), metadata))
    if (there := read_whole(path)) is not None and table.equals(there, check_metadata=True):
        return
    with kept_write(path) as file:
        pq.write_table(table, file, row_group_size=GROUP)
    del table
    pa.default_memory_pool().release_unused()  # what a large table took would stay with the process


def read_whole(path: Path) -> pa.Table | None:
    """The file as Arrow has it; None if it cannot be read."""
    try:
        with open_table(path) as table:
            return table.read()
    except (BuildError, OSError, ValueError):
        return None


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
