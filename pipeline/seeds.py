"""Randomness by name: every draw comes from (seed, purpose, what it is for), never from order or worker."""

import hashlib

import torch
from torch import Tensor


def seed_of(seed: int, purpose: str, *parts: int | str) -> int:
    """A 63-bit seed that depends on exactly these arguments."""
    text = "\0".join([str(seed), purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, purpose: str, *parts: int | str) -> torch.Generator:
    """A CPU random generator seeded by `seed_of`; draw on the CPU so that every device sees the same."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, *parts))


def normal_rows(shape: tuple[int, ...], seeds: list[int]) -> Tensor:
    """Standard normal [len(seeds), *shape], row i drawn from seeds[i] alone."""
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)
