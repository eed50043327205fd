"""Training a generator: the pieces, and that a stopped run goes on as if it had not been."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.errors import ManifestError
from pipeline.generators import StyleGAN2, open_generator
from pipeline.generators.stylegan3 import StyleGAN3
from pipeline.seeds import torch_generator
from stages.train_generator.config import TrainGeneratorConfig
from stages.train_generator.quality import frechet_distance, statistics
from stages.train_generator.start import open_start
from stages.train_generator.training import Trainer, augment, colour_transport
from tests.conftest import Finished, Tiny, differing, run_pipeline, tree_digest

SMALL = TrainGeneratorConfig(
    images=96,
    channels="8,8,8,8",
    discriminator_channels="4,4,8,8",
    z_dim=8,
    train_batch=8,
    snapshot=32,
    r1_interval=2,
)


def train(dataset: Path, build: Path, images: int, *extra: str) -> Finished:
    return run_pipeline(
        "train-generator", "--dataset", dataset, "--build", build, "--images", str(images), "--snapshot", "32",
        "--train-batch", "8", "--channels", "8,8,8,8", "--discriminator-channels", "4,4,8,8", "--z-dim", "8",
        "--threads", "1", "--judge-epochs", "1", *extra,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with a trained generator, and a file that is none."""
    build = tmp_path_factory.mktemp("trained") / "b"
    assert train(few_digits, build, 32).code == 0
    (build / "generator" / "text").write_text("no tensors")
    return build


@pytest.mark.slow
def test_a_stopped_run_repeats_an_undisturbed_one(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(few_digits, tmp_path / "whole", 96, "--json")
    assert whole.code == 0, whole.err
    steps = 0
    original = Trainer.train_step

    def interrupted(self: Trainer, images: torch.Tensor) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == 7:  # after the snapshot at 32 images, before the one at 64
            raise KeyboardInterrupt
        return original(self, images)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    assert train(few_digits, tmp_path / "cut", 96).code == 130
    monkeypatch.undo()
    assert train(few_digits, tmp_path / "cut", 96).code == 0
    a, b = (load_file(tmp_path / name / "generator" / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    metrics = (tmp_path / "cut" / "generator" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["images"] for line in metrics] == [32, 64, 96]
    refused = train(few_digits, tmp_path / "cut", 128)
    assert refused.code == 2
    assert "trained with other settings" in refused.err


@pytest.mark.parametrize("family", ["stylegan2", "stylegan1"])
def test_the_trained_generator_is_declared(tiny: Tiny, few_digits: Path, tmp_path: Path, family: str) -> None:
    done = train(few_digits, tmp_path / "b", 32, "--family", family, "--fine-layers", "2", "--json").json
    loaded = open_generator(done["generator"])
    assert (loaded.manifest.family, loaded.fine_layers) == (family, (6, 7))
    assert loaded.network.mean_w.abs().sum() > 0  # it was tracked
    assert {"confidence", "frechet", "frechet_real_real", "smallest_class_share"} <= done.keys()
    inverted = run_pipeline(
        "invert", "--dataset", few_digits, "--build", tmp_path / "b", "--generator", done["generator"],
        "--perceptual", tiny.perceptual, "--limit", "4", "--steps", "2", "--workers", "0", "--json",
    )  # fmt: skip
    assert inverted.json["done"] == 4
    assert len(list((tmp_path / "b" / "generator" / "grids").glob("*.png"))) == 1


def test_channels_must_fit_the_resolution(few_digits: Path, tmp_path: Path) -> None:
    done = train(few_digits, tmp_path / "b", 32, "--channels", "8,8")
    assert done.code == 2
    assert "32x32 images need 4 numbers" in done.err


def test_a_step_changes_both_networks_and_the_average() -> None:
    trainer = Trainer(SMALL, 32, torch.device("cpu"))
    before = {name: net.state_dict() for name, net in (("G", trainer.G), ("E", trainer.G_ema), ("D", trainer.D))}
    before = {name: {k: v.clone() for k, v in state.items()} for name, state in before.items()}
    trainer.train_step(torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8))
    for name, net in (("G", trainer.G), ("E", trainer.G_ema), ("D", trainer.D)):
        changed = [k for k, v in net.state_dict().items() if not torch.equal(v, before[name][k])]
        assert len(changed) > 0.6 * len(before[name]), name


def changed_keys(before: dict[str, torch.Tensor], net: torch.nn.Module) -> set[str]:
    return {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("name", ["color-digits", "color-digits-stylegan1"])
def test_learning_colours_keeps_the_shapes_of_a_trained_generator(name: str) -> None:
    """Only the mapping network and what styles the finest layers may change; the given network never."""
    start = open_start(name, 32)
    before = {key: value.clone() for key, value in start.network.state_dict().items()}
    config = replace(SMALL, learn="colours", fine_layers=2, discriminator_first=8)
    trainer = Trainer(config, 32, torch.device("cpu"), start.network)
    w = start.network.map(torch.randn(2, start.network.z_dim, generator=torch.Generator().manual_seed(0)))
    last = start.network.num_layers - 3
    coarse = start.network.activations(w, last).features
    images = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8)
    trainer.train_step(images)
    assert all(("avg" in key) for key in changed_keys(before, trainer.G))  # the discriminator's turn
    trainer.train_step(images)
    changed = changed_keys(before, trainer.G)
    assert any("mapping" in key for key in changed)
    assert all("mapping" in key or "avg" in key or ".style_mod." in key or ".affine." in key for key in changed)
    styled = {key for key in changed if ".style_mod." in key or ".affine." in key}
    assert len(styled) == 4  # weight and bias of two styles
    torch.testing.assert_close(trainer.G.activations(w, last).features, coarse)
    assert not changed_keys(before, start.network)


def test_a_training_begins_from_a_generator(few_digits: Path, tmp_path: Path) -> None:
    given = ["--generator", "color-digits-stylegan1", "--learn", "colours", "--fine-layers", "1"]
    done = train(few_digits, tmp_path / "b", 32, *given, "--discriminator-first", "32", "--json").json
    loaded = open_generator(done["generator"])
    assert (loaded.manifest.family, loaded.fine_layers) == ("stylegan1", (7,))
    assert loaded.manifest.command.startswith(
        "pipeline train-generator --dataset few --generator color-digits-stylegan1 "
    )
    theirs = open_generator("color-digits-stylegan1").network.state_dict()
    assert all("avg" in key for key in changed_keys(theirs, loaded.network))  # the discriminator alone has learned
    assert "trained with other settings" in train(few_digits, tmp_path / "b", 32).err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--learn", "colours"], "name one with --generator"),
        (["--generator", "color-digits-stylegan1", "--init", "some"], "not from both"),
        (["--generator", "nosuch"], "nosuch"),
        (["--init", "nosuch.safetensors"], "there is no checkpoint at nosuch.safetensors"),
        (["--init", "{folder}/text"], "is not a checkpoint, or damaged"),
        (["--init", "{folder}/generator.safetensors"], "holds weights alone, not a checkpoint"),
        (["--init", "{folder}/checkpoint.safetensors", "--z-dim", "9"], "holds other networks"),
        (["--init", "{folder}/checkpoint.safetensors", "--family", "stylegan1"], "holds other networks"),
        (["--channels", "8,8"], "32x32 images need 4 numbers"),
        (["--snapshot", "0"], "--snapshot 0: must be at least 1"),
        (["--r1-interval", "0"], "--r1-interval 0: must be at least 1"),
        (["--learning-rate", "-1"], "--learning-rate -1.0: must be at least 0"),
    ],
)
def test_what_a_training_cannot_begin_from(
    few_digits: Path, tmp_path: Path, trained: Path, extra: list[str], message: str
) -> None:
    """It is said before a build is begun, and before --fresh deletes one."""
    extra = [word.format(folder=trained / "generator") for word in extra]
    refused = train(few_digits, tmp_path / "b", 32, *extra)
    assert refused.code == 2
    assert message in refused.err
    assert not (tmp_path / "b").exists()
    before = tree_digest(trained)
    assert train(few_digits, trained, 32, "--fresh", *extra).code == 2
    assert differing(tree_digest(trained), before) == []


def test_a_training_does_not_begin_from_what_it_writes_over(few_digits: Path, trained: Path) -> None:
    for flag, file in (("--init", "checkpoint.safetensors"), ("--generator", "generator.toml")):
        done = train(few_digits, trained, 64, "--fresh", flag, str(trained / "generator" / file))
        assert done.code == 2
        assert "lies where this training writes to: name another --build" in done.err


@pytest.mark.parametrize("learn", ["all", "colours"])
def test_a_training_begins_from_a_checkpoint(few_digits: Path, trained: Path, tmp_path: Path, learn: str) -> None:
    checkpoint = trained / "generator" / "checkpoint.safetensors"
    config = replace(SMALL, learn=learn)
    trainer = Trainer(config, 32, torch.device("cpu"))
    trainer.begin_from(checkpoint)
    moments = trainer.opt_G.state_dict()["state"]
    assert bool(moments) == (learn == "all")
    trainer.train_step(torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8))
    extra = ["--init", str(checkpoint), "--learn", learn, "--mirror", "--json"]
    done = train(few_digits, tmp_path / "b", 32, *extra)
    assert done.code == 0, done.err
    command = open_generator(done.json["generator"]).manifest.command
    assert f"--init {shlex.quote(str(checkpoint))} " in command
    assert command.endswith(" --mirror --snapshot 32 --judge-epochs 1")


def test_a_generator_of_another_size_or_kind_is_refused(tmp_path: Path) -> None:
    conditional = tmp_path / "conditional.safetensors"
    save_file(StyleGAN2(8, {4: 4, 8: 4}, 8, 8, c_dim=3).state_dict(), conditional)
    with pytest.raises(ManifestError, match="cannot be trained further"):
        open_start(str(conditional), 8)
    other = tmp_path / "other.safetensors"
    save_file(StyleGAN3(16, [4] * 4, 8, 8).state_dict(), other)
    with pytest.raises(ManifestError, match=r"stylegan3. cannot be trained further: .* StyleGAN and StyleGAN2"):
        open_start(str(other), 16)
    with pytest.raises(ManifestError, match="renders 32x32, the dataset's images have 64x64"):
        open_start("color-digits-stylegan1", 64)


def test_augmentation_leaves_some_images_alone_and_keeps_the_size() -> None:
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    same = [
        float(
            (augment(images, p, torch_generator(0, "augment")) - images)
            .abs()
            .amax(dim=(1, 2, 3))
            .lt(1e-4)
            .float()
            .mean()
        )
        for p in (0.0, 0.5, 1.0)
    ]
    assert same[0] == 1
    assert 0.3 < same[1] < 0.7
    assert same[2] == 0


def of_colours(*colours: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(colours)[:, :, None, None].expand(-1, -1, 4, 4).clone()


def test_colour_transport_matches_one_to_one() -> None:
    red, green = (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0)
    assert colour_transport(of_colours(green, red, red), of_colours(red, green, red)) == 0
    # Two of three reds stay, one has to become green: 2^2 + 2^2 over three images.
    fake = of_colours(red, red, red).requires_grad_()
    distance = colour_transport(fake, of_colours(red, red, green))
    assert float(distance.detach()) == pytest.approx(8 / 3)
    (gradient,) = torch.autograd.grad(distance, fake)
    moved = gradient.abs().sum(dim=(2, 3)) > 0
    assert moved.any(dim=1).sum() == 1
    assert moved[moved.any(dim=1)].tolist() == [[True, True, False]]


def test_colour_transport_reaches_the_generator_only() -> None:
    images = torch.randint(0, 256, (16, 8, 8, 3), dtype=torch.uint8)
    trainers = []
    for weight in (0.0, 20.0):
        config = replace(SMALL, channels="8,8", discriminator_channels="4,4", colour_transport=weight)
        trainers.append(Trainer(config, 8, torch.device("cpu")))
        assert ("transport" in trainers[-1].train_step(images)) == bool(weight)
    for name, same in (("D", True), ("G", False)):
        states = [trainer.networks[name].state_dict() for trainer in trainers]
        apart = max(float((states[0][key] - states[1][key]).abs().max()) for key in states[0])
        assert apart < 1e-6 if same else apart > 1e-4, name


def test_frechet_distance_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.normal(0, 1, (40_000, 3)))
    b = torch.from_numpy(rng.normal(2, 3, (40_000, 3)))
    assert frechet_distance(statistics(a), statistics(a)) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(statistics(a), statistics(b)) == pytest.approx(3 * (4 + 4), rel=0.03)
