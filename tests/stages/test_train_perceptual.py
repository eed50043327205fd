"""The small perceptual net learns which copy is further away, without labels."""

from pathlib import Path

import numpy as np
import torch

from pipeline.datasets import load_dataset
from pipeline.images import to_float
from stages.train_perceptual.config import TrainPerceptualConfig
from stages.train_perceptual.distortions import DISTORTIONS
from stages.train_perceptual.training import accuracy, draw_triplets, train, untrained_net
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
    images = blobs(16)
    for a, b in zip(draw_triplets(images, 8, 0, 3), draw_triplets(images, 8, 0, 3), strict=True):
        assert torch.equal(a, b)


def test_training_helps() -> None:
    _, reader = load_dataset("color-digits")
    digits = to_float(np.stack([reader.load(str(i)).pixels for i in range(200)]))
    net = train(TrainPerceptualConfig(steps=80, train_batch=32, learning_rate=3e-3), digits, lambda *_: None)
    assert accuracy(net, digits, 0, batches=20) > accuracy(untrained_net(0), digits, 0, batches=20) + 0.003
    assert all((net.get_buffer(f"lin{i}") > 0).all() for i in range(3))


def test_the_command_declares_what_it_made(tmp_path: Path) -> None:
    done = run_pipeline(
        "train-perceptual", "--dataset", "color-digits", "--build", tmp_path / "b", "--steps", "2", "--json"
    )
    assert done.code == 0, done.err
    from pipeline.perceptual import load_perceptual

    net = load_perceptual(done.json["perceptual"])
    assert net.num_layers == 3
