"""NaTra: edits, the adaptive radius (eq. 13) and the labels that follow it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.augment.config import AugmentConfig, resolve
from stages.augment.modes import MODES
from stages.augment.modes.base import Context, Edit, Sources, Variants
from stages.augment.setup import without_overlaps
from stages.augment.soft_labels import smoothed_labels

EDITS = (Edit(0, 0, 1, torch.tensor([1.0, 0.0, 0.0]), 2.0), Edit(4, 1, 1, torch.tensor([0.0, 1.0, 0.0]), 1.0))


def natra(
    thresholds: list[float], mode: str = "natra", edits: tuple[Edit, ...] = EDITS, **changed: Any
) -> Variants:
    """Attack w = 0 [2 layers, 3] of variants whose label is lost where the sum of w reaches a threshold.

    A synthesised image is w itself; the threshold rides on the last channel, where no edit leads.
    """
    w = torch.zeros(len(thresholds), 2, 3)
    w[:, :, 2] = torch.tensor(thresholds)[:, None]

    def classify(images: Tensor) -> Tensor:
        reached = images[:, :, :2].sum(dim=(1, 2)) - images[:, 0, 2]
        return torch.stack([-reached, reached, torch.full_like(reached, -199)], dim=1)

    config = resolve(AugmentConfig(mode=mode, classifier="given", **changed))
    rows = torch.arange(len(thresholds))
    context = Context(
        map=lambda z: z, render=lambda w, codes: w, read_codes=lambda r: None, z_dim=3,
        fine_layers=(1,), pool=rows, read_w=lambda r: w[r],
        read_labels=lambda r: 0 * r, read_images=lambda r: w[r], num_classes=3, config=config, classify=classify,
        edits=edits, slots=64,
    )  # fmt: skip
    sources = Sources(w, rows, [f"s/{i}" for i in rows.tolist()], 0 * rows, 0 * rows)
    made: Variants = MODES[mode].load()(sources, context)
    return made


def test_epsilon_is_the_largest_radius_that_the_classifier_withstood() -> None:
    # Within radius r the sum reaches 2 * 2 r + r = 5 r.
    made = natra([-1.0, 1.0, 4.0, 6.0, 9.9, 10.1], attack_steps=8, restarts=3)
    torch.testing.assert_close(made.columns["epsilon"], torch.tensor([0.0, 0.0, 0.5, 1.0, 1.5, 2.0]))


def test_what_was_wrong_already_counts_as_fooled_at_once_and_keeps_a_hard_label() -> None:
    made = natra([-50.0])
    assert made.columns["restarts"].tolist() == [1]
    assert made.columns["soft_label"].tolist() == [[1, 0, 0]]


def test_what_is_wrong_without_an_edit_has_withstood_nothing_wherever_the_attack_began() -> None:
    made = natra([-0.01] * 50, step_size=0.001)  # half of the random starts are right, and stay so
    assert (made.columns["restarts"] > 1).any()
    assert made.columns["epsilon"].unique().tolist() == [0]
    assert (made.columns["soft_label"][:, 0] == 1).all()


def test_edits_move_their_layers_by_deviations_along_their_axes() -> None:
    made = natra([99.0], attack_steps=8)
    torch.testing.assert_close(made.w[0, :, :2], torch.tensor([[4.0, 0.0], [4.0, 2.0]]))  # 2 deviations of each


@pytest.mark.parametrize("seed", range(4))
def test_the_edit_that_went_furthest_is_told(seed: int) -> None:
    made = natra([99.0], combine=1, attack_steps=8, seed=seed)
    told = tuple(int(made.columns[name]) for name in ("direction", "first_layer", "last_layer"))
    assert told in [(0, 0, 1), (4, 1, 1)]
    moved = (made.w[0, :, :2].abs() > 0).tolist()
    assert moved == ([[True, False], [True, False]] if told[0] == 0 else [[False, False], [False, True]])


def test_of_edits_along_one_axis_on_one_layer_the_strongest_is_taken() -> None:
    chosen = [(2, (0, 7)), (2, (5, 7)), (0, (5, 7)), (2, (3, 4)), (0, (0, 4)), (1, (7, 7)), (0, (4, 5))]
    assert without_overlaps(chosen) == [(2, (0, 7)), (0, (5, 7)), (0, (0, 4)), (1, (7, 7))]


def test_an_edit_stops_at_the_typical_bound() -> None:
    edits = (Edit(0, 0, 1, torch.tensor([1.0, 0.0, 0.0]), 2.0, mean=0.5, typical=1.0),)
    made = natra([99.0], edits=edits, attack_steps=8)
    torch.testing.assert_close(made.w[0, :, 0], torch.full((2,), 2 * (0.5 + 1.0)))  # the mean and 1 deviation


def test_the_edit_that_went_furthest_is_so_within_the_bound() -> None:
    """The first edit, of two layers, is told to go as far as the second, but stands at its bound already."""
    first = replace(EDITS[0], mean=-1.0, typical=1.0)
    made = natra([99.0], edits=(first, EDITS[1]), attack_steps=8)
    assert made.w[0, :, 0].tolist() == [0, 0]
    assert int(made.columns["direction"]) == 4


def test_without_adaptive_tuning_every_radius_is_the_same_and_around_a_random_edit() -> None:
    made = natra([99.0] * 200, mode="natra-oa", restarts=1)
    assert made.columns["epsilon"].unique().tolist() == pytest.approx([0.03])
    r = made.w[:, 0, 0] / 2
    assert 0.7 < r.std() < 1.1  # N(0, 1), truncated at 2
    assert r.abs().max() <= 2 + 1e-6


def test_smoothing_follows_epsilon() -> None:
    made = natra([99.0] * 400, smoothing=0.25)
    soft = made.columns["soft_label"]
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(400))
    assert soft[:, 0].min() >= 0.5  # alpha = 0.25 * 2
    torch.testing.assert_close(soft.mean(dim=0), torch.tensor([2 / 3, 1 / 6, 1 / 6]), atol=0.02, rtol=0)
    assert "soft_label" not in natra([99.0], smoothing=0.0).columns


def test_smoothing_is_clipped_and_drawn_from_its_seed_alone() -> None:
    labels = torch.tensor([1, 1])
    together = smoothed_labels(labels, torch.tensor([7.0, 0.0]), 4, [5, 6])
    assert together[1].tolist() == [0, 1, 0, 0]
    assert together.min() >= 0
    torch.testing.assert_close(together[:1], smoothed_labels(labels[:1], torch.tensor([1.0]), 4, [5]))
