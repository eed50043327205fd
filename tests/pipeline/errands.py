"""What tests send to workers."""

import os
import time
from pathlib import Path


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


def sleep_beside(path: Path, seconds: float) -> None:
    """Say that it has begun, then sleep."""
    path.touch()
    time.sleep(seconds)
