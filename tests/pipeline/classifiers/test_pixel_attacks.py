"""Attacks against classifiers whose weakest direction is known in closed form."""

import torch
from torch import nn

from pipeline.classifiers.architectures import build_network
from pipeline.classifiers.attacks import ascend, fgsm, into_ball, pgd

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


def test_fgsm_moves_every_pixel_against_the_weights() -> None:
    x = images() * 0.5
    labels = torch.tensor([0, 1] * 3)
    network = linear()
    right = network(x).argmax(dim=1) == labels
    expected = x + EPSILON * torch.where(labels == 0, 1.0, -1.0)[:, None, None, None]
    made = fgsm(network, x, labels, EPSILON)
    torch.testing.assert_close(made[right], expected[right])
    torch.testing.assert_close(made[~right], x[~right])  # already misclassified: left alone


def test_pgd_stays_in_the_ball_and_in_the_range() -> None:
    x = images()
    made = pgd(linear(10), x, torch.ones(6, dtype=torch.int64), EPSILON, 0.03, 20, seeds=list(range(6)))
    assert (made - x).abs().max() <= EPSILON + 1e-6
    assert made.abs().max() <= 1
    torch.testing.assert_close(made, (x - EPSILON).clamp(-1, 1))  # the worst corner of a linear classifier's ball


def test_early_exit_stops_at_the_first_error() -> None:
    x = torch.full((1, 3, 4, 4), 0.05)
    label = torch.ones(1, dtype=torch.int64)
    stopped = pgd(linear(), x, label, 0.5, 0.02, 50)
    torch.testing.assert_close(stopped, x - 0.06)  # 0.05 - 3 * 0.02 is the first below zero
    torch.testing.assert_close(pgd(linear(), x, label, 0.5, 0.02, 50, early_exit=False), x - 0.5)


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(1)
    network = build_network("vgg5", 4, 16, width=4).eval().requires_grad_(False)
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1
    labels = network(x).argmax(dim=1)
    labels[::3] = (labels[::3] + 1) % 4  # some leave at once
    together = pgd(network, x, labels, EPSILON, 0.02, 6, seeds=list(range(8)))
    again = pgd(network, x, labels, EPSILON, 0.02, 6, seeds=list(range(8)))
    assert torch.equal(together, again)
    for i in range(8):
        alone = pgd(network, x[i : i + 1], labels[i : i + 1], EPSILON, 0.02, 6, seeds=[i])
        assert (
            (alone - together[i : i + 1]).abs() > 1e-5
        ).float().mean() < 0.02  # a sign may turn at a zero gradient
    other = pgd(network, x, labels, EPSILON, 0.02, 6, seeds=list(range(8, 16)))
    assert not torch.equal(together, other)


def test_ascend_tells_who_is_fooled_at_the_last_point_too() -> None:
    start = torch.tensor([[0.05], [0.5], [-1.0]])

    def logits(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([-x, x], dim=1)

    points, fooled = ascend(
        logits, start, torch.ones(3, dtype=torch.int64), lambda x, rows: into_ball(x, start[rows], 0.2), 0.1, 1
    )
    assert fooled.tolist() == [True, False, True]
    torch.testing.assert_close(points, torch.tensor([[-0.05], [0.4], [-1.0]]))
