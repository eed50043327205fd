"""BigGAN-deep against a plain recomputation, sample by sample, from the tensors of its file."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.generators.biggan_deep import BigGANDeep
from tests.pipeline.generators.tiny_states import DEEP_ATTENTION, DEEP_BLOCKS, State, biggan_deep


def weight_of(state: State, name: str) -> Tensor:
    weight = state[f"{name}.weight_orig"]
    return weight / (state[f"{name}.weight_u"] @ weight.reshape(len(weight), -1) @ state[f"{name}.weight_v"])


def conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = weight_of(state, name)
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def statistics(state: State, name: str, row: int) -> tuple[Tensor, Tensor]:
    mean, variance = (state[f"{name}.running_{kind}"][row, :, None, None] for kind in ("means", "vars"))
    return mean, variance


def norm(state: State, name: str, x: Tensor, y: Tensor, row: int) -> Tensor:
    mean, variance = statistics(state, name, row)
    scale, offset = ((weight_of(state, f"{name}.{part}") @ y)[:, None, None] for part in ("scale", "offset"))
    return (x - mean) / torch.sqrt(variance + 1e-4) * (1 + scale) + offset


def naive(state: State, z: Tensor, label: int, row: int) -> Tensor:
    """One image from z [z_dim], with one row of the statistics."""
    y = torch.cat([z, state["embeddings.weight"][:, label]])
    flat = weight_of(state, "generator.gen_z") @ y + state["generator.gen_z.bias"]
    x = flat.reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    for i, (before, after) in enumerate(DEEP_BLOCKS):
        if i == DEEP_ATTENTION:
            name = f"generator.layers.{i}"
            theta = conv(state, f"{name}.snconv1x1_theta", x)[0].flatten(1)
            phi = F.max_pool2d(conv(state, f"{name}.snconv1x1_phi", x), 2)[0].flatten(1)
            g = F.max_pool2d(conv(state, f"{name}.snconv1x1_g", x), 2)[0].flatten(1)
            seen = torch.softmax(theta.T @ phi, dim=1)
            attended = conv(state, f"{name}.snconv1x1_o_conv", (g @ seen.T).reshape(1, -1, *x.shape[2:]))
            x = x + state[f"{name}.gamma"] * attended
        name = f"generator.layers.{i + (i >= DEEP_ATTENTION)}"
        h = x
        for j in range(4):
            h = F.relu(norm(state, f"{name}.bn_{j}", h, y, row))
            if j == 1 and i % 2:
                h = F.interpolate(h, scale_factor=2)
            h = conv(state, f"{name}.conv_{j}", h)
        if before != after:
            x = x[:, : before // 2]
        x = h + (F.interpolate(x, scale_factor=2) if i % 2 else x)
    mean, variance = statistics(state, "generator.bn", row)
    weight, bias = (state[f"generator.bn.{part}"][:, None, None] for part in ("weight", "bias"))
    x = F.relu((x - mean) / torch.sqrt(variance + 1e-4) * weight + bias)
    return torch.tanh(conv(state, "generator.conv_to_rgb", x)[0, :3])


@pytest.mark.parametrize(("truncation", "row"), [(1.0, 2), (0.5, 1), (0.0, 0)])
def test_images_equal_the_recomputation(truncation: float, row: int) -> None:
    state = biggan_deep()
    network = BigGANDeep.from_state_dict(state)
    assert (network.z_dim, network.w_dim, network.c_dim, network.num_ws, network.resolution) == (6, 10, 5, 5, 16)
    if truncation < 1:
        network.set_truncation(truncation)
    z, classes = torch.randn(3, 6), [0, 4, 2]
    image = network.synthesize(network.map(z, torch.eye(5)[classes]))
    expected = torch.stack([naive(state, each, label, row) for each, label in zip(z, classes, strict=True)])
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-4)


def test_statistics_are_interpolated_between_truncations() -> None:
    state = biggan_deep()
    between = {k: v for k, v in state.items() if "running" not in k}
    for key in state.keys() - between.keys():
        low, high = state[key][1:]
        between[key] = (low * 0.4 + high * 0.6).expand(3, -1)
    w = torch.randn(2, 5, 10)
    expected = BigGANDeep.from_state_dict(between).synthesize(w)
    image = BigGANDeep.from_state_dict(state).set_truncation(0.8).synthesize(w)
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="from 0 to 1"):
        BigGANDeep.from_state_dict(state).set_truncation(1.5)


def test_a_w_is_z_and_the_class() -> None:
    state = biggan_deep()
    z, c = torch.randn(2, 6), torch.eye(5)[[1, 3]]
    w = BigGANDeep.from_state_dict(state).map(z, c, truncation_psi=0.5, truncation_cutoff=2)
    for layer in range(5):
        assert torch.equal(w[:, layer, :6], z / 2 if layer < 2 else z)
        torch.testing.assert_close(w[:, layer, 6:], state["embeddings.weight"].T[[1, 3]])


def test_weights_that_old_files_have_normalised_already() -> None:
    state = biggan_deep()
    old = {key: tensor for key, tensor in state.items() if not key.endswith("weight_v")}
    for name in [key.removesuffix(".weight_orig") for key in state if key.endswith(".weight_orig")]:
        old[f"{name}.weight"] = weight_of(state, name)
    w = torch.randn(2, 5, 10)
    images = [BigGANDeep.from_state_dict(s).synthesize(w) for s in (state, old)]
    torch.testing.assert_close(*images, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("resolution", "multiples"),
    [
        (128, [16, 16, 16, 16, 8, 8, 4, 4, 2, 2, 1]),
        (256, [16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1]),
        (512, [16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1, 1, 1]),
    ],
)
def test_official_sizes_fit_together(resolution: int, multiples: list[int]) -> None:
    with torch.device("meta"):
        blocks = [(128 * a, 32 * a, 128 * b) for a, b in pairwise(multiples)]
        network = BigGANDeep(blocks, attention=[8], z_dim=128, embed_dim=128, c_dim=1000)
        image = network.synthesize(network.map(torch.randn(2, 128), torch.zeros(2, 1000)))
    assert image.shape == (2, 3, resolution, resolution)
    assert network.generator.layers[8].gamma.shape == (1,)
