"""Continuous batching: a sample that is done leaves its slot, and the next one takes it.

So the device stays full, and easy images cost little.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stages.invert.optimizers import SlotOptimizer


class Problem(Protocol):
    """The losses of samples in slots."""

    def resize(self, slots: int) -> None:
        """Make room for so many slots, all empty."""
        ...

    def enter(self, slots: Tensor, samples: Tensor) -> Tensor:
        """Put samples into slots; return where they start, theta [len(slots), rows, w_dim]."""
        ...

    def loss(self, theta: Tensor, steps: Tensor) -> Tensor:
        """Losses [B] of the slots at theta [B, rows, w_dim]; `steps` [B] is how many they have done."""
        ...

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        ...


@dataclass(frozen=True)
class Solution:
    """Rows as the samples: theta [N, rows, w_dim], not finite where a sample diverged, and evaluations [N]."""

    theta: Tensor
    steps: Tensor


def solve(
    problem: Problem, count: int, slots: int, shape: tuple[int, int], optimizer: Callable[[int], SlotOptimizer]
) -> Solution:
    """Solve samples 0 to `count`, at most `slots` at once; out of memory, with half as many."""
    solution = Solution(torch.full((count, *shape), torch.nan), torch.zeros(count, dtype=torch.int64))
    left = list(range(count))
    while left:
        try:
            run_batch(problem, left, min(slots, len(left)), optimizer, solution)
        except torch.OutOfMemoryError:
            if slots == 1:
                raise
            slots = -(-min(slots, len(left)) // 2)
            torch.cuda.empty_cache()
        left = [i for i in left if solution.steps[i] == 0]
    return solution


def run_batch(
    problem: Problem,
    samples: list[int],
    slots: int,
    optimizer: Callable[[int], SlotOptimizer],
    solution: Solution,
) -> None:
    """Run all `samples` through a batch of `slots` and write each to `solution` when it is done."""
    state = optimizer(slots)
    problem.resize(slots)
    waiting = list(reversed(samples))
    held = torch.full((slots,), -1)
    steps = torch.zeros(slots, dtype=torch.int64)
    free = torch.arange(slots)
    while True:
        if len(free) and waiting:
            entering = free[: len(waiting)]
            chosen = torch.tensor([waiting.pop() for _ in entering])
            held[entering], steps[entering] = chosen, 0
            state.enter(entering, problem.enter(entering, chosen))
        elif 2 * len(free) >= len(held):  # nothing waits: go on with a smaller batch
            busy = torch.nonzero(held >= 0).flatten()
            if len(busy) == 0:
                return
            state.keep(busy)
            problem.keep(busy)
            held, steps = held[busy], steps[busy]
        theta = state.propose().detach().requires_grad_(True)
        loss = problem.loss(theta, steps)
        (gradient,) = torch.autograd.grad(loss.sum(), theta)
        state.observe(loss.detach(), gradient)
        steps += 1
        done = torch.nonzero(state.finished().cpu() & (held >= 0)).flatten()
        if len(done):
            solution.theta[held[done]] = state.result()[done].cpu()
            solution.steps[held[done]] = steps[done]
            held[done] = -1
        free = torch.nonzero(held < 0).flatten()
