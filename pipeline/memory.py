"""Memory: how much a process may take, what running out of it looks like, and going on with half as much."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from pipeline.errors import PipelineError
from pipeline.progress import report

T = TypeVar("T")

SHARE = "ONMANIFOLD_MEMORY"  # bytes that this process may take, where whoever started it has said
GROUPS = Path("/sys/fs/cgroup")
WORDS = ("out of memory", "not enough memory", "DefaultCPUAllocator", "can't allocate memory", "bad_alloc")


class OutOfMemoryError(PipelineError):
    """One image alone is too much for the memory."""

    def __init__(self, message: str = "one image alone needs more memory than there is") -> None:
        super().__init__(message)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory, of a GPU's or of the machine's (where PyTorch has no class for it)."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


def free_cached() -> None:
    """Give back what PyTorch keeps of a GPU's memory; call it when no frame of the error is alive any more."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def halved(size: int, attempt: Callable[[int], T]) -> tuple[T, int]:
    """What `attempt` returns at a batch size; out of memory, at half of it, and so on; and the size that did.

    Raises:
        OutOfMemoryError: even one at a time is too much.
    """
    while True:
        try:
            return attempt(size), size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size <= 1:
                raise OutOfMemoryError from error
        size = -(-size // 2)
        free_cached()  # here, where the frames that hold the batch are gone


def in_batches(count: int, size: int, compute: Callable[[slice], T], *, reported: bool = False) -> list[T]:
    """What `compute` makes of items 0 to `count`, in batches of nearly equal size; of smaller ones out of memory.

    With `reported`, they are the chunk's steps, or its part's (`pipeline.progress`).

    Raises:
        OutOfMemoryError: even one at a time is too much.
    """
    made: list[T] = []
    first = 0
    while first < count:
        left = count - first
        even = -(-left // -(-left // size))

        def attempt(batch: int, first: int = first) -> T:
            return compute(slice(first, min(first + batch, count)))

        result, did = halved(even, attempt)
        made.append(result)
        first += min(did, left)
        if reported:
            report(first, count)
        size = min(size, did) if did < even else size
    return made


def memory_share(device: torch.device) -> int:
    """Bytes that this process may fill: of a GPU what is free; else its share of the machine's.

    A process that this pipeline or a Dask scheduler started has been told its share.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    if os.environ.get(SHARE, "").isdecimal():
        return int(os.environ[SHARE])
    return min(available_memory(), worker_limit() or sys.maxsize)


def worker_limit() -> int:
    """Bytes that the Dask worker of this process may take; 0 if there is none, or no limit."""
    if "distributed" not in sys.modules:
        return 0
    from distributed import get_worker

    try:
        return int(get_worker().memory_manager.memory_limit or 0)
    except (ValueError, AttributeError):
        return 0


def available_memory() -> int:
    """Bytes that can be had on this machine without swapping, by its kernel and by the container's limit."""
    import psutil

    return max(0, min([int(psutil.virtual_memory().available), *group_memory()]))


def group_memory() -> list[int]:
    """Bytes that are left of the limit of this process's control group, if it has one."""
    left = []
    for folder, limit, used, cache in (
        (GROUPS, "memory.max", "memory.current", "inactive_file"),
        (GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            taken = int((folder / used).read_text()) - int(stat[cache])  # files that are cached make room
            left.append(int((folder / limit).read_text()) - taken)
        except (OSError, ValueError, KeyError):  # no such group, or no limit
            continue
    return left
