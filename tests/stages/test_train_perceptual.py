"""The small perceptual net learns which copy is further away, without labels."""

from functools import partial
from pathlib import Path

import pytest
import torch

from pipeline.images import to_float, to_uint8
from pipeline.perceptual import load_perceptual
from stages.train_perceptual import training
from stages.train_perceptual.distortions import DISTORTIONS
from stages.train_perceptual.training import draw_triplets
from tests.conftest import run_pipeline


def blobs(count: int) -> torch.Tensor:
    """Smooth random images [count, 3, 32, 32]."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic").clamp(-1, 1)


def test_stronger_distortions_change_more() -> None:
    images = blobs(32)
    for distortion in DISTORTIONS:
        changes = []
        for strength in (0.0, 0.3, 0.9):
            rng = torch.Generator().manual_seed(1)
            changed = distortion(images, torch.full((32,), strength), rng)
            changes.append(float((changed - images).abs().mean()))
        assert changes[0] < 1e-5, distortion.__name__
        assert changes[0] < changes[1] < changes[2], distortion.__name__


def test_triplets_depend_on_the_step_alone() -> None:
    images, rows = torch.from_numpy(to_uint8(blobs(16))), torch.arange(16)
    for a, b in zip(draw_triplets(images, rows, 8, 0, 3), draw_triplets(images, rows, 8, 0, 3), strict=True):
        assert torch.equal(a, b)
    reference, *_ = draw_triplets(images, rows[4:6], 8, 0, 3)
    assert all(any(torch.equal(one, other) for other in to_float(images[4:6])) for one in reference)


def test_training_helps_and_is_declared(tmp_path: Path, few_digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "accuracy", partial(training.accuracy, batches=10))  # of 40
    done = run_pipeline(
        "train-perceptual", "--dataset", few_digits, "--build", tmp_path / "b", "--steps", "40",
        "--train-batch", "32", "--learning-rate", "0.003", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["held_out_choices_right"] > done.json["untrained_net"] + 0.003
    net = load_perceptual(done.json["perceptual"])
    assert net.num_layers == 3
    assert all((net.get_buffer(f"lin{i}") > 0).all() for i in range(3))
