"""One Parquet file of images: its columns as attributes, the class names it declares, the images of its rows."""

import json
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets.attributes import LONG, LONGEST_TEXT, NESTED, OTHER, Unfit, fitting
from pipeline.errors import DatasetError, SampleError

HELD_BYTES = 2**26  # of images that are decoded at once, and kept since the next image is likely to be among them
BUFFER = 2**20  # of a column are read at once, instead of all that a row group has of it
SEVERAL_COLUMNS = "several columns of this name"
UNREAD_TEXT = 8 * LONGEST_TEXT  # bytes a row, beyond which a column is not read to see how long its texts are


@dataclass(frozen=True)
class ParquetFile:
    """An open file. Raises DatasetError if it is none, or damaged where a method reads it."""

    path: Path
    file: pq.ParquetFile
    rows: int
    columns: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> "ParquetFile":
        """Read a file's footer. Raises DatasetError."""
        try:
            file = pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True)
            return cls(path, file, file.metadata.num_rows, tuple(file.schema_arrow.names))
        except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
            raise unreadable(path, error) from error

    def kind(self, column: str) -> pa.DataType:
        """A column's type, behind the dictionary that its values may lie in."""
        kind = self.file.schema_arrow.field(column).type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    def values(self, column: str) -> "pa.ChunkedArray | Unfit":
        """A column that could be a label, by names where the file declares them; or why it is none."""
        if self.columns.count(column) > 1:
            return Unfit(SEVERAL_COLUMNS)
        kind = self.kind(column)
        if pa.types.is_nested(kind):
            return Unfit(NESTED)
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            return Unfit(OTHER)
        if self.bytes_of(column) > UNREAD_TEXT * max(1, self.rows):
            return Unfit(LONG)
        try:
            values = self.file.read(columns=[column], use_threads=False).column(column)
            values.validate(full=True)
            if len(values) != self.rows:
                raise ValueError(f"the column '{column}' has {len(values)} rows instead of {self.rows}")
            fit = fitting(values)
        except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
            raise unreadable(self.path, error) from error
        names = self.class_names(column)
        if not names or isinstance(fit, Unfit) or not pa.types.is_integer(fit.type):
            return fit
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DatasetError(
                f"{self.path} declares two classes of '{column}' that are both called {twice!r}: rename one of them"
            )
        unlabelled = pc.equal(fit, -1)
        high = pc.max(fit).as_py()
        if high >= len(names) or pc.min(fit).as_py() < -1:
            raise DatasetError(
                f"{self.path} declares {len(names)} classes of '{column}' and has the label {high}: correct it"
            )
        numbers = pc.if_else(unlabelled, pa.scalar(None, pa.int64()), fit)
        return pa.chunked_array([pa.array(names, pa.string()).take(chunk) for chunk in numbers.chunks], pa.string())

    def class_names(self, column: str) -> tuple[str, ...]:
        """Names of a column's classes in Hugging Face's metadata; () if there are none."""
        metadata: Mapping[bytes, bytes] = self.file.schema_arrow.metadata or {}
        try:
            names = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"][column]["names"]
            return tuple(str(name).encode("utf-8", "backslashreplace").decode() for name in names)
        except (ValueError, KeyError, TypeError, RecursionError):
            return ()

    def bytes_of(self, column: str) -> int:
        """Size of a column's values once they are unpacked."""
        return sum(group_bytes(self.file.metadata, group, column) for group in range(self.file.num_row_groups))


def unreadable(path: Path, error: Exception) -> DatasetError:
    """What is said of a file that cannot be read."""
    reason = " ".join(str(error).split())
    return DatasetError(f"{path} is not a Parquet file that can be read: {reason}; download it again")


def group_bytes(metadata: pq.FileMetaData, group: int, column: str) -> int:
    """Size of a column's values in a row group once they are unpacked."""
    found = metadata.row_group(group)
    parts = (found.column(i) for i in range(found.num_columns))
    mine = (part for part in parts if part.path_in_schema == column or part.path_in_schema.startswith(column + "."))
    return sum(part.total_uncompressed_size for part in mine)


@dataclass
class Cells:
    """The values of one column by row. Neighbours are kept: a row group, or as much of it as is not too large."""

    path: Path
    column: str
    file: pq.ParquetFile
    starts: list[int]
    kept: list[tuple[int, Any]] = field(default_factory=list)  # first row and values of the last two batches
    coming: Iterator[Any] | None = None
    coming_of: int = -1  # the row group of `coming`
    next_row: int = -1  # the row that it begins with
    lock: threading.Lock = field(default_factory=threading.Lock)

    def value(self, row: int) -> Any:
        """A row's value as Python has it. Raises SampleError."""
        try:
            with self.lock:
                if not 0 <= row < self.starts[-1]:
                    raise SampleError(f"{self.path.name} has no row {row} any more", unreadable=True)
                return self._value(row)
        except (OSError, ValueError, MemoryError, StopIteration, pa.ArrowException) as error:
            self.coming = None
            reason = " ".join(str(error).split())
            raise SampleError(f"cannot read row {row} of {self.path.name}: {reason}", unreadable=True) from error

    def _value(self, row: int) -> Any:
        while True:
            for first, values in self.kept:
                if first <= row < first + len(values):
                    return values[row - first].as_py()
            group = bisect_right(self.starts, row) - 1
            begins, ends = self.starts[group], self.starts[group + 1]
            if self.coming is None or self.coming_of != group or self.next_row > row:
                size = max(1, group_bytes(self.file.metadata, group, self.column))
                together = max(1, min(ends - begins, HELD_BYTES * (ends - begins) // size))
                self.coming = self.file.iter_batches(together, [group], [self.column], use_threads=False)
                self.coming_of, self.next_row = group, begins
            values = next(self.coming).column(0)
            self.kept = [*self.kept[-1:], (self.next_row, values)]
            self.next_row += len(values)


@lru_cache(maxsize=4)
def cells(path: Path, stamp: str, column: str) -> Cells:
    """The values of a column (`image`, or `image.path` of a struct) of a file of that stamp. Raises SampleError."""
    try:
        file = ParquetFile.open(path).file
    except DatasetError as error:
        raise SampleError(str(error), unreadable=True) from error
    sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
    return Cells(path, column, file, list(accumulate(sizes, initial=0)))
