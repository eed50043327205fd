"""Projected gradient ascent on a classifier's cross-entropy, each variant by itself in a slot of a batch.

A slot holds one variant: its attempts (random restarts) follow each other there, and whoever is done makes room for
the next (`pipeline.slots`). So Algorithm 2 of AdvMix runs exactly as printed, and the batch stays full.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.slots import solve

STATE = ("x", "low", "high", "best", "step", "best_loss", "attempt", "taken", "best_attempt", "active", "done")


@dataclass(frozen=True)
class Start:
    """Where attempts begin, and the box they stay in.

    Attributes:
        x, low, high: [n, *shape]; where low = high, x is held.
        step: [n], length of a step in every coordinate.
    """

    x: Tensor
    low: Tensor
    high: Tensor
    step: Tensor


class Attack(Protocol):
    """What is attacked, and how far. `shape` is that of one variant's variable x.

    Attributes:
        attempts: most attempts, one after the other.
        steps: ascent steps of an attempt.
        stop_early: stop at the first misclassified image; else an attempt is judged by its last image.
    """

    shape: tuple[int, ...]
    attempts: int
    steps: int
    stop_early: bool

    def begin(self, items: Tensor, attempts: list[int]) -> Start:
        """Where variants `items` [n] begin their attempts of these numbers."""
        ...

    def images(self, x: Tensor, items: Tensor) -> Tensor:
        """Images [n, 3, H, W] of variables x [n, *shape] of these variants."""
        ...


@dataclass(frozen=True)
class Outcome:
    """Rows as the variants: x [N, *shape], whether it fooled the classifier [N], in which attempt [N], of how many.

    Of a variant that never did, x is where the cross-entropy was highest (AdvMix, eq. 16); it is not finite where
    the classifier never gave a finite loss.
    """

    x: Tensor
    fooled: Tensor
    attempt: Tensor
    attempts: int

    @property
    def spent(self) -> Tensor:
        """Attempts made of each variant [N]: all, where none fooled."""
        return torch.where(self.fooled, self.attempt + 1, self.attempts)


@torch.enable_grad()
def ascend(attack: Attack, labels: Tensor, classify: Callable[[Tensor], Tensor], slots: int) -> Outcome:
    """Attack variants with labels [N], at most `slots` at once; fewer where memory does not suffice."""
    count = len(labels)
    asked = Asked(attack, labels, classify)
    fooled, attempt = torch.zeros(count, dtype=torch.bool), torch.zeros(count, dtype=torch.int64)

    def ascent(slots: int) -> Ascent:
        return Ascent(asked, slots, fooled, attempt)

    most = attack.attempts * (attack.steps + 1)
    solution = solve(asked, count, slots, attack.shape, ascent, most)
    return Outcome(solution.w.to(labels.device), fooled, attempt, attack.attempts)


class Asked:
    """The classifier's answers on the variants in the slots (a `Problem` of `pipeline.slots`)."""

    def __init__(self, attack: Attack, labels: Tensor, classify: Callable[[Tensor], Tensor]):
        self.attack, self.labels, self.classify = attack, labels, classify
        self.resize(0)

    def resize(self, slots: int) -> None:
        """Make room; empty slots repeat variant 0, and nobody looks at them."""
        self.items = torch.zeros(slots, dtype=torch.int64, device=self.labels.device)
        self.wrong = torch.zeros(slots, dtype=torch.bool, device=self.labels.device)
        self.entered: Start | None = None

    def enter(self, slots: Tensor, samples: Tensor) -> Tensor:
        """Put variants into slots, at the beginning of their first attempts."""
        items = samples.to(self.items.device)
        self.items[slots] = items
        self.entered = self.attack.begin(items, [0] * len(items))
        return self.entered.x

    def loss(self, w: Tensor, steps: Tensor) -> Tensor:
        """Log-odds against the label [B]; `wrong` then tells who is misclassified."""
        labels = self.labels[self.items]
        logits = self.classify(self.attack.images(w, self.items))
        self.wrong = logits.detach().argmax(dim=1) != labels
        return log_odds_against(logits, labels)

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        self.items, self.wrong = self.items[slots], self.wrong[slots]


class Ascent:
    """x <- proj(x + step sign(grad)) (AdvMix, eq. 9; Madry et al. 2018), a `SlotOptimizer`.

    The gradient is that at the current point. An attempt evaluates its start and the point after each step.
    """

    def __init__(self, asked: Asked, slots: int, fooled: Tensor, attempt: Tensor):
        device = asked.labels.device
        self.asked, self.attack = asked, asked.attack
        self.fooled, self.attempt_of = fooled, attempt  # what is told of each variant that is done
        self.x = torch.zeros(slots, *self.attack.shape, device=device)
        self.low, self.high, self.best = self.x.clone(), self.x.clone(), self.x.clone()
        self.step = torch.zeros(slots, device=device)
        self.best_loss = torch.full((slots,), -torch.inf, device=device)
        self.attempt, self.taken, self.best_attempt = (
            torch.zeros(slots, dtype=torch.int64, device=device) for _ in range(3)
        )
        self.active = torch.zeros(slots, dtype=torch.bool, device=device)
        self.done = self.active.clone()

    def enter(self, slots: Tensor, w: Tensor) -> None:
        """Begin the variants that `asked` has just let in."""
        assert self.asked.entered is not None
        self.begin(slots, self.asked.entered)
        self.best[slots] = torch.nan
        self.best_loss[slots] = -torch.inf
        self.attempt[slots] = self.best_attempt[slots] = 0
        self.active[slots] = True

    def begin(self, slots: Tensor, start: Start) -> None:
        """Begin an attempt in some slots."""
        self.x[slots], self.low[slots], self.high[slots] = start.x, start.low, start.high
        self.step[slots] = start.step
        self.taken[slots] = 0

    def propose(self) -> Tensor:
        """The present points."""
        return self.x

    def needs_gradient(self) -> bool:
        """Not where every attempt is at its last point, which is only judged."""
        return bool((self.active & (self.taken < self.attack.steps)).any())

    def observe(self, loss: Tensor, gradient: Tensor) -> None:
        """Judge the present points, then step, begin the next attempt, or be done."""
        finite = torch.isfinite(loss)
        wrong, last = self.asked.wrong, (self.taken >= self.attack.steps) | ~finite  # from there no step leads on
        judged = finite & (last | self.attack.stop_early)
        fooled = judged & wrong
        better = fooled | (judged & (loss > self.best_loss))
        self.best = torch.where(across(better, self.x), self.x, self.best)
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best_attempt = torch.where(better, self.attempt, self.best_attempt)
        over = last & (self.attempt + 1 >= self.attack.attempts)
        self.done = self.active & (fooled | over)
        self.active = self.active & ~self.done
        for item, slot in self.who(self.done):
            self.fooled[item], self.attempt_of[item] = bool(fooled[slot]), int(self.best_attempt[slot])
        self.x = torch.minimum(self.x + across(self.step, self.x) * gradient.sign(), self.high).maximum(self.low)
        self.taken += 1
        again = torch.nonzero(last & self.active).flatten()
        if len(again):
            self.attempt[again] += 1
            self.begin(again, self.attack.begin(self.asked.items[again], self.attempt[again].tolist()))

    def who(self, chosen: Tensor) -> list[tuple[int, int]]:
        """Variant and slot of some slots."""
        slots = torch.nonzero(chosen).flatten()
        return list(zip(self.asked.items[slots].tolist(), slots.tolist(), strict=True))

    def finished(self) -> Tensor:
        """Fooled the classifier, or out of attempts."""
        return self.done

    def result(self) -> Tensor:
        """The point that fooled, else that of the highest loss."""
        return self.best

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        for name in STATE:
            setattr(self, name, getattr(self, name)[slots])


def log_odds_against(logits: Tensor, labels: Tensor) -> Tensor:
    """t = logsumexp of the other classes' logits - the label's [B]: cross-entropy is softplus(t).

    The two rise together, so the sign of the gradient is the same and the worst image too; but t does not vanish in
    float32 where a classifier is sure of itself, as the cross-entropy and its gradient do.
    """
    own = F.one_hot(labels, logits.shape[1]).bool()
    others = logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
    return others - logits.gather(1, labels[:, None])[:, 0]


def across(values: Tensor, x: Tensor) -> Tensor:
    """Values [B] in the shape [B, 1, ...] that goes with x [B, *shape]."""
    return values.reshape(-1, *[1] * (x.dim() - 1))
