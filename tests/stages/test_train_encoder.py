"""Training encoders, and shifting generators under them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.encoders import encode, open_encoder
from pipeline.generators import open_generator
from pipeline.images import psnr, to_uint8
from pipeline.perceptual import load_perceptual
from pipeline.store import read_rows
from stages.train_encoder.config import TrainEncoderConfig
from stages.train_encoder.training import Trainer, jitter_colours, pixel_loss
from tests.conftest import Finished, Tiny, differing, run_pipeline, tree_digest

CPU = torch.device("cpu")


def train(tiny: Tiny, dataset: Path, build: Path, steps: int) -> Finished:
    return run_pipeline(
        "train-encoder", "--dataset", dataset, "--build", build, *tiny.networks, "--steps", str(steps),
        "--snapshot", "2", "--train-batch", "8", "--passes", "2", "--threads", "1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiny: Tiny, few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("encoder") / "b"
    assert train(tiny, few_digits, build, 4).code == 0
    return build


def test_training_helps(tiny: Tiny) -> None:
    network, net = open_generator(str(tiny.generator)).network, load_perceptual(str(tiny.perceptual))
    z = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(to_uint8(network.synthesize(network.map(z))))
    config = TrainEncoderConfig(train_batch=8, passes=1, steps=20)
    trainer = Trainer(config, network, net, CPU)
    untrained = Trainer(replace(config, learning_rate=0), network, net, CPU)
    losses = [trainer.train_step(images) for _ in range(20)][-4:]
    untrained.step = 16  # a step's draws are its own, so both see the same
    before = [untrained.train_step(images) for _ in range(4)]
    for name in ("latent", "image"):
        assert sum(loss[name] for loss in losses) < 0.95 * sum(loss[name] for loss in before), name


def test_a_stopped_run_repeats_an_undisturbed_one(
    tiny: Tiny, few_digits: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.train_step

    def interrupted(self: Trainer, images: torch.Tensor) -> dict[str, float]:
        if self.step == 3:  # after the snapshot at 2, before the end
            raise KeyboardInterrupt
        return original(self, images)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    assert train(tiny, few_digits, tmp_path / "cut", 4).code == 130
    monkeypatch.undo()
    assert train(tiny, few_digits, tmp_path / "cut", 4).code == 0
    for name in ("checkpoint", "encoder"):
        whole, cut = (load_file(b / "encoder" / f"{name}.safetensors") for b in (trained, tmp_path / "cut"))
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
    refused = train(tiny, few_digits, tmp_path / "cut", 5)
    assert refused.code == 2
    assert "trained with other settings" in refused.err


def test_training_goes_on_from_an_encoder(tiny: Tiny, few_digits: Path, trained: Path, tmp_path: Path) -> None:
    manifest = trained / "encoder" / "encoder.toml"
    further = [
        "train-encoder", "--dataset", str(few_digits), "--build", str(tmp_path / "b"), *tiny.networks,
        "--steps", "1", "--train-batch", "2", "--learning-rate", "0", "--passes", "1", "--init",
    ]  # fmt: skip
    assert run_pipeline(*further, str(manifest)).code == 0
    before, after = (load_file(b / "encoder" / "encoder.safetensors") for b in (trained, tmp_path / "b"))
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert f"--init {manifest}" in (tmp_path / "b" / "encoder" / "encoder.toml").read_text()
    refused = run_pipeline(*further, "color-digits", "--fresh")
    assert refused.code == 2
    assert "to w of 64 numbers, the generator's are 32 and 16" in refused.err


def test_jitter_reaches_every_colour_and_leaves_black() -> None:
    red = torch.full((500, 3, 2, 2), -1.0)
    red[:, 0, :, 0] = 0.5
    rng = torch.Generator().manual_seed(0)
    assert jitter_colours(red, 0.0, rng) is red
    jittered = jitter_colours(red, 1.0, rng)
    assert (jittered[..., 1] == -1).all()
    colours = jittered[:, :, 0, 0]
    assert (colours.max(dim=1).indices.bincount() > 100).all()  # any channel may be the one that is lit
    lit = colours.max(dim=1).values
    assert lit.min() < -0.9
    assert lit.max() == 1
    assert (jittered[:, :, 0, 0] == jittered[:, :, 1, 0]).all()


def test_an_encoder_inverts_and_warms_up(tiny: Tiny, trained: Path, tmp_path: Path) -> None:
    manifest = str(trained / "encoder" / "encoder.toml")
    loaded = open_encoder(manifest, str(tiny.generator))
    assert loaded.passes == 2
    done = run_pipeline(*tiny.invert(tmp_path / "b", "--method", "encoder", "--encoder", manifest, limit=16))
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "b" / "latents.zarr", ["w", "steps"], 0, 16)
    assert (rows["steps"] == 0).all()
    build_images = torch.zeros(1, 3, 32, 32)
    w = encode(loaded.network, open_generator(str(tiny.generator)).network, build_images, 2)
    assert w.shape == (1, *rows["w"].shape[1:])
    errors = {}
    for name, extra in (("hybrid", ["--encoder", manifest]), ("lpips", [])):
        run_pipeline(*tiny.invert(tmp_path / name, "--method", name, *extra, limit=16, steps=1))
        errors[name] = read_rows(tmp_path / name / "latents.zarr", ["l1"], 0, 16)["l1"].mean()
    assert errors["hybrid"] != errors["lpips"]


def test_an_encoder_of_another_generator_is_refused(tiny: Tiny, trained: Path, tmp_path: Path) -> None:
    manifest = str(trained / "encoder" / "encoder.toml")
    refused = run_pipeline(
        "invert", "--dataset", "color-digits", "--build", tmp_path / "b", "--encoder", manifest,
        "--method", "encoder", "--limit", "4",
    )  # fmt: skip
    assert refused.code == 2
    assert "was trained for another generator than 'color-digits'" in refused.err
    needed = run_pipeline(*tiny.invert(tmp_path / "c", "--method", "hybrid"))
    assert needed.code == 2
    assert "--method hybrid needs an encoder" in needed.err


@pytest.mark.parametrize(
    ("command", "extra", "words"),
    [
        ("train-encoder", ["--generator", "nosuch"], "nosuch"),
        ("train-encoder", ["--init", "nosuch"], "nosuch"),
        ("train-encoder", ["--init", "{build}/encoder/encoder.toml"], "lies where this training writes to"),
        ("shift-generator", ["--encoder", "nosuch"], "nosuch"),
        ("shift-generator", ["--encoder", "color-digits"], "another generator"),
    ],
)
def test_a_training_that_cannot_begin_leaves_everything_as_it_was(
    tiny: Tiny, few_digits: Path, trained: Path, tmp_path: Path, command: str, extra: list[str], words: str
) -> None:
    before = tree_digest(trained)
    extra = [word.format(build=trained) for word in extra]
    refused = run_pipeline(command, "--dataset", few_digits, "--build", trained, *tiny.networks, "--fresh", *extra)
    assert refused.code == 2
    assert words in refused.err
    assert differing(tree_digest(trained), before) == []
    if str(trained) not in extra[-1]:
        assert run_pipeline(
            command, "--dataset", few_digits, "--build", tmp_path / "b", *tiny.networks, *extra
        ).code
        assert not (tmp_path / "b").exists()


def test_the_encoder_of_w_gives_every_layer_the_same(tiny: Tiny) -> None:
    network = open_generator(str(tiny.generator)).network
    config = TrainEncoderConfig(space="w", train_batch=2)
    trainer = Trainer(config, network, load_perceptual(str(tiny.perceptual)), CPU)
    images = torch.randint(0, 256, (4, 32, 32, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    trainer.train_step(images)
    w = encode(trainer.ema, network, torch.rand(3, 3, 32, 32) * 2 - 1, 2)
    assert w.shape == (3, 8, 16)
    assert torch.equal(w, w[:, :1].expand_as(w))
    assert not torch.equal(w[0], w[1])


def test_a_shifted_generator_comes_closer_and_keeps_its_edits(
    tiny: Tiny, few_digits: Path, trained: Path, tmp_path: Path
) -> None:
    shift = [
        "shift-generator", "--dataset", few_digits, "--build", str(tmp_path / "b"), *tiny.networks,
        "--encoder", str(trained / "encoder" / "encoder.toml"), "--steps", "8", "--train-batch", "8",
        "--learning-rate", "0.01", "--threads", "1", "--json",
    ]  # fmt: skip
    done = run_pipeline(*shift)
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["psnr_train"] > summary["psnr_train_before"]
    assert summary["psnr_test"] > summary["psnr_test_before"]
    assert 0.2 < summary["edits_alike"] < 1
    before = open_generator(str(tiny.generator))
    after = open_generator(summary["generator"])
    assert after.manifest.shifted_from == before.sha256
    assert after.fine_layers == before.fine_layers
    z = torch.randn(2, 12)
    torch.testing.assert_close(after.network.map(z), before.network.map(z))
    used = run_pipeline(
        "invert", "--dataset", few_digits, "--build", tmp_path / "c", "--generator", summary["generator"],
        "--encoder", summary["encoder"], "--perceptual", str(tiny.perceptual), "--method", "hybrid",
        "--limit", "16", "--steps", "2", "--workers", "0",
    )  # fmt: skip
    assert used.code == 0, used.err
    assert run_pipeline("augment", "--build", tmp_path / "c", "--workers", "0").code == 0


def test_the_logarithmic_loss_counts_decibels() -> None:
    images = torch.zeros(2, 3, 8, 8)
    near, far = images + torch.tensor([0.1, 0.2])[:, None, None, None], images + 0.5
    decibels = (psnr(near, images) - psnr(far, images)).mean()
    difference = pixel_loss(far, images, "log-mse") - pixel_loss(near, images, "log-mse")
    assert difference.item() == pytest.approx(decibels.item() * math.log(10) / 10, rel=0.01)
    assert pixel_loss(far, images, "l1").item() == pytest.approx(0.5)
