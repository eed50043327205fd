"""Ascent in slots: what is climbed, when it stops, and that neighbours do not matter."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from pipeline.attacks.ascent import Outcome, Start, ascend, log_odds_against

RADIUS = 0.25


@dataclass
class Plain:
    """x [2] is itself the image; attempt a begins `offset * a` from the variant's centre."""

    centres: Tensor
    attempts: int = 1
    steps: int = 4
    stop_early: bool = True
    offset: float = 0.0
    shape: tuple[int, ...] = (2,)
    asked: int = 0

    def begin(self, items: Tensor, attempts: list[int]) -> Start:
        x = self.centres[items] + self.offset * torch.tensor(attempts)[:, None]
        return Start(x, x - RADIUS, x + RADIUS, torch.full((len(items),), RADIUS / 2))

    def images(self, x: Tensor, items: Tensor) -> Tensor:
        self.asked += len(x)
        return x


def classify(x: Tensor) -> Tensor:
    """Class 0 where x0 + 2 x1 < 0, else class 1."""
    margin = x[:, 0] + 2 * x[:, 1]
    return torch.stack([-margin, margin], dim=1)


def run(attack: Plain, slots: int = 4) -> Outcome:
    return ascend(attack, torch.zeros(len(attack.centres), dtype=torch.int64), classify, slots)


def test_it_climbs_to_the_corner_of_the_ball_and_no_further() -> None:
    centres = torch.tensor([[-5.0, -5.0], [-3.0, -4.0]])
    outcome = run(Plain(centres))
    torch.testing.assert_close(outcome.x, centres + RADIUS)
    assert outcome.fooled.tolist() == [False, False]


def test_it_stops_at_the_first_misclassified_point() -> None:
    outcome = run(Plain(torch.tensor([[1.0, 1.0], [-0.1, -0.1]])))
    assert outcome.fooled.tolist() == [True, True]
    torch.testing.assert_close(outcome.x, torch.tensor([[1.0, 1.0], [0.025, 0.025]]))  # the start; one step


def test_without_stopping_early_all_steps_are_done() -> None:
    centres = torch.tensor([[1.0, 1.0], [-0.1, -0.1]])
    outcome = run(Plain(centres, stop_early=False))
    assert outcome.fooled.tolist() == [True, True]
    torch.testing.assert_close(outcome.x, centres + RADIUS)


def test_attempts_follow_each_other_until_one_fools() -> None:
    outcome = run(Plain(torch.tensor([[-1.0, -1.0], [-9.0, -9.0]]), attempts=5, offset=0.3))
    assert outcome.fooled.tolist() == [True, False]
    assert outcome.spent.tolist() == [4, 5]
    assert outcome.attempt.tolist() == [3, 4]  # -1 + 0.9 + 0.25 > 0; the last attempt comes nearest
    torch.testing.assert_close(outcome.x[1], torch.full((2,), -9 + 1.2 + RADIUS))


def test_the_worst_attempt_is_kept_where_none_fools() -> None:
    outcome = run(Plain(torch.tensor([[-5.0, -5.0]]), attempts=3, offset=-1.0))
    assert outcome.attempt.tolist() == [0]
    assert outcome.spent.tolist() == [3]
    torch.testing.assert_close(outcome.x, torch.full((1, 2), -5 + RADIUS))


@pytest.mark.parametrize("slots", [1, 2, 3, 50])
def test_results_do_not_depend_on_the_slots(slots: int) -> None:
    centres = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    expected = run(Plain(centres, attempts=3, offset=0.1), slots=20)
    assert 0 < expected.fooled.sum() < 20
    found = run(Plain(centres, attempts=3, offset=0.1), slots)
    torch.testing.assert_close(found.x, expected.x)
    assert torch.equal(found.fooled, expected.fooled)
    assert torch.equal(found.attempt, expected.attempt)


def test_easy_variants_cost_little() -> None:
    hard, easy = torch.full((2, 2), -9.0), torch.full((38, 2), 9.0)
    attack = Plain(torch.cat([hard, easy]), attempts=4)
    run(attack, slots=4)
    assert attack.asked <= 2 * 20 + 38 + 2  # the hard ones ask 20 times each, the easy ones once


def test_a_variant_without_a_finite_loss_is_told_and_the_rest_goes_on() -> None:
    outcome = run(Plain(torch.tensor([[torch.nan, 0.0], [-5.0, -5.0]])), slots=2)
    assert not torch.isfinite(outcome.x[0]).all()
    torch.testing.assert_close(outcome.x[1], torch.full((2,), -5 + RADIUS))


def test_an_attempt_without_a_finite_loss_is_not_the_last() -> None:
    class Broken(Plain):
        def begin(self, items: Tensor, attempts: list[int]) -> Start:
            start = super().begin(items, attempts)
            lost = torch.tensor([attempt == 1 for attempt in attempts])
            return replace(start, x=torch.where(lost[:, None], torch.nan, start.x))

    outcome = run(Broken(torch.tensor([[-1.0, -1.0]]), attempts=3, offset=0.9))
    assert outcome.fooled.tolist() == [True]
    assert outcome.attempt.tolist() == [2]  # the first does not reach the border, the second is lost


def test_what_is_climbed_is_the_cross_entropy_and_does_not_vanish() -> None:
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 5
    entropy = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(torch.nn.functional.softplus(log_odds_against(logits, labels)), entropy)
    sure = torch.tensor([[300.0, 0.0]], requires_grad=True)
    log_odds_against(sure, torch.tensor([0])).sum().backward()
    assert sure.grad is not None
    assert sure.grad.tolist() == [[-1, 1]]
