"""The attacks of the modes: what is varied, from where, within what box. How it climbs is `ascent`."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.seeds import normal_rows, seed_of
from stages.augment.ascent import Attack, Outcome, Start, ascend
from stages.augment.held import HeldLayers
from stages.augment.modes.base import Context, Sources, Variants, no_partner, replace_layers


def step_of(context: Context, radius: Tensor) -> Tensor:
    """Length of a step [n]: as asked; else a quarter of the radius [n] (OM-ImageNet), or what reaches its edge."""
    config = context.config
    if config.step_size > 0:
        return torch.full_like(radius, config.step_size)
    return radius / min(4, config.attack_steps)


def attempt_seeds(
    context: Context, purpose: str, sources: Sources, items: Tensor, attempts: list[int]
) -> list[int]:
    """A seed for each variant's attempt."""
    keys = [sources.keys[i] for i in items.tolist()]
    return [seed_of(context.config.seed, purpose, k, a) for k, a in zip(keys, attempts, strict=True)]


def box(x: Tensor, centre: Tensor, radius: float, context: Context) -> Start:
    """Begin at x [n, *shape] in the l-infinity ball around a centre."""
    step = step_of(context, torch.full((len(x),), radius, device=x.device))
    return Start(x, centre - radius, centre + radius, step)


def uniform_in_box(centre: Tensor, radius: float, seeds: list[int]) -> Tensor:
    """Points [n, *shape] drawn uniformly from l-infinity balls, one from each seed."""
    shape = tuple(centre.shape[1:])
    draws = [torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return centre + radius * (2 * torch.stack(draws).to(centre.device) - 1)


def attacked(sources: Sources, context: Context, attack: Attack) -> Outcome:
    """Run an attack against the context's classifier."""
    assert context.classify is not None
    return ascend(attack, sources.labels.to(sources.w.device), context.classify, context.slots)


@dataclass
class BallAttack:
    """PGD (Madry et al. 2018) within an l-infinity ball around each centre; with one step it is FGSM.

    PGD begins anywhere in the ball, so that a sample's variants differ; FGSM begins at the centre. All steps are
    done, as in adversarial training.

    Attributes:
        centres: [B, *shape].
        bounds: what every x stays in besides.
    """

    sources: Sources
    context: Context
    purpose: str
    centres: Tensor
    radius: float
    render: Callable[[Tensor, Tensor], Tensor]
    bounds: tuple[float, float] = (-torch.inf, torch.inf)
    stop_early: bool = False

    def __post_init__(self) -> None:
        self.shape = tuple(self.centres.shape[1:])
        self.steps, self.attempts = self.context.config.attack_steps, self.context.config.restarts

    def begin(self, items: Tensor, attempts: list[int]) -> Start:
        """A point in the ball."""
        centre = self.centres[items]
        seeds = attempt_seeds(self.context, self.purpose, self.sources, items, attempts)
        x = centre if self.steps == 1 else uniform_in_box(centre, self.radius, seeds)
        start = box(x, centre, self.radius, self.context)
        return Start(
            x.clamp(*self.bounds), start.low.clamp(*self.bounds), start.high.clamp(*self.bounds), start.step
        )

    def images(self, x: Tensor, items: Tensor) -> Tensor:
        """The image that x is, or is the code of."""
        return self.render(x, items)


@dataclass
class MixAttack:
    """Algorithm 2 of AdvMix: restarts from random map(z) in the fine layers, ascent around each start."""

    sources: Sources
    context: Context
    stop_early: bool = True

    def __post_init__(self) -> None:
        self.shape = tuple(self.sources.w.shape[1:])
        self.steps, self.attempts = self.context.config.attack_steps, self.context.config.restarts
        first, generator = min(self.context.fine_layers), self.context.generator
        self.held = None
        if generator is not None and first > 0 and self.sources.composition is None:
            self.held = HeldLayers(generator, lambda items: self.sources.w[items], first)

    def begin(self, items: Tensor, attempts: list[int]) -> Start:
        """Mix map(z) of a typical z in; only the fine layers may move (lines 4 and 5)."""
        config, w = self.context.config, self.sources.w[items]
        z = normal_rows((self.context.z_dim,), attempt_seeds(self.context, "advmix", self.sources, items, attempts))
        mapped = self.context.map(typical(z, config.typical).to(w.device))
        x = replace_layers(w, mapped, self.context.fine_layers)
        ball = box(x, x, config.epsilon, self.context)
        low, high = (replace_layers(w, edge, self.context.fine_layers) for edge in (ball.low, ball.high))
        return Start(x, low, high, ball.step)

    def images(self, x: Tensor, items: Tensor) -> Tensor:
        """dec(w_coarse, w_fine)."""
        if self.held is not None:
            return self.held.render(x, items)
        return self.context.render(x, self.sources.codes(items))


def typical(z: Tensor, delta: float) -> Tensor:
    """Put z [n, d] into the typical set sqrt(d) +- delta d^(1/4) of N(0, 1), by its length (AdvMix, eq. 15).

    StyleGAN's mapping begins by normalising z, so there this changes nothing.
    """
    d = z.shape[1]
    length = z.norm(dim=1, keepdim=True)
    middle, width = math.sqrt(d), delta * math.sqrt(math.sqrt(d))
    scale: Tensor = length.clamp(middle - width, middle + width) / length
    return z * scale


def pixel_attack(sources: Sources, context: Context, images: Tensor, purpose: str) -> Variants:
    """PGD on images [B, 3, H, W] in [-1, 1]; the variants' w stays the source's."""
    radius = context.config.pixel_epsilon
    attack = BallAttack(sources, context, purpose, images, radius, lambda x, items: x, bounds=(-1.0, 1.0))
    outcome = attacked(sources, context, attack)
    return Variants(sources.w, no_partner(sources), outcome.x, told(outcome, radius))


def latent_attack(sources: Sources, context: Context, purpose: str) -> Variants:
    """OM-PGD in all layers of w+ (OM-ImageNet)."""
    radius = context.config.epsilon

    def render(w: Tensor, items: Tensor) -> Tensor:
        return context.render(w, sources.codes(items))

    attack = BallAttack(sources, context, purpose, sources.w, radius, render)
    outcome = attacked(sources, context, attack)
    return Variants(outcome.x, no_partner(sources), columns=told(outcome, radius))


def told(outcome: Outcome, epsilon: float) -> dict[str, Tensor]:
    """What an attack of one radius tells of its variants."""
    return {"epsilon": torch.full(outcome.attempt.shape, epsilon), "restarts": outcome.attempt + 1}
