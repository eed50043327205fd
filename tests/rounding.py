"""Another machine on this one: `python -m pytest -p tests.rounding` rounds products otherwise.

How depends on the shapes, layouts and addresses of what is multiplied, as with the kernels of another processor;
the same call rounds the same way each time. Tests that compare what is computed in two ways have to allow for it,
those that repeat a computation need not. ROUNDING=1, 2 … are other machines.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

SHARE = 1.2e-7  # of a number, by which it is rounded up or down at most: a unit in the last place
MACHINE = int(os.environ.get("ROUNDING", "0"))
SHAKEN = (
    *((F, name) for name in ("conv2d", "conv_transpose2d", "linear", "batch_norm")),
    *((torch, name) for name in ("einsum", "matmul", "bmm", "addmm", "baddbmm", "conv2d")),
    (Tensor, "__matmul__"),
)
# Worker processes compute as they are; memory is counted; programs are exported.
NOT_HERE = (
    "test_execute.py",
    "test_compiled.py",
    "faults/",
    "test_footprint.py",
    "test_an_exported_program_only_where_trusted",
)


def shaken(original: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with another rounding."""

    def run(*args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        if not isinstance(out, Tensor) or out.dtype != torch.float32 or out.device.type != "cpu":
            return out
        given = [each for each in args if isinstance(each, Tensor)]
        facts = (MACHINE, *((each.shape, each.stride(), each.data_ptr() % 64) for each in given))
        rng = torch.Generator().manual_seed(hash(facts) % 2**62)
        with torch.no_grad():
            factor = 1 + torch.empty(out.shape).uniform_(-SHARE, SHARE, generator=rng)
        return out * factor

    return run


def pytest_configure() -> None:
    for owner, name in SHAKEN:
        setattr(owner, name, shaken(getattr(owner, name)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(part in item.nodeid for part in NOT_HERE):
            item.add_marker(pytest.mark.skip(reason="not with another rounding in this process"))
