"""NVIDIA's PyTorch pickles of StyleGAN2: laid out as here, rendered as by their own code, or refused by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pipeline.errors import CheckpointError, WeightsError
from pipeline.generators.checkpoints import Checkpoint, import_checkpoint, nvidia, read_checkpoint
from pipeline.generators.checkpoints.completing import MEAN_NOTE
from pipeline.generators.checkpoints.pickles import Machine
from pipeline.generators.checkpoints.tensors import Tensors as Opened
from pipeline.generators.layered import LayeredGenerator
from pipeline.generators.layers import ACTIVATIONS
from pipeline.generators.loading import family_class, load_generator
from tests.conftest import DATA
from tests.pipeline.generators.checkpoints.made import HOOK, module_tree, nvidia_pickle, parity, stand_ins
from tests.pipeline.generators.checkpoints.made import Snapshot as Made

Tensors = dict[str, torch.Tensor]
REAL = {"nvidia-ada-16": 256, "nvidia-ada-16-cond": None}  # with the bound on their activations
SETTINGS = DATA / "nvidia-ada-settings.safetensors"


def equal(found: Tensors, expected: Tensors) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def network_of(checkpoint: Checkpoint) -> LayeredGenerator:
    settings = {"conv_clamp": checkpoint.conv_clamp, **checkpoint.settings}
    return family_class(checkpoint.family).from_state_dict(checkpoint.state, **settings)


def assert_agrees(network: LayeredGenerator, io: Tensors) -> None:
    """Compare with outputs of NVIDIA's code."""
    z, c = io["z"], io.get("c")
    assert (network.map(z, c) - io["ws"]).abs().max() <= 1e-5
    assert (network.map(z, c, 0.7) - io["ws_truncated"]).abs().max() <= 1e-5
    assert (network.synthesize(io["wplus"]) - io["image_const"]).abs().max() <= 1e-4
    assert (network.synthesize(io["wplus"], "none") - io["image_none"]).abs().max() <= 1e-4


def opened(path: Path) -> Any:
    """The averaged generator's record in a pickle."""
    return Machine(memoryview(path.read_bytes())).run()["G_ema"]


@pytest.mark.parametrize("name", REAL)
def test_what_nvidias_code_wrote_renders_as_it_rendered(name: str) -> None:
    checkpoint = read_checkpoint(DATA / f"{name}.pkl")
    assert (checkpoint.family, checkpoint.format) == ("stylegan2", "StyleGAN2-ADA pickle")
    assert (checkpoint.conv_clamp, checkpoint.settings, checkpoint.notes) == (REAL[name], {}, ())
    assert_agrees(network_of(checkpoint), load_file(DATA / f"{name}.io.safetensors"))


@pytest.mark.parametrize("name", REAL)
def test_the_pickles_of_these_tests_are_laid_out_as_real_ones(tmp_path: Path, name: str) -> None:
    real = opened(DATA / f"{name}.pkl")
    state = nvidia.read_network(real, Opened()).state
    made = opened(nvidia_pickle(tmp_path / "x.pkl", state, REAL[name]))
    waiting = [("", real, made)]
    while waiting:
        place, one, other = waiting.pop()
        theirs, ours = nvidia.module_fields(one), nvidia.module_fields(other)
        assert (place, nvidia.module_kind(other)) == (place, nvidia.module_kind(one))
        assert (place, list(ours)) == (place, list(theirs))
        for group in ("_parameters", "_buffers", "_modules"):
            inner, our_inner = theirs.pop(group), ours.pop(group)
            assert (place, list(our_inner)) == (place, list(inner))
            if group == "_modules":
                waiting += [(f"{place}.{key}", inner[key], our_inner[key]) for key in inner]
        for key, value in theirs.items():
            assert (place, key, nvidia.plain(ours[key])) == (place, key, nvidia.plain(value))
            assert type(ours[key]) is type(value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_come_bit_for_bit(tmp_path: Path, protocol: int) -> None:
    state, io = parity("dev-stylegan2ada-32")
    checkpoint = read_checkpoint(nvidia_pickle(tmp_path / "x.pkl", state, 256, protocol))
    assert equal(checkpoint.state, state)
    assert (network_of(checkpoint).synthesize(io["wplus"]) - io["image_const"]).abs().max() <= 1e-4


@pytest.mark.parametrize("legacy", [False, True])
def test_a_network_within_a_torch_file(tmp_path: Path, legacy: bool) -> None:
    state, _ = parity("dev-stylegan2ada-16-cond")
    with stand_ins(HOOK) as made:
        generator = module_tree(made["_reconstruct_persistent_obj"], Made(state))
        torch.save({"G_ema": generator, "step": 3}, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    assert equal(read_checkpoint(tmp_path / "x.pt").state, state)


def with_settings() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Settings of the mappings and the syntheses in the file of networks with other than the usual ones."""
    with safe_open(SETTINGS, "pt") as file:
        facts = {name: json.loads(text) for name, text in file.metadata().items()}
    return {name: (fact["mapping"], fact["synthesis"]) for name, fact in sorted(facts.items())}


def as_attributes(mapping: Mapping[str, Any], synthesis: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Turn settings of networks into attributes of their modules."""
    found: dict[str, dict[str, Any]] = {}
    if "architecture" in synthesis:
        found["SynthesisBlock"] = {"architecture": synthesis["architecture"]}
    layer = {key: synthesis[key] for key in ("activation", "use_noise") if key in synthesis}
    if "activation" in layer:
        layer["act_gain"] = np.float64(ACTIVATIONS[layer["activation"]].gain)
    found["SynthesisLayer"] = layer
    if "activation" in mapping:
        found |= {f"mapping.fc{i}": {"activation": mapping["activation"]} for i in range(mapping["num_layers"])}
    return found


def pickled(path: Path, name: str) -> tuple[Path, Tensors]:
    """Write the pickle of one of those networks; return it with the outputs of NVIDIA's code."""
    mapping, synthesis = with_settings()[name]
    tensors = load_file(SETTINGS)
    state, io = (
        {key.removeprefix(f"{name}/{part}/"): t for key, t in tensors.items() if key.startswith(f"{name}/{part}/")}
        for part in ("state", "io")
    )
    clamp, rate = synthesis.get("conv_clamp"), mapping.get("lr_multiplier", 0.01)
    return nvidia_pickle(path, state, clamp, changes=as_attributes(mapping, synthesis), rate=rate), io


@pytest.mark.parametrize("name", ["swish", "mapping_tanh", "resnet"])
def test_settings_come_through_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path / "weights"))
    path, io = pickled(tmp_path / "x.pkl", name)
    import_checkpoint(path, "mine")
    assert_agrees(load_generator("mine"), io)


@pytest.mark.parametrize("name", with_settings())
def test_settings_are_rendered(tmp_path: Path, name: str) -> None:
    path, io = pickled(tmp_path / "x.pkl", name)
    network = network_of(read_checkpoint(path))
    assert_agrees(network, io)
    whole = network.synthesize(io["wplus"])
    for layer in range(network.num_layers):
        reached = network.activations(io["wplus"], layer)
        assert reached.features.shape[2:] == (network.layer_resolution(layer),) * 2
        assert (network.resume(reached, io["wplus"], layer) - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize(
    ("place", "change", "words"),
    [
        ("synthesis.b8", {"architecture": "orig"}, "differ in their architecture"),
        ("SynthesisBlock", {"architecture": "orig"}, "architecture is 'orig', but its layers are of another"),
        ("synthesis.b8.conv1", {"activation": "relu"}, "differ in their activation, 'lrelu' and 'relu'"),
        ("SynthesisLayer", {"activation": "gelu"}, "has the activation 'gelu'; rendered are lrelu"),
        ("synthesis.b8.torgb", {"conv_clamp": 1}, "differ in their conv_clamp, 256 and 1"),
        ("SynthesisLayer|ToRGBLayer", {"conv_clamp": "x"}, "conv_clamp is 'x', which is no bound"),
        ("synthesis.b8.conv1", {"act_gain": 1.0}, r"act_gain at 'synthesis\.b8\.conv1' is 1\.0, but only 1\.41"),
        ("synthesis.b8.conv0", {"up": 4}, r"up at 'synthesis\.b8\.conv0' is 4, but only 2 is rendered"),
        ("synthesis.b8.conv0", {"padding": 0}, "padding at .* is 0, but only 1"),
        ("synthesis.b8.conv0.affine", {"activation": "lrelu"}, "activation at .*affine' is 'lrelu', but only 'lin"),
        ("mapping", {"num_layers": 1}, "num_layers at 'mapping' is 1, but only 2"),
        ("mapping.fc1", {"weight_gain": None}, r"weight_gain at 'mapping\.fc1' is None"),
        ("synthesis", {"block_resolutions": [4, 8]}, r"block_resolutions .* \[4, 8\], but only \[4, 8, 16, 32\]"),
        ("", {"img_channels": 1}, "its img_channels is 1, but only 3"),
        (
            "synthesis.b8",
            {"tanh_output": True},
            r"'synthesis\.b8' \(SynthesisBlock\) has tanh_output = True, which",
        ),
        ("synthesis", {"temperature": torch.ones(3)}, "has temperature = something else, which is not known here"),
        ("synthesis.b8", {"_forward_hooks": {0: "x"}}, r"'synthesis\.b8' has forward_hooks"),
    ],
)
def test_what_would_change_the_image_is_refused_by_name(
    tmp_path: Path, place: str, change: dict[str, Any], words: str
) -> None:
    state, _ = parity("dev-stylegan2ada-32")
    path = nvidia_pickle(tmp_path / "x.pkl", state, 256, changes=dict.fromkeys(place.split("|"), change))
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(path)


def test_an_attribute_that_is_missing_is_refused(tmp_path: Path) -> None:
    with stand_ins(HOOK) as made:
        generator = module_tree(made["_reconstruct_persistent_obj"], Made(parity("dev-stylegan2ada-16-cond")[0]))
        del generator.attributes["_modules"]["synthesis"].attributes["num_ws"]
        torch.save({"G_ema": generator}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"'synthesis' \(SynthesisNetwork\) does not say its num_ws"):
        read_checkpoint(tmp_path / "x.pt")


def test_another_class_is_refused_by_name(tmp_path: Path) -> None:
    with stand_ins(HOOK) as made:
        generator = module_tree(made["_reconstruct_persistent_obj"], Made(parity("dev-stylegan2ada-16-cond")[0]))
        generator.kind = "Discriminator"
        torch.save({"G_ema": generator}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="its network is a 'Discriminator'"):
        read_checkpoint(tmp_path / "x.pt")


def test_gains_of_single_layers_are_folded(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan2ada-32")
    gains = {
        "mapping.fc1": {"weight_gain": np.float64(0.02 / 8), "bias_gain": 0.02},
        "synthesis.b8.torgb": {"weight_gain": np.float32(1.5)},
    }
    found = read_checkpoint(nvidia_pickle(tmp_path / "x.pkl", state, 256, changes=gains)).state
    factor = 1.5 * state["synthesis.b8.torgb.weight"].shape[1] ** 0.5
    expected = state | {
        "mapping.fc1.weight": 2 * state["mapping.fc1.weight"],
        "mapping.fc1.bias": 2 * state["mapping.fc1.bias"],
        "synthesis.b8.torgb.weight": factor * state["synthesis.b8.torgb.weight"],
    }
    assert all(torch.allclose(found[key], expected[key], rtol=1e-6) for key in expected)


def test_a_network_without_a_mean_gets_one(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan2ada-16-cond")
    del state["mapping.w_avg"]
    checkpoint = read_checkpoint(nvidia_pickle(tmp_path / "x.pkl", state, None))
    assert checkpoint.notes == (MEAN_NOTE,)
    network = network_of(checkpoint)
    labels = torch.eye(network.c_dim).repeat(400, 1)
    mean = network.map(torch.randn(len(labels), network.z_dim), labels)[:, 0].mean(dim=0)
    assert (checkpoint.state["mapping.w_avg"] - mean).norm() < 0.1 * mean.norm()


def test_a_filter_as_long_as_an_attack_is_refused(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan2ada-32")
    state["synthesis.b8.resample_filter"] = torch.ones(100_000)
    with pytest.raises(CheckpointError, match=r"filter at 'synthesis\.b8' is of shape \[100000\]"):
        read_checkpoint(nvidia_pickle(tmp_path / "x.pkl", state, 256))


def test_grey_images_are_refused_whatever_the_format(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan2ada-32")
    for key in [key for key in state if key.endswith(("torgb.weight", "torgb.bias"))]:
        state[key] = state[key][:1]
    with pytest.raises(WeightsError, match="paints images of 1 channels; only RGB"):
        family_class("stylegan2").from_state_dict(state)
