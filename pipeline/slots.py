"""Continuous batching of optimisations: a sample that is done leaves its slot, and the next one takes it.

So the device stays full, and easy samples cost little. Inversion and the attacks of `augment` run on it; what a
sample optimises and how it steps are theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.memory import OutOfMemoryError, free_cached, is_out_of_memory
from pipeline.progress import report


class Problem(Protocol):
    """The losses of samples in slots; a sample's variable is of any one shape, w+ [num_ws, w_dim] mostly."""

    def resize(self, slots: int) -> None:
        """Make room for so many slots, all empty."""
        ...

    def enter(self, slots: Tensor, samples: Tensor) -> Tensor:
        """Put samples into slots; return where they start, [len(slots), *shape]."""
        ...

    def loss(self, w: Tensor, steps: Tensor) -> Tensor:
        """Losses [B] of the slots at w [B, *shape]; `steps` [B] is how many they have done."""
        ...

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        ...


class SlotOptimizer(Protocol):
    """What the batch loop needs of an optimiser."""

    def enter(self, slots: Tensor, w: Tensor) -> None:
        """Begin new samples in some slots, at w [len(slots), *shape]."""
        ...

    def propose(self) -> Tensor:
        """The w [B, *shape] whose loss and gradient are wanted next."""
        ...

    def needs_gradient(self) -> bool:
        """Whether any slot will make use of the gradient there."""
        ...

    def observe(self, loss: Tensor, gradient: Tensor) -> None:
        """Take the losses [B] and gradients [B, *shape] at what was proposed; zeros where none is needed."""
        ...

    def finished(self) -> Tensor:
        """Which slots are done [B]."""
        ...

    def result(self) -> Tensor:
        """The best w so far [B, *shape]."""
        ...

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        ...


@dataclass(frozen=True)
class Solution:
    """Rows as the samples: w [N, *shape], not finite where a sample diverged, and evaluations [N]."""

    w: Tensor
    steps: Tensor


def solve(
    problem: Problem,
    count: int,
    slots: int,
    shape: tuple[int, ...],
    optimizer: Callable[[int], SlotOptimizer],
    most_steps: int = 0,
) -> Solution:
    """Solve samples 0 to `count`, at most `slots` at once; out of memory, with half as many.

    Args:
        problem: whose losses are minimised.
        count: number of samples.
        slots: most samples at once.
        shape: of a sample's variable.
        optimizer: makes the optimiser of so many slots.
        most_steps: evaluations of a sample that takes the longest, by which its progress is reported; 0 reports
            samples that are done only.

    Raises:
        OutOfMemoryError: a single sample is too much for the memory.
    """
    solution = Solution(torch.full((count, *shape), torch.nan), torch.zeros(count, dtype=torch.int64))
    left = list(range(count))
    slots = min(slots, count)
    while left:
        short = False
        try:
            run_batch(problem, left, min(slots, len(left)), optimizer, solution, most_steps)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if slots == 1:
                raise OutOfMemoryError from error
            short = True
        left = [i for i in left if solution.steps[i] == 0]
        if short:
            slots = -(-min(slots, len(left)) // 2)
            free_cached()  # here, where the frames that hold the batch are gone
    return solution


def run_batch(
    problem: Problem,
    samples: list[int],
    slots: int,
    optimizer: Callable[[int], SlotOptimizer],
    solution: Solution,
    most_steps: int,
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
        w = state.propose().detach().requires_grad_(True)
        if state.needs_gradient():
            loss = problem.loss(w, steps)
            (gradient,) = torch.autograd.grad(loss.sum(), w)
        else:
            with torch.no_grad():
                loss, gradient = problem.loss(w, steps), torch.zeros_like(w)
        state.observe(loss.detach(), gradient)
        steps += 1
        done = torch.nonzero(state.finished().cpu() & (held >= 0)).flatten()
        if len(done):
            solution.w[held[done]] = state.result()[done].cpu()
            solution.steps[held[done]] = steps[done]
            held[done] = -1
        free = torch.nonzero(held < 0).flatten()
        report(progress_of(solution, steps[held >= 0], most_steps), len(solution.steps))


def progress_of(solution: Solution, steps: Tensor, most_steps: int) -> float:
    """Samples that are done, and the shares of those that have done `steps` [B]."""
    begun = float((steps / most_steps).clamp_max(1).sum()) if most_steps else 0.0
    return int((solution.steps > 0).sum()) + begun
