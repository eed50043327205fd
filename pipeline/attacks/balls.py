"""PGD and FGSM (Madry et al. 2018; Goodfellow et al. 2015), on pixels or on codes: ascent in l-infinity balls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.attacks.ascent import Start, ascend

# Variants [n] and the numbers of their attempts to a seed for each: all that is random about an attempt.
Seeds = Callable[[Tensor, list[int]], list[int]]
PIXELS = (-1.0, 1.0)


@dataclass
class BallAttack:
    """Ascent within an l-infinity ball around each centre; with one step it is FGSM.

    PGD begins anywhere in the ball, so that a sample's variants differ; FGSM begins at the centre. By default all
    steps are done, as in adversarial training.

    Attributes:
        centres: [B, *shape].
        render: points x [n, *shape] of variants [n] to images [n, 3, H, W].
        bounds: what every x stays in besides.
    """

    centres: Tensor
    radius: float
    step: float
    steps: int
    seeds: Seeds
    render: Callable[[Tensor, Tensor], Tensor]
    attempts: int = 1
    bounds: tuple[float, float] = (-torch.inf, torch.inf)
    stop_early: bool = False

    def __post_init__(self) -> None:
        self.shape = tuple(self.centres.shape[1:])

    def begin(self, items: Tensor, attempts: list[int]) -> Start:
        """A point in the ball."""
        centre = self.centres[items]
        x = centre if self.steps == 1 else uniform_in_ball(centre, self.radius, self.seeds(items, attempts))
        step = torch.full((len(x),), self.step, device=x.device)
        low, high = centre - self.radius, centre + self.radius
        x, low, high = (part.clamp(*self.bounds) for part in (x, low, high))
        return Start(x, low, high, step)

    def images(self, x: Tensor, items: Tensor) -> Tensor:
        """The image that x is, or is the code of."""
        return self.render(x, items)


def uniform_in_ball(centre: Tensor, radius: float, seeds: Sequence[int]) -> Tensor:
    """Points [n, *shape] drawn uniformly from l-infinity balls, one from each seed."""
    shape = tuple(centre.shape[1:])
    draws = [torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return centre + radius * (2 * torch.stack(draws).to(centre.device) - 1)


def worst_images(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    step: float,
    steps: int,
    seeds: Sequence[int],
    slots: int = 64,
) -> Tensor:
    """PGD on images [B, 3, H, W] in [-1, 1], `slots` at once; `epsilon` and `step` are in the same units.

    There is a seed for each image.
    """

    def seeds_of(items: Tensor, attempts: list[int]) -> list[int]:
        return [seeds[item] for item in items.tolist()]

    attack = BallAttack(images, epsilon, step, steps, seeds_of, lambda x, items: x, bounds=PIXELS)
    return ascend(attack, labels, network, slots).x
