"""Losses of full batches by kernels that `torch.compile` fuses; those of smaller batches as ever.

A step of a small generator is bound by memory traffic, most of it elementwise, and fusing that saves a third to a
half of its time. Every new shape is compiled anew, so only the shape that nearly all steps have is.
"""

import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.slots import Problem

COMPILERS = ("g++", "clang++")


class CompiledLosses:
    """A `Problem` of `pipeline.slots`: another's, whose losses are compiled for batches of the size `full`."""

    def __init__(self, problem: Problem, full: int):
        self.problem, self.full = problem, full
        self.fused: Callable[[Tensor, Tensor], Tensor] = torch.compile(problem.loss, dynamic=False)

    def resize(self, slots: int) -> None:
        """Make room for so many slots."""
        self.problem.resize(slots)

    def enter(self, slots: Tensor, samples: Tensor) -> Tensor:
        """Put samples into slots."""
        return self.problem.enter(slots, samples)

    def loss(self, w: Tensor, steps: Tensor) -> Tensor:
        """Losses [B] at w [B, *shape]."""
        return (self.fused if len(w) == self.full else self.problem.loss)(w, steps)

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        self.problem.keep(slots)


def require_compiler() -> None:
    """Raise PipelineError if there is no C++ compiler, which `torch.compile` needs."""
    names = (os.environ["CXX"],) if os.environ.get("CXX") else COMPILERS
    if not any(shutil.which(name) for name in names):
        raise PipelineError(
            f"--compile needs a C++ compiler ({' or '.join(names)}), and there is none: install one, or leave out "
            f"--compile"
        )
