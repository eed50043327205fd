"""rosinality's StyleGAN2: what its files lack is estimated or drawn, and said."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints import read_checkpoint
from pipeline.generators.checkpoints.completing import MEAN_NOTE, NOISE_NOTE
from pipeline.generators.checkpoints.rosinality import RATE_NOTE
from pipeline.generators.loading import family_class
from tests.conftest import DATA, run_pipeline
from tests.pipeline.generators.checkpoints.made import as_rosinality, parity

NAME = "dev-stylegan2ada-32"


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_a_training_checkpoint_gets_the_mean_of_its_mapping(tmp_path: Path) -> None:
    state, io = parity(NAME)
    weights = as_rosinality(state)["g_ema"]
    content = {"g": weights, "d": {"convs.0.0.weight": torch.ones(2)}, "g_ema": weights, "ada_aug_p": 0.1}
    checkpoint = read_checkpoint(saved(tmp_path / "x.pt", content))
    assert checkpoint.notes == (MEAN_NOTE,)
    network = family_class("stylegan2").from_state_dict(checkpoint.state)
    w = network.map(io["z"])[:, 0]
    mean = network.map(torch.randn(10_000, network.z_dim))[:, 0].mean(dim=0)
    truncated = network.map(io["z"], None, 0.5)[:, 0]
    assert (truncated - (mean + 0.5 * (w - mean))).norm() < 0.05 * truncated.norm()


def test_noises_that_are_missing_are_drawn(tmp_path: Path) -> None:
    state, io = parity(NAME)
    content = as_rosinality(state)
    content["g_ema"] = {key: tensor for key, tensor in content["g_ema"].items() if not key.startswith("noises.")}
    found = [read_checkpoint(saved(tmp_path / f"{i}.pt", content)) for i in range(2)]
    assert found[0].notes == (NOISE_NOTE,)
    noises = [key for key in state if key.endswith("noise_const")]
    assert all(torch.equal(found[0].state[key], found[1].state[key]) for key in noises)
    assert all(found[0].state[key].shape == state[key].shape for key in noises)
    network = family_class("stylegan2").from_state_dict(found[0].state)
    assert (network.synthesize(io["wplus"], "none") - io["image_none"]).abs().max() <= 1e-4


def test_other_blur_kernels_are_rendered(tmp_path: Path) -> None:
    tensors = load_file(DATA / "nvidia-ada-settings.safetensors")
    state = {k.removeprefix("filter_3/state/"): t for k, t in tensors.items() if k.startswith("filter_3/state/")}
    checkpoint = read_checkpoint(saved(tmp_path / "x.pt", as_rosinality(state)))
    assert checkpoint.state["synthesis.b8.conv0.resample_filter"].shape == (3, 3)
    network = family_class("stylegan2").from_state_dict(checkpoint.state)
    image = network.synthesize(tensors["filter_3/io/wplus"])
    assert (image - tensors["filter_3/io/image_const"]).abs().max() <= 1e-4


def test_a_file_in_half_precision(tmp_path: Path) -> None:
    state, _ = parity(NAME)
    halved = {key: tensor.half() for key, tensor in as_rosinality(state)["g_ema"].items()}
    found = read_checkpoint(saved(tmp_path / "x.pt", {"g_ema": halved})).state
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert all(torch.equal(found[key], state[key].half().float()) for key in state if key != "mapping.w_avg")


def test_an_unusual_learning_rate_is_suspected(tmp_path: Path) -> None:
    content = as_rosinality(parity(NAME)[0])
    for key in [key for key in content["g_ema"] if key.startswith("style.")]:
        content["g_ema"][key] = content["g_ema"][key] * 0.01
    assert read_checkpoint(saved(tmp_path / "x.pt", content)).notes == (RATE_NOTE,)


def test_a_mean_that_is_repeated_for_every_layer(tmp_path: Path) -> None:
    state, _ = parity(NAME)
    content = as_rosinality(state)
    content["latent_avg"] = content["latent_avg"].repeat(8, 1)
    assert torch.equal(
        read_checkpoint(saved(tmp_path / "x.pt", content)).state["mapping.w_avg"], state["mapping.w_avg"]
    )


@pytest.mark.parametrize(
    ("key", "shape", "words"),
    [
        ("conv1.noise.weight", (3,), r"'conv1\.noise\.weight' is of shape \[3\], as in no StyleGAN2"),
        ("convs.0.conv.weight", (2, 5), r"'convs\.0\.conv\.weight' is of shape \[2, 5\]"),
        ("convs.999.conv.weight", (1, 1, 1, 3, 3), "layers of resolutions"),
        ("convs.0.surprise", (1,), "'convs.0.surprise' is in no StyleGAN2 of rosinality's"),
    ],
)
def test_odd_keys_and_shapes_are_named(tmp_path: Path, key: str, shape: tuple[int, ...], words: str) -> None:
    content = as_rosinality(parity(NAME)[0])
    content["g_ema"][key] = torch.ones(shape)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(saved(tmp_path / "x.pt", content))


def test_an_import_says_what_was_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path / "weights"))
    content = as_rosinality(parity(NAME)[0])
    path = saved(tmp_path / "550000.pt", {"g_ema": content["g_ema"]})
    shown = run_pipeline("weights", "import", path, "--as", "mine")
    assert shown.code == 0, shown.err
    assert f"Note: {MEAN_NOTE}." in shown.out
    again = run_pipeline("weights", "import", path, "--as", "mine", "--json").json
    assert (again["already_imported"], again["notes"]) == (True, [MEAN_NOTE])
