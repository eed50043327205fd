"""Adam on a batch of W+ codes. Nothing in it mixes samples, so one that diverges harms no other."""

from collections.abc import Callable

import torch
from torch import Tensor

BETAS = (0.9, 0.9)  # a short memory of the squared gradient: worth 1-3 dB at equal steps over 0.99
DECAY_FROM = 0.75  # share of the steps after which the step size falls linearly to zero

Loss = Callable[[Tensor, int], Tensor]


def minimise(loss: Loss, start: Tensor, steps: int, learning_rate: float) -> Tensor:
    """Minimise per-sample losses over w+.

    Args:
        loss: maps w+ [B, num_ws, w_dim] and the number of the step to losses [B].
        start: where to begin, [B, num_ws, w_dim].

    Returns:
        The w+ after the last step, [B, num_ws, w_dim]; not finite where a sample diverged.
    """
    w = start.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([w], lr=learning_rate, betas=BETAS)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * step_scale(step / steps)
        (w.grad,) = torch.autograd.grad(loss(w, step).sum(), w)
        optimizer.step()
    return w.detach()


def step_scale(progress: float) -> float:
    """Step size at `progress` in [0, 1), as a share of the largest."""
    return min(1.0, (1 - progress) / (1 - DECAY_FROM))
