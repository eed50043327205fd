"""ProGAN against a plain recomputation, sample by sample."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.generators.progan import ProGAN
from tests.pipeline.generators.tiny_states import State, progan


def pixel_norm(x: Tensor) -> Tensor:
    return x / torch.sqrt((x**2).mean(dim=0, keepdim=True) + 1e-8)


def conv(state: State, name: str, x: Tensor, gain: float) -> Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    fan_in = weight[0].numel()
    return (
        F.conv2d(x[None], weight * gain / math.sqrt(fan_in), padding=weight.shape[-1] // 2)[0] + bias[:, None, None]
    )


def naive(state: State, w: Tensor) -> Tensor:
    """One image from a normalised z."""
    dense = state["b4.dense.weight"] * (math.sqrt(2) / 4 / math.sqrt(len(w)))
    x = (dense @ w).reshape(-1, 4, 4) + state["b4.dense.bias"][:, None, None]
    x = pixel_norm(F.leaky_relu(x, 0.2))
    x = pixel_norm(F.leaky_relu(conv(state, "b4.conv1", x, math.sqrt(2)), 0.2))
    for resolution in (8, 16):
        x = x.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        for name in ("conv0", "conv1"):
            x = pixel_norm(F.leaky_relu(conv(state, f"b{resolution}.{name}", x, math.sqrt(2)), 0.2))
    return conv(state, "b16.torgb", x, 1.0)


def test_images_equal_the_recomputation() -> None:
    state = progan()
    network = ProGAN.from_state_dict(state)
    assert (network.resolution, network.z_dim, network.num_ws, network.num_layers) == (16, 10, 1, 6)
    z = torch.randn(3, 10) * 5
    w = network.map(z)
    torch.testing.assert_close(w[:, 0].square().mean(dim=1), torch.ones(3))
    torch.testing.assert_close(w[:, 0], torch.stack([pixel_norm(row) for row in z]))
    expected = torch.stack([naive(state, row) for row in w[:, 0]])
    torch.testing.assert_close(network.synthesize(w), expected, rtol=1e-4, atol=1e-4)


def test_a_transposed_convolution_of_the_official_networks_becomes_a_plain_one() -> None:
    """What the module's docstring tells an importer to do with `Conv0_up/weight` [k, k, out, in]."""
    weight, x = torch.randn(3, 3, 4, 5), torch.randn(2, 5, 8, 8)
    kernel = F.pad(weight.permute(3, 2, 0, 1), (1, 1, 1, 1))
    kernel = kernel[..., 1:, 1:] + kernel[..., :-1, 1:] + kernel[..., 1:, :-1] + kernel[..., :-1, :-1]
    transposed = F.conv_transpose2d(x, kernel, stride=2, padding=1)
    plain = F.conv2d(F.interpolate(x, scale_factor=2), weight.permute(2, 3, 0, 1).flip(2, 3), padding=1)
    torch.testing.assert_close(transposed, plain, rtol=1e-4, atol=1e-4)


def test_outputs_of_coarser_resolutions_may_be_missing() -> None:
    state = progan()
    last = {key: tensor for key, tensor in state.items() if "torgb" not in key or key.startswith("b16.")}
    assert len(last) == len(state) - 4
    w = torch.randn(2, 1, 10)
    torch.testing.assert_close(*(ProGAN.from_state_dict(s).synthesize(w) for s in (state, last)))


def test_the_official_size_fits_together() -> None:
    with torch.device("meta"):
        network = ProGAN([512, 512, 512, 512, 256, 128, 64, 32, 16])
        image = network.synthesize(network.map(torch.randn(2, 512)))
    assert image.shape == (2, 3, 1024, 1024)
