"""NaTra's attack: ascent along label-irrelevant edits, within a radius in deviations of w."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.ascent import Outcome, Start
from pipeline.directions import within_typical
from pipeline.seeds import normal_rows
from stages.augment.attacks import attempt_seeds, step_of
from stages.augment.modes.base import Context, Sources


@dataclass
class EditAttack:
    """A variant's x is r [edits]: how far w goes along each edit, in deviations of w along its axis.

    With `adaptive` (eq. 13 of NaTra), attempt a is restart a % N_r within the radius (1 + a // N_r) rho around the
    source, so the first success is at the smallest such radius; else every attempt stays within epsilon of a random
    edit of its own. Where `combine` is less than all edits, a variant has so many of them, drawn at random.
    """

    sources: Sources
    context: Context
    adaptive: bool
    stop_early: bool = True

    def __post_init__(self) -> None:
        config, edits, device = self.context.config, self.context.edits, self.sources.w.device
        self.shape: tuple[int, ...] = (len(edits),)
        self.steps = config.attack_steps
        levels = -(-config.most_epsilon // config.rho) if self.adaptive else 1
        self.attempts = int(levels) * config.restarts
        layer = torch.arange(self.sources.w.shape[1])
        self.inside = torch.stack([(layer >= e.first_layer) & (layer <= e.last_layer) for e in edits]).to(device)
        self.axes = torch.stack([edit.axis for edit in edits]).to(device)
        self.deviation, self.mean, self.typical = (
            torch.tensor([getattr(edit, name) for edit in edits], device=device)
            for name in ("deviation", "mean", "typical")
        )
        self.allowed = self.draw_edits().to(device)

    def draw_edits(self) -> Tensor:
        """Which edits each variant may combine, bool [B, edits]."""
        count, combine = self.shape[0], self.context.config.combine
        allowed = torch.ones(len(self.sources), count, dtype=torch.bool)
        if 0 < combine < count:
            allowed[:] = False
            for row, seed in enumerate(self.context.seeds("natra edits", self.sources.keys)):
                allowed[row, torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:combine]] = True
        return allowed

    def radius(self, attempt: int) -> float:
        """Radius of the ball around the source in an attempt, up to the truncation."""
        config = self.context.config
        return min(config.most_epsilon, (1 + attempt // config.restarts) * config.rho)

    def kept_epsilon(self, outcome: Outcome) -> Tensor:
        """epsilon_i [B]: the largest radius at which the classifier held, a multiple of rho or the truncation."""
        config = self.context.config
        levels = outcome.attempt // config.restarts
        return torch.where(outcome.fooled, levels * config.rho, config.most_epsilon).float()

    def begin(self, items: Tensor, attempts: list[int]) -> Start:
        """Edits by r ~ N(0, 1), projected onto where they may be."""
        config, device = self.context.config, self.sources.w.device
        seeds = attempt_seeds(self.context, "natra", self.sources)
        drawn = normal_rows(self.shape, seeds(items, attempts)).to(device)
        most = config.most_epsilon
        if self.adaptive:
            radius = torch.tensor([self.radius(a) for a in attempts], device=device)
            low, high = (sign * radius[:, None].expand_as(drawn) for sign in (-1, 1))
            x = drawn.minimum(high).maximum(low)
        else:
            radius = torch.full((len(items),), config.epsilon, device=device)
            x = drawn.clamp(-most, most)
            low, high = (x - config.epsilon).clamp_min(-most), (x + config.epsilon).clamp_max(most)
        x, low, high = (torch.where(self.allowed[items], each, 0.0) for each in (x, low, high))
        steps = [step_of(self.context, reach) for reach in radius.tolist()]
        return Start(x, low, high, torch.tensor(steps, device=device))

    def edited(self, x: Tensor, items: Tensor) -> Tensor:
        """w + sum of r deviation(u) u [n, num_ws, w_dim]."""
        moves = self.moves(x, items) * self.deviation[:, None]
        return self.sources.w[items] + torch.einsum("nal,ad->nld", moves, self.axes)

    def moves(self, x: Tensor, items: Tensor) -> Tensor:
        """How far each edit goes in each layer [n, edits, num_ws], in deviations: at most to the typical bound."""
        place = torch.einsum("nld,ad->nal", self.sources.w[items], self.axes) / self.deviation[:, None]
        r = within_typical(place - self.mean[:, None], x[:, :, None], self.typical[:, None])
        return torch.where(self.inside, r, 0.0)

    def images(self, x: Tensor, items: Tensor) -> Tensor:
        """dec of the edited code."""
        return self.context.render(self.edited(x, items), self.sources.codes(items))
