"""Which device to compute on, and with how many threads."""

import ctypes
import os
import sys
from typing import TypeVar

import torch
from torch import nn

from pipeline.errors import PipelineError

M = TypeVar("M", bound=nn.Module)


def resolve_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`. Raises PipelineError if CUDA is asked for and absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise PipelineError("--device cuda: PyTorch sees no CUDA device here; use --device cpu, or auto")
    return torch.device(name)


def cpu_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def use_one_thread() -> None:
    """Compute with one thread: workers then scale, and results do not depend on how many cores there are."""
    torch.set_num_threads(1)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Tell glibc's allocator not to give memory back to the system at once.

    Activations of the same sizes come and go thousands of times, and fetching their pages anew each time is slow
    (`make bench`, allocator). Elsewhere than on glibc this does nothing.
    """
    trim_threshold, mmap_threshold, largest = -1, -3, 1 << 25
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(trim_threshold, 1 << 30)
        mallopt(mmap_threshold, largest)


def give_back_memory() -> None:
    """Give the system back what was freed all the same: after a trial in a process that computes no more."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def channels_last(module: M) -> M:
    """Keep a network's convolution weights as [O, H, W, I]: the fast order on CPUs and on tensor cores."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
