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
    trim_threshold, mmap_threshold, mmap_max, largest = -1, -3, -4, 1 << 25
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(mmap_threshold, largest)
        mallopt(mmap_max, 0)  # tensors above the largest threshold, from 256x256 images on


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether a device multiplies bfloat16 faster than float32: GPUs, and CPUs with instructions for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "DEFAULT")).upper()
    if device.type != "cpu" or not limit.startswith(("DEFAULT", "ALL", "AVX512_CORE_BF16", "AVX512_CORE_AMX")):
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def give_back_memory() -> None:
    """Give the system back what was freed all the same: after a trial in a process that computes no more."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def channels_last(module: M) -> M:
    """Keep a network's convolution weights as [O, H, W, I]: the fast order on CPUs and on tensor cores."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
