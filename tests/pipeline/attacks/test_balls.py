"""Attacks against classifiers whose weakest direction is known in closed form."""

import torch
from torch import nn

from pipeline.attacks.ascent import ascend
from pipeline.attacks.balls import PIXELS, BallAttack, worst_images
from pipeline.classifiers.architectures import build_network

EPSILON = 0.1


def linear(margin: float = 0.0) -> nn.Module:
    """Two classes, told apart by the sign of the mean pixel plus `margin`."""
    network = build_network("linear", 2, 4)
    head = network.head
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.copy_(torch.stack([-torch.ones(48), torch.ones(48)]) / 48)
        head.bias.copy_(torch.tensor([-margin, margin]))
    return network.requires_grad_(False)


def images(count: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def attack(x: torch.Tensor, epsilon: float, step: float, steps: int, *, stop_early: bool) -> BallAttack:
    return BallAttack(
        x, epsilon, step, steps, lambda items, attempts: items.tolist(), lambda x, items: x, 1, PIXELS, stop_early
    )


def test_fgsm_moves_every_pixel_against_the_weights() -> None:
    x = images() * 0.5
    labels = torch.tensor([0, 1] * 3)
    expected = x + EPSILON * torch.where(labels == 0, 1.0, -1.0)[:, None, None, None]
    torch.testing.assert_close(worst_images(linear(), x, labels, EPSILON, EPSILON, 1, range(6)), expected)


def test_pgd_stays_in_the_ball_and_in_the_range() -> None:
    x = images()
    made = worst_images(linear(10), x, torch.ones(6, dtype=torch.int64), EPSILON, 0.03, 20, range(6))
    assert (made - x).abs().max() <= EPSILON + 1e-6
    assert made.abs().max() <= 1
    torch.testing.assert_close(made, (x - EPSILON).clamp(-1, 1))  # the worst corner of a linear classifier's ball


def test_stopping_early_leaves_the_first_error() -> None:
    x = torch.full((8, 3, 4, 4), 0.05)
    labels = torch.ones(8, dtype=torch.int64)
    stopped = ascend(attack(x, 0.5, 0.02, 50, stop_early=True), labels, linear(), 8)
    worst = ascend(attack(x, 0.5, 0.02, 50, stop_early=False), labels, linear(), 8)
    assert stopped.fooled.all()
    assert worst.fooled.all()
    torch.testing.assert_close(worst.x, x - 0.5)
    means = stopped.x.mean(dim=(1, 2, 3))
    assert ((means < 0) & (means > -0.1)).all()  # the first mean below zero, not the last


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(1)
    network = build_network("vgg5", 4, 16, width=4).eval().requires_grad_(False)
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1
    labels = network(x).argmax(dim=1)
    labels[::3] = (labels[::3] + 1) % 4  # some are wrong at once
    together = worst_images(network, x, labels, EPSILON, 0.02, 6, range(8))
    assert torch.equal(together, worst_images(network, x, labels, EPSILON, 0.02, 6, range(8)))
    for i in range(8):
        alone = worst_images(network, x[i : i + 1], labels[i : i + 1], EPSILON, 0.02, 6, [i])
        # A sign may turn at a zero gradient.
        assert ((alone - together[i : i + 1]).abs() > 1e-5).float().mean() < 0.02
    assert not torch.equal(together, worst_images(network, x, labels, EPSILON, 0.02, 6, range(8, 16)))
