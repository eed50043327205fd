"""Attacks on classifiers: sign-gradient ascent of the cross-entropy, within bounds, until the classifier errs.

A sample's course depends on itself and its seed alone, not on its neighbours in the batch.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Points [A, …] and the rows [A] of the batch that they belong to.
LogitsOf = Callable[[Tensor, Tensor], Tensor]
Project = Callable[[Tensor, Tensor], Tensor]


def ascend(
    logits_of: LogitsOf,
    start: Tensor,
    labels: Tensor,
    project: Project,
    step: float,
    steps: int,
    *,
    early_exit: bool = True,
) -> tuple[Tensor, Tensor]:
    """Climb from `start` [B, …] by steps of +-`step` in every coordinate (AdvMix, eq. 9; Madry et al. 2018).

    Args:
        logits_of: logits [A, C] of points [A, …], with a gradient to them.
        labels: true classes [B].
        project: pulls points back to where they may be.
        early_exit: leave a sample where it is as soon as it is misclassified.

    Returns:
        The last points [B, …], and whether each is misclassified [B].
    """
    points = start.detach().clone()
    fooled = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    rows = torch.arange(len(points), device=points.device)
    for number in range(steps + 1):
        with torch.enable_grad():
            here = points[rows].requires_grad_()
            logits = logits_of(here, rows)
            wrong = logits.detach().argmax(dim=1) != labels[rows]
            fooled[rows] = wrong
            going_on = ~wrong if early_exit else torch.ones_like(wrong)
            if number == steps or not going_on.any():
                break
            loss = F.cross_entropy(logits, labels[rows], reduction="sum")
            (gradient,) = torch.autograd.grad(loss, here)
        rows = rows[going_on]
        points[rows] = project(here.detach()[going_on] + step * gradient[going_on].sign(), rows)
    return points, fooled


def pgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    step: float,
    steps: int,
    seeds: Sequence[int] | None = None,
    *,
    early_exit: bool = True,
) -> Tensor:
    """Projected gradient descent in the l-infinity ball (Madry et al. 2018).

    Args:
        images: [B, 3, H, W] in [-1, 1]; epsilon and step are in the same units.
        seeds: one for each image, which then begins at a random place of its ball; None begins at the image.
        early_exit: stop at the first misclassification; a training that wants the worst image turns it off.

    Returns:
        Images [B, 3, H, W] in [-1, 1], each within `epsilon` of its original.
    """

    def project(points: Tensor, rows: Tensor) -> Tensor:
        return into_ball(points, images[rows], epsilon).clamp(-1, 1)

    start = images if seeds is None else (images + epsilon * uniform_like(images, seeds)).clamp(-1, 1)
    return ascend(lambda x, _: network(x), start, labels, project, step, steps, early_exit=early_exit)[0]


def fgsm(network: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """The fast gradient sign method (Goodfellow et al. 2015): one step of length epsilon."""
    return pgd(network, images, labels, epsilon, epsilon, 1)


def into_ball(points: Tensor, centres: Tensor, epsilon: float) -> Tensor:
    """The nearest points of the l-infinity balls around `centres`."""
    return torch.maximum(torch.minimum(points, centres + epsilon), centres - epsilon)


def uniform_like(points: Tensor, seeds: Sequence[int]) -> Tensor:
    """Uniform in [-1, 1], row i drawn from seeds[i] alone."""
    rows = [torch.rand(points.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return (torch.stack(rows) * 2 - 1).to(points.device)
