"""What a stage is: a plan of chunks, a function that does one chunk, and an end.

A chunk is a range of rows of the stage's own output. `run` must be safe to repeat, must put its data on disk
before it returns, and may be called in any process and in any order: everything random comes from the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pipeline.build import Build
from pipeline.outputs import Output


@dataclass(frozen=True)
class Chunk:
    """Rows [start, stop) of a stage's output; `index` names the record."""

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class ChunkResult:
    """What one chunk gave.

    Attributes:
        outputs: what is on disk now, made by `rows_output` and `file_output`.
        failures: row -> reason, for samples that could not be done.
        details: anything small and JSON-like that `finish` or the report needs.
    """

    outputs: list[Output]
    failures: dict[int, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """A batch job over rows."""

    @property
    def name(self) -> str:
        """Ledger folder and key in build.toml, e.g. `invert` or `augment/randmix`."""
        ...

    @property
    def version(self) -> int:
        """Raised whenever the same settings would give other data."""
        ...

    @property
    def reads_images(self) -> bool:
        """Whether its chunks read the dataset's own files, so that every worker has to see them."""
        ...

    @property
    def upstream(self) -> tuple[str, ...]:
        """Names of the stages whose data this one reads."""
        ...

    def settings(self, build: Build) -> dict[str, Any]:
        """Everything that decides the output, by name: configuration and digests of weights."""
        ...

    def plan(self, build: Build) -> list[Chunk]:
        """Create the stores (idempotent; only the driver calls it) and return the chunks."""
        ...

    def inputs(self, build: Build, chunk: Chunk) -> str:
        """Digest of the data this chunk is computed from."""
        ...

    def run(self, build: Build, chunk: Chunk) -> ChunkResult:
        """Compute and store one chunk."""
        ...

    def finish(self, build: Build, records: list[dict[str, Any]]) -> dict[str, Any]:
        """After the last chunk: write what needs all of them, and return the summary."""
        ...

    def reset(self, build: Build) -> None:
        """Delete the stage's output (for --fresh)."""
        ...


@runtime_checkable
class Mending(Protocol):
    """A stage that can do some rows of a chunk, which have changed or are new, and keep the others."""

    def changed_rows(self, build: Build, chunk: Chunk, record: dict[str, Any]) -> list[int]:
        """Rows of a recorded chunk whose input is another now; none if the chunk stands."""
        ...

    def mend(self, build: Build, chunk: Chunk, rows: Sequence[int]) -> ChunkResult:
        """Do some rows, perhaps beyond those recorded, and store the chunk; the result describes all of it."""
        ...


@runtime_checkable
class Revising(Protocol):
    """A stage that looks at some rows once more, when all chunks are done and can be compared.

    Which rows may depend on what every chunk gave at first, and on nothing else: then it does not matter how often
    the run is stopped, or where its chunks end.
    """

    def to_revise(self, build: Build, records: list[dict[str, Any]]) -> dict[int, list[int]]:
        """Rows that deserve it, by the index of their chunk; none of those that have been revised."""
        ...

    def revise(self, build: Build, chunk: Chunk, rows: Sequence[int]) -> ChunkResult:
        """Do some rows of a finished chunk again and store the chunk anew; the result describes all of it."""
        ...


@runtime_checkable
class WritingFiles(Protocol):
    """A stage that writes whole files of its own, beside or instead of rows of a Zarr group."""

    def files(self, build: Build, chunks: Sequence[Chunk]) -> list[Path]:
        """All that these chunks and `finish` write; what is there from before and not among them is deleted."""
        ...
