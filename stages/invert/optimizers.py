"""Optimisers for many samples at once, each sample on its own: no number of one ever enters another.

A batch has slots. A sample enters a slot, is stepped together with its neighbours, and leaves when it is done;
its state is reset for the next one. All work in the coordinates of a `Preconditioner`.
"""

import torch
from torch import Tensor

from stages.invert.preconditioner import Preconditioner

HISTORY = 100  # pairs that L-BFGS remembers: where a w has 512 numbers, all of them help
FIRST_STEP = 0.06  # length of the first step, in preconditioned coordinates: it only feels for the curvature
LOOKBACK = 5  # steps over which progress is judged
BETAS = (0.65, 0.8)  # short memories: worth some dB at equal steps, once the coordinates are right
DECAY_FROM = 0.5  # share of Adam's steps after which the step size falls linearly to zero


class Lbfgs:
    """L-BFGS (Nocedal 1980) for each slot: one evaluation a step, a step that does not descend is shortened.

    For deterministic losses. The loss of a sample never rises, so a result is never worse than its start.

    Args:
        steps: most evaluations for a sample.
        tolerance: a sample is done when LOOKBACK steps lowered its loss by no more than this share.
    """

    def __init__(self, slots: int, preconditioner: Preconditioner, steps: int, tolerance: float):
        rows, dim, _ = preconditioner.basis.shape
        device = preconditioner.basis.device
        self.preconditioner, self.steps, self.tolerance = preconditioner, steps, tolerance
        self.theta = torch.zeros(slots, rows, dim, device=device)
        self.trial = self.theta.clone()
        self.move = torch.zeros(slots, rows * dim, device=device)  # u of the trial, from theta
        self.gradient = torch.zeros_like(self.move)
        self.loss = torch.full((slots,), torch.inf, device=device)
        self.recent = torch.full((LOOKBACK, slots), torch.inf, device=device)
        self.count = torch.zeros(slots, dtype=torch.int64, device=device)
        self.radius = torch.ones(slots, device=device)
        self.scale = torch.ones(slots, device=device)
        self.history = min(HISTORY, steps)
        self.s = torch.zeros(self.history, slots, rows * dim, device=device)
        self.y = torch.zeros_like(self.s)
        self.rho = torch.zeros(self.history, slots, device=device)  # 1 / (s.y); 0 marks a pair that does not count
        self.newest, self.filled = 0, 0

    def enter(self, slots: Tensor, theta: Tensor) -> None:
        """Forget what the slots held."""
        self.theta[slots] = self.trial[slots] = theta
        self.loss[slots] = torch.inf
        self.recent[:, slots] = torch.inf
        self.count[slots] = 0
        self.radius[slots] = self.scale[slots] = 1
        self.rho[:, slots] = 0

    def propose(self) -> Tensor:
        """The trial points."""
        return self.trial

    def needs_gradient(self) -> bool:
        """Always."""
        return True

    def observe(self, loss: Tensor, gradient: Tensor) -> None:
        """Accept the trial where it descends, learn curvature from it anyway, and set the next trial."""
        gradient = self.preconditioner.to_u(gradient)
        first = self.count == 0
        accepted = first | (loss <= self.loss)
        self.remember(gradient, ~first)
        self.theta = torch.where(accepted[:, None, None], self.trial, self.theta)
        self.gradient = torch.where(accepted[:, None], gradient, self.gradient)
        self.loss = torch.where(accepted, loss, self.loss)
        shorter, longer = self.radius * 0.4, (self.radius * 1.5).clamp_max(1)
        self.radius = torch.where(first, self.radius, torch.where(accepted, longer, shorter))
        self.scale = torch.where(first, FIRST_STEP / self.gradient.norm(dim=1).clamp_min(1e-12), self.scale)
        self.count += 1
        self.recent = torch.cat([self.recent[1:], self.loss[None]])
        self.move = self.radius[:, None] * self.direction()
        self.trial = self.theta + self.preconditioner.to_theta(self.move)

    def remember(self, gradient: Tensor, usable: Tensor) -> None:
        """Keep the pair (s, y) of the last move where its curvature is positive."""
        change = gradient - self.gradient
        curvature = (self.move * change).sum(dim=1)
        good = usable & (curvature > 1e-10)
        self.newest, self.filled = (self.newest + 1) % self.history, min(self.filled + 1, self.history)
        self.s[self.newest] = torch.where(good[:, None], self.move, 0.0)
        self.y[self.newest] = torch.where(good[:, None], change, 0.0)
        self.rho[self.newest] = torch.where(good, 1 / curvature.clamp_min(1e-10), 0.0)
        scale = curvature / change.square().sum(dim=1).clamp_min(1e-12)
        self.scale = torch.where(good, scale, self.scale)

    def direction(self) -> Tensor:
        """The two-loop recursion: minus the inverse Hessian's estimate times the gradient."""
        order = [(self.newest - i) % self.history for i in range(self.filled)]  # from the newest pair to the oldest
        q, weights = self.gradient, {}
        for i in order:
            weights[i] = self.rho[i] * (self.s[i] * q).sum(dim=1)
            q = q - weights[i][:, None] * self.y[i]
        q = q * self.scale[:, None]
        for i in reversed(order):
            q = q + (weights[i] - self.rho[i] * (self.y[i] * q).sum(dim=1))[:, None] * self.s[i]
        descends = (q * self.gradient).sum(dim=1) > 0
        return -torch.where(descends[:, None], q, self.gradient * self.scale[:, None])

    def finished(self) -> Tensor:
        """Out of steps, not finite, or hardly descending any more."""
        slow = (self.recent[0] - self.loss) <= self.tolerance * self.recent[0]
        slow &= torch.isfinite(self.recent[0])
        return (self.count >= self.steps) | slow | ~torch.isfinite(self.loss)

    def result(self) -> Tensor:
        """The accepted points; not finite where there is none."""
        return torch.where(torch.isfinite(self.loss)[:, None, None], self.theta, torch.nan)

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        for name in ("theta", "trial", "move", "gradient", "loss", "count", "radius", "scale"):
            setattr(self, name, getattr(self, name)[slots])
        for name in ("recent", "s", "y", "rho"):
            setattr(self, name, getattr(self, name)[:, slots])


class Adam:
    """Adam (Kingma and Ba 2015) in preconditioned coordinates, for losses that are random from step to step."""

    def __init__(self, slots: int, preconditioner: Preconditioner, steps: int, learning_rate: float):
        rows, dim, _ = preconditioner.basis.shape
        device = preconditioner.basis.device
        # Adam scales every coordinate by itself; only the rotation is taken from the preconditioner.
        rotation = preconditioner.basis / preconditioner.basis.norm(dim=1, keepdim=True)
        self.preconditioner, self.steps, self.learning_rate = Preconditioner(rotation), steps, learning_rate
        self.theta = torch.zeros(slots, rows, dim, device=device)
        self.first = torch.zeros(slots, rows * dim, device=device)
        self.second = torch.zeros_like(self.first)
        self.count = torch.zeros(slots, dtype=torch.int64, device=device)

    def enter(self, slots: Tensor, theta: Tensor) -> None:
        """Forget what the slots held."""
        self.theta[slots] = theta
        self.first[slots] = self.second[slots] = 0
        self.count[slots] = 0

    def propose(self) -> Tensor:
        """The present points."""
        return self.theta

    def needs_gradient(self) -> bool:
        """Always."""
        return True

    def observe(self, loss: Tensor, gradient: Tensor) -> None:
        """One step."""
        gradient = self.preconditioner.to_u(gradient)
        progress = self.count / self.steps
        self.count += 1
        self.first = BETAS[0] * self.first + (1 - BETAS[0]) * gradient
        self.second = BETAS[1] * self.second + (1 - BETAS[1]) * gradient.square()
        mean = self.first / (1 - BETAS[0] ** self.count)[:, None]
        size = (self.second / (1 - BETAS[1] ** self.count)[:, None]).sqrt() + 1e-8
        rate = self.learning_rate * ((1 - progress) / (1 - DECAY_FROM)).clamp_max(1)
        self.theta = self.theta - self.preconditioner.to_theta(rate[:, None] * mean / size)

    def finished(self) -> Tensor:
        """Out of steps, or not finite."""
        return (self.count >= self.steps) | ~torch.isfinite(self.theta).all(dim=(1, 2))

    def result(self) -> Tensor:
        """The points after the last step."""
        return self.theta

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        for name in ("theta", "first", "second", "count"):
            setattr(self, name, getattr(self, name)[slots])
