"""What tests send to workers."""

import os
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.build import Build
from pipeline.files import remove
from pipeline.outputs import file_output
from pipeline.stage import Chunk, ChunkResult


class UnsendableError(Exception):
    """Can be pickled, but not unpickled: it wants two arguments and passes on one."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def add(one: int, two: int) -> int:
    return one + two


def fail(text: str) -> None:
    raise ValueError(text)


def fail_unsendably() -> None:
    raise UnsendableError("a", "b")


def fill_the_disk() -> None:
    raise OSError(28, "No space left on device", "/data")


def end_the_process() -> None:
    os._exit(9)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


@dataclass(frozen=True)
class Shade:
    """A stage of one row, whose data depends on a variable of whoever does it."""

    name: ClassVar[str] = "shade"
    version: ClassVar[int] = 1
    reads_images: ClassVar[bool] = False
    upstream: ClassVar[tuple[str, ...]] = ()

    def settings(self, build: Build) -> dict[str, Any]:
        return {"shade": os.environ.get("SHADE", "light")}

    def plan(self, build: Build) -> list[Chunk]:
        return [Chunk(0, 0, 1)]

    def inputs(self, build: Build, chunk: Chunk) -> str:
        return ""

    def run(self, build: Build, chunk: Chunk) -> ChunkResult:
        path = build.root / "shade.txt"
        path.write_text(os.environ.get("SHADE", "light"))
        return ChunkResult([file_output(build.root, path, 1)])

    def finish(self, build: Build, records: list[dict[str, Any]]) -> dict[str, Any]:
        return {}

    def reset(self, build: Build) -> None:
        remove(build.root / "shade.txt")
