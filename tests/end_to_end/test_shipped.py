"""What ships works: real digits through the shipped networks, by the commands of the README."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.classifiers import classify
from pipeline.classifiers.judge import train_classifier
from pipeline.datasets import load_dataset
from pipeline.generators import load_generator, open_generator
from pipeline.images import to_float
from pipeline.store import read_rows
from tests.conftest import run_pipeline


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 digits inverted, mixed and packed with the defaults."""
    folder = tmp_path_factory.mktemp("shipped") / "color-digits"
    for arguments in (
        ["invert", "--dataset", "color-digits", "--limit", "32", "--workers", "0"],
        ["augment", "--mode", "randmix", "--workers", "0"],
        ["shard", "--workers", "0"],
        ["report"],
        ["status"],
    ):
        done = run_pipeline(*arguments, "--build", folder, "--json")
        assert done.code == 0, done.err
        assert isinstance(done.json, dict)
    return folder


def test_inversion_reaches_its_quality(build: Path) -> None:
    quality = read_rows(build / "latents.zarr", ["psnr", "lpips"], 0, 32)
    assert quality["psnr"].mean() >= 30
    assert quality["psnr"].min() >= 22


def test_verify_finds_nothing(build: Path) -> None:
    verified = run_pipeline("verify", "--build", build, "--json")
    assert verified.code == 0
    assert verified.json["problems"] == []


@pytest.fixture(scope="module")
def judge() -> torch.nn.Module:
    """A classifier that was trained with free colours on real training digits."""
    _, reader = load_dataset("color-digits")
    samples = reader.scan()
    train = samples[samples["split"] == "train"][:1000]
    images = to_float(np.stack([reader.load(source).pixels for source in train["source"]]))
    labels = torch.tensor(train["label"].to_numpy())
    return train_classifier(images, labels, 10, epochs=6, seed=0, free_colours=True)


@pytest.mark.slow
def test_the_generator_draws_all_ten_digits(judge: torch.nn.Module) -> None:
    network = load_generator("color-digits")
    z = torch.randn(512, network.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        images = torch.cat([network.synthesize(network.map(part)).clamp(-1, 1) for part in z.split(128)])
    probabilities = classify(judge, images)
    shares = torch.bincount(probabilities.argmax(dim=1), minlength=10) / len(images)
    assert shares.min() > 0.03
    assert probabilities.amax(dim=1).mean() > 0.93


def test_variants_keep_their_digit_and_change_their_colour(build: Path, judge: torch.nn.Module) -> None:
    columns = read_rows(build / "variants" / "randmix.zarr", ["w", "label", "valid", "source"], 0, 400)
    valid = columns["valid"] == 1
    w = torch.from_numpy(columns["w"][valid])
    network = open_generator("color-digits").network
    with torch.inference_mode():
        images = torch.cat([network.synthesize(part).clamp(-1, 1) for part in w.split(128)])
        codes = read_rows(build / "latents.zarr", ["w"], 0, 32)["w"][columns["source"][valid]]
        before = torch.cat([network.synthesize(part) for part in torch.from_numpy(codes).split(128)])
    kept = classify(judge, images).argmax(dim=1) == torch.from_numpy(columns["label"][valid])
    assert kept.float().mean() > 0.9
    colour, colour_before = (((x + 1).amax(dim=(2, 3))) for x in (images, before))
    assert (colour - colour_before).abs().mean() > 0.1
