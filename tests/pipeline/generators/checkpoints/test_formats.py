"""Every kind of checkpoint becomes the network it was."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints import Checkpoint, read_checkpoint
from pipeline.generators.loading import family_class
from tests.pipeline.generators.checkpoints.made import (
    as_rosinality,
    as_tf_stylegan1,
    as_tf_stylegan2,
    parity,
    stand_ins,
    tf_network,
    tf_pickle,
    tf_progan,
)
from tests.pipeline.generators.tiny_states import biggan

Tensors = dict[str, torch.Tensor]
SIZES = ["dev-stylegan2ada-32", "dev-stylegan2ada-16-cond"]


def equal(found: Tensors, expected: Tensors) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def images(checkpoint: Checkpoint, io: Tensors, w: str = "wplus") -> torch.Tensor:
    network = family_class(checkpoint.family).from_state_dict(checkpoint.state, conv_clamp=checkpoint.conv_clamp)
    return network.synthesize(io[w])


def saved(path: Path, content: Any, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", SIZES)
def test_a_tensorflow_stylegan2_renders_the_same(tmp_path: Path, name: str, protocol: int) -> None:
    state, io = parity(name)
    checkpoint = read_checkpoint(
        tf_pickle(tmp_path / "x.pkl", as_tf_stylegan2(state), {"conv_clamp": 256}, protocol)
    )
    assert (checkpoint.family, checkpoint.conv_clamp) == ("stylegan2", 256)
    assert checkpoint.state.keys() == state.keys()
    assert all(torch.allclose(checkpoint.state[key], state[key], rtol=1e-6, atol=1e-6) for key in state)
    clamp = 256 if name == SIZES[0] else None
    image = images(Checkpoint("stylegan2", "", checkpoint.state, clamp), io)
    assert (image - io["image_const"]).abs().max() <= 1e-4


@pytest.mark.parametrize("legacy", [False, True])
def test_rosinality_renders_the_same(tmp_path: Path, legacy: bool) -> None:
    state, io = parity("dev-stylegan2ada-32")
    checkpoint = read_checkpoint(saved(tmp_path / "x.pt", as_rosinality(state), legacy))
    assert (checkpoint.family, checkpoint.format) == ("stylegan2", "rosinality StyleGAN2")
    assert equal(checkpoint.state, state)
    assert (images(checkpoint, io) - io["image_const"]).abs().max() <= 1e-4


def test_rosinality_without_the_mean_gets_one(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan2ada-32")
    content = as_rosinality(state)
    del content["latent_avg"]
    found = [read_checkpoint(saved(tmp_path / f"{i}.pt", content)).state["mapping.w_avg"] for i in range(2)]
    network = family_class("stylegan2").from_state_dict(state)
    mean = network.map(torch.randn(4096, 64))[:, 0].mean(dim=0)
    torch.testing.assert_close(*found)
    assert (found[0] - mean).norm() < 0.1 * mean.norm()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_tensorflow_stylegan1_renders_the_same(tmp_path: Path, protocol: int) -> None:
    state, io = parity("dev-stylegan1-32")
    checkpoint = read_checkpoint(tf_pickle(tmp_path / "x.pkl", as_tf_stylegan1(state), protocol=protocol))
    assert (checkpoint.family, checkpoint.format) == ("stylegan1", "StyleGAN pickle (TensorFlow)")
    kept = {key for key in state if "blur" not in key and key != "truncation.truncation"}
    assert equal(checkpoint.state, {key: state[key] for key in kept})
    direct = images(Checkpoint("stylegan1", "", state), io)
    assert (images(checkpoint, io) - direct).abs().max() <= 1e-5 * direct.abs().max()
    assert (direct - io["image_const"]).abs().max() <= 1e-4 * io["image_const"].abs().max()


def test_fused_stylegan1_convolutions_keep_their_order(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan1-32")
    variables = as_tf_stylegan1(state)
    fused = np.random.default_rng(0).standard_normal((3, 3, 8, 4)).astype("f4")
    # What a network of 128 x 128 has besides: enough to see where its fused convolution goes.
    variables |= {"synthesis/128x128/Conv0_up/weight": fused, "synthesis/64x64/Conv0_up/weight": fused}
    found = read_checkpoint(tf_pickle(tmp_path / "x.pkl", variables)).state
    assert torch.equal(found["synthesis.layer10.weight"], torch.from_numpy(fused))
    assert torch.equal(found["synthesis.layer8.conv.weight"], torch.from_numpy(fused).permute(3, 2, 0, 1))


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"generator_smooth": s, "step": 3}]
)
@pytest.mark.parametrize("legacy", [False, True])
def test_the_port_of_stylegan1(tmp_path: Path, wrap: Any, legacy: bool) -> None:
    state, _ = parity("dev-stylegan1-32")
    checkpoint = read_checkpoint(saved(tmp_path / "x.pt", wrap(OrderedDict(state)), legacy))
    assert (checkpoint.family, checkpoint.format) == ("stylegan1", "PyTorch port of StyleGAN")
    assert equal(checkpoint.state, state)


def test_the_prefix_of_several_gpus_is_dropped(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan2ada-32")
    prefixed = {f"module.{key}": tensor for key, tensor in state.items()}
    assert equal(read_checkpoint(saved(tmp_path / "x.pt", prefixed)).state, state)


@pytest.mark.parametrize("fused", [True, False])
def test_progan(tmp_path: Path, fused: bool) -> None:
    variables = tf_progan((6, 5, 4), 7, fused)
    path = tf_pickle(tmp_path / "x.pkl", variables, {"label_size": 0}, name="tfutil.Network")
    checkpoint = read_checkpoint(path)
    assert (checkpoint.family, checkpoint.format) == ("progan", "ProGAN pickle (TensorFlow)")
    network = family_class("progan").from_state_dict(checkpoint.state)
    assert (network.resolution, network.z_dim) == (16, 7)
    assert torch.equal(checkpoint.state["b4.dense.weight"], torch.from_numpy(variables["4x4/Dense/weight"]).T)
    assert torch.equal(checkpoint.state["b8.torgb.bias"], torch.from_numpy(variables["ToRGB_lod1/bias"]))
    x = torch.randn(2, 6, 4, 4)
    ours = F.conv2d(F.interpolate(x, scale_factor=2.0), checkpoint.state["b8.conv0.weight"], padding=1)
    if fused:  # as TensorFlow computes it: one transposed convolution with the sum of four shifted kernels
        kernel = F.pad(torch.from_numpy(variables["8x8/Conv0_up/weight"]), (0, 0, 0, 0, 1, 1, 1, 1))
        kernel = kernel[1:, 1:] + kernel[:-1, 1:] + kernel[1:, :-1] + kernel[:-1, :-1]
        theirs = F.conv_transpose2d(x, kernel.permute(3, 2, 0, 1), stride=2, padding=1)
    else:
        kernel = torch.from_numpy(variables["8x8/Conv0/weight"]).permute(3, 2, 0, 1)
        theirs = F.conv2d(F.interpolate(x, scale_factor=2.0), kernel, padding=1)
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("variables", "settings", "words"),
    [
        ({"lod": np.float32(1.5)}, {}, "had grown"),
        ({}, {"label_size": 4}, "'label_size' is 4, which is not rendered"),
        ({"4x4/Dense/surprise": np.ones(3, "f4")}, {}, "'4x4/Dense/surprise' is in no ProGAN"),
        ({"4x4/Dense/weight": np.ones(3, "f4")}, {}, "has 1 dimensions instead of 2"),
        ({"4x4/Dense/bias": np.array([None])}, {}, "else than plain numbers"),
    ],
)
def test_odd_tensorflow_networks_are_refused(tmp_path: Path, variables: Any, settings: Any, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(tf_pickle(tmp_path / "x.pkl", tf_progan((4, 4), 4) | variables, settings))


def test_big_endian_and_half_arrays(tmp_path: Path) -> None:
    variables = tf_progan((4, 4), 4)
    variables["4x4/Dense/bias"] = variables["4x4/Dense/bias"].astype(">f4")
    variables["4x4/Conv/bias"] = variables["4x4/Conv/bias"].astype("f2")
    variables["4x4/Conv/weight"] = np.asfortranarray(variables["4x4/Conv/weight"])
    found = read_checkpoint(tf_pickle(tmp_path / "x.pkl", variables)).state
    assert torch.equal(found["b4.dense.bias"], torch.from_numpy(variables["4x4/Dense/bias"].astype("f4")))
    assert found["b4.conv1.bias"].dtype == torch.float32
    assert torch.equal(found["b4.conv1.weight"], torch.from_numpy(variables["4x4/Conv/weight"]).permute(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("family", "keys"),
    [
        ("biggan", ["shared.weight", "blocks.0.0.conv1.weight", "linear.weight", "linear.u0"]),
        ("biggan-deep", ["embeddings.weight", "generator.conv_to_rgb.bias", "generator.gen_z.weight_orig"]),
        ("dcgan", ["main.0.weight", "main.1.running_mean", "main.1.num_batches_tracked"]),
        ("progan", ["b4.dense.weight", "b4.dense.bias", "b4.conv1.weight"]),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_state_dicts_are_known_by_their_keys(tmp_path: Path, family: str, keys: list[str], legacy: bool) -> None:
    state = {key: torch.tensor(5) if key.endswith("tracked") else torch.randn(3, 4).half() for key in keys}
    checkpoint = read_checkpoint(saved(tmp_path / "x.pth", state, legacy))
    assert checkpoint.family == family
    assert equal(checkpoint.state, {key: t.float() if t.is_floating_point() else t for key, t in state.items()})


def test_our_own_safetensors(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan2ada-32")
    save_file(state, tmp_path / "x.safetensors")
    assert equal(read_checkpoint(tmp_path / "x.safetensors").state, state)


def test_unknown_weights_show_their_keys(tmp_path: Path) -> None:
    state = {f"layer{i}.weight": torch.ones(2) for i in range(5)}
    with pytest.raises(CheckpointError, match=r"no known generator: the first are 'layer0\.weight'"):
        read_checkpoint(saved(tmp_path / "x.pt", state))


def test_a_tensorflow_network_that_holds_itself(tmp_path: Path) -> None:
    with stand_ins("dnnlib.tflib.network.Network") as made:
        network = tf_network(made["Network"], {}, {})
        network.components = {"mapping": network}
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(network))
    with pytest.raises(CheckpointError, match="without end"):
        read_checkpoint(tmp_path / "x.pkl")


def test_a_biggan_with_synchronised_norms_says_how_it_is_rendered(tmp_path: Path) -> None:
    state = biggan()
    other = {
        k.replace("stored_mean", "bn.running_mean").replace("stored_var", "bn.running_var"): v
        for k, v in state.items()
    }
    assert read_checkpoint(saved(tmp_path / "x.pth", state)).notes == ()
    assert "synchronised" in read_checkpoint(saved(tmp_path / "x.pth", other)).notes[0]


def test_grey_networks_give_three_equal_channels(tmp_path: Path) -> None:
    variables = tf_progan((4, 4), 4)
    for lod in (0, 1):
        variables[f"ToRGB_lod{lod}/weight"] = variables[f"ToRGB_lod{lod}/weight"][..., :1]
        variables[f"ToRGB_lod{lod}/bias"] = variables[f"ToRGB_lod{lod}/bias"][:1]
    checkpoint = read_checkpoint(tf_pickle(tmp_path / "x.pkl", variables, {"num_channels": 1}))
    network = family_class("progan").from_state_dict(checkpoint.state)
    image = network.synthesize(network.map(torch.randn(2, 4)))
    torch.testing.assert_close(image, image[:, :1].expand(-1, 3, -1, -1))
    assert image.std() > 0
