"""Attributes of samples: what files say of them besides the label, if it could be a label too."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.base import RESERVED_COLUMNS
from pipeline.datasets.labels import MOST_CLASSES

LONGEST_TEXT = 200  # characters; what is longer describes a picture and does not sort it
MOST_ATTRIBUTES = 1000

NESTED = "lists or objects"
TWICE = "given twice in one .json"
FRACTIONS = "numbers with fractions"
LARGE = "numbers beyond 64 bits"
LONG = f"texts of more than {LONGEST_TEXT} characters"
SEVERAL = "numbers and names mixed"
MANY = f"more than {MOST_CLASSES:,} values"
TOO_MANY = f"one of more than {MOST_ATTRIBUTES:,} attributes"
OTHER = "neither numbers nor names"


@dataclass(frozen=True)
class Unfit:
    """Stands where a value, or a whole column, can be no label: why."""

    reason: str


@dataclass
class Attributes:
    """Columns gathered file by file: whole numbers, booleans or text, with gaps where a file or a sample has none.

    Attributes:
        rows: samples so far.
        left_out: columns that are not kept, and why.
        called: the attributes of `frame`, and what their columns are called there.
    """

    rows: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)
    chunks: dict[str, list[tuple[int, pa.ChunkedArray]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, rows: int, columns: Mapping[str, "pa.ChunkedArray | Unfit"]) -> None:
        """Append the samples of one file."""
        for name, values in columns.items():
            if name in self.left_out:
                continue
            if name not in self.chunks and len(self.chunks) >= MOST_ATTRIBUTES:
                self.left_out[name] = TOO_MANY
                continue
            if not isinstance(values, Unfit):
                values = fitting(values)
            if not isinstance(values, Unfit) and pa.types.is_null(values.type):
                self.chunks[name] = self.chunks[name]  # known, but missing
                continue
            before = self.chunks[name]
            if not isinstance(values, Unfit) and before and before[0][1].type != values.type:
                values = Unfit(SEVERAL)
            if isinstance(values, Unfit):
                self.left_out[name] = values.reason
                del self.chunks[name]
            else:
                before.append((self.rows, values))
        self.rows += rows

    def column(self, name: str) -> "pd.Series | Unfit":
        """The values of one attribute."""
        if name in self.left_out:
            return Unfit(self.left_out[name])
        values = self._whole(self.chunks[name])
        if pa.types.is_string(values.type) and pc.count_distinct(values).as_py() > MOST_CLASSES:
            return Unfit(MANY)
        if pa.types.is_null(values.type):
            return pd.Series([None] * self.rows, dtype="str")
        kinds = {pa.string(): "str", pa.bool_(): "bool", pa.int64(): "int64"}
        gaps = {"bool": "boolean", "int64": "Int64"}
        kind = kinds[values.type]
        return pd.Series(values.to_pylist(), dtype=gaps.get(kind, kind) if values.null_count else kind)

    def frame(self) -> pd.DataFrame:
        """All attributes, by names that are none of a sample's own columns; `left_out` and `called` grow."""
        columns: dict[str, pd.Series] = {}
        for name in sorted(self.chunks, key=lambda name: (name in RESERVED_COLUMNS, name)):
            values = self.column(name)
            if isinstance(values, Unfit):
                self.left_out[name] = values.reason
            else:
                self.called[name] = own_name(name, columns)
                columns[self.called[name]] = values
        return pd.DataFrame(columns, index=range(self.rows))

    def note(self) -> list[str]:
        """A sentence on what was left out, if anything was."""
        if not self.left_out:
            return []
        some = [f"{name} ({reason})" for name, reason in sorted(self.left_out.items())]
        more = f" and {len(some) - 8} more" if len(some) > 8 else ""
        return [f"not taken as attributes, since they can be no labels: {', '.join(some[:8])}{more}"]

    def _whole(self, chunks: list[tuple[int, "pa.ChunkedArray"]]) -> "pa.ChunkedArray":
        """One column of all rows, with nulls where no chunk is."""
        if not chunks:
            return pa.chunked_array([pa.nulls(self.rows)])
        kind = chunks[0][1].type
        parts: list[Any] = []
        end = 0
        for start, values in chunks:
            parts += [pa.nulls(start - end, kind), *values.chunks]
            end = start + len(values)
        return pa.chunked_array([*parts, pa.nulls(self.rows - end, kind)], kind)


def own_name(name: str, taken: Iterable[str] = ()) -> str:
    """The name of an attribute's column: the attribute's, with a `_` behind it if a sample's own column has it."""
    while name in RESERVED_COLUMNS or name in taken:
        name += "_"
    return name


def fitting(values: "pa.ChunkedArray") -> "pa.ChunkedArray | Unfit":
    """Whole numbers as int64, texts as strings, booleans; or why a column is none of them."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return fitting(values.cast(kind.value_type))
    if pa.types.is_null(kind) or values.null_count == len(values):
        return pa.chunked_array([pa.nulls(len(values))])
    if pa.types.is_boolean(kind):
        return values
    if pa.types.is_integer(kind):
        if pa.types.is_uint64(kind) and pc.max(values).as_py() >= 2**63:
            return Unfit(LARGE)
        return values.cast(pa.int64())
    if pa.types.is_floating(kind):
        wide = values.cast(pa.float64())
        wide = pc.if_else(pc.is_nan(wide), pa.scalar(None, pa.float64()), wide)
        if wide.null_count == len(wide):
            return pa.chunked_array([pa.nulls(len(values))])
        if not pc.all(pc.less(pc.abs(wide), 2.0**53)).as_py():
            return Unfit(LARGE)
        return wide.cast(pa.int64()) if pc.all(pc.equal(pc.floor(wide), wide)).as_py() else Unfit(FRACTIONS)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        texts = values.cast(pa.string())
        return Unfit(LONG) if (pc.max(pc.utf8_length(texts)).as_py() or 0) > LONGEST_TEXT else texts
    return Unfit(NESTED if pa.types.is_nested(kind) else OTHER)


def column_of(values: list[Any]) -> "pa.ChunkedArray | Unfit":
    """A column of Python's values: None, booleans, numbers, texts, or an Unfit among them."""
    unfit = next((value for value in values if isinstance(value, Unfit)), None)
    if unfit is not None:
        return unfit
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        return Unfit(SEVERAL)
    try:
        return pa.chunked_array([pa.array(values)])
    except (OverflowError, pa.ArrowInvalid):
        return Unfit(LARGE)
