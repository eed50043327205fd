"""StyleGAN1 against the outputs of the reference implementation, and against a plain recomputation."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.generators import StyleGAN1
from pipeline.generators.stylegan1 import tf_names
from tests.pipeline.generators.tiny_states import State, randomised
from tests.reference import STYLEGAN1, reference

OFFICIAL = [512, 512, 512, 512, 256, 128, 64, 32, 16]  # channels at 4, 8, … 1024


def worst(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def naive(state: State, w: Tensor, noise: bool = True) -> Tensor:
    """One image from w [num_ws, D], as the paper says it, in float64."""
    state = {key: tensor.double() for key, tensor in state.items()}
    w = w.double()
    layers = len(w)
    x = state["synthesis.layer0.first_layer"]
    for i in range(layers):
        name = f"synthesis.layer{i}"
        if i > 0:
            weight = state.get(f"{name}.conv.weight")
            if weight is None:  # a transposed convolution with doubling folded in: the kernel the other way round
                weight = state[f"{name}.weight"].permute(3, 2, 0, 1).flip(2, 3)
            if i % 2 == 0:
                x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = F.conv2d(x, weight * math.sqrt(2 / (9 * x.shape[1])), padding=1)
        if i > 0 and i % 2 == 0:
            taps = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
            kernel = (taps[:, None] * taps / 16).repeat(x.shape[1], 1, 1, 1)
            x = F.conv2d(x, kernel, padding=1, groups=x.shape[1])
        epilogue = f"{name}.epilogue"
        if noise:
            strength = state[f"{epilogue}.apply_noise.weight"]
            x = x + state[f"{epilogue}.apply_noise.noise"] * strength[None, :, None, None]
        x = F.leaky_relu(x + state[f"{epilogue}.bias"][None, :, None, None], 0.2)
        x = F.instance_norm(x, eps=1e-8)
        dense = f"{epilogue}.style_mod.dense"
        style = state[f"{dense}.linear.weight"] @ w[i] / math.sqrt(len(w[i])) + state[f"{dense}.wscale.bias"]
        x = x * (1 + style[: x.shape[1], None, None]) + style[x.shape[1] :, None, None]
    output = f"synthesis.output{layers // 2 - 1}"
    weight = state[f"{output}.conv.weight"] / math.sqrt(x.shape[1])
    return (F.conv2d(x, weight) + state[f"{output}.bias"][:, None, None])[0].float()


def test_mapping_and_truncation_equal_the_reference() -> None:
    state, io, facts = reference(STYLEGAN1)
    network = StyleGAN1.from_state_dict(state)
    assert (network.resolution, network.num_ws, network.z_dim, network.w_dim) == (32, 8, 512, 512)
    assert worst(network.map(io["z"]), io["w"][:, None]) <= 1e-5
    truncated = network.map(io["z"], None, float(facts["psi"]), int(facts["cutoff"]))
    assert worst(truncated, io["ws_truncated"]) <= 1e-5


def test_images_equal_the_reference() -> None:
    state, io, _ = reference(STYLEGAN1)
    network = StyleGAN1.from_state_dict(state)
    for latents, image in (("wplus", "image_const"), ("ws_truncated", "image_trunc_const")):
        assert worst(network.synthesize(io[latents]), io[image]) <= 1e-4 * float(io[image].abs().max())


def test_gradient_equals_the_recomputation() -> None:
    state, io, _ = reference(STYLEGAN1)
    network = StyleGAN1.from_state_dict(state)
    gradients = []
    for render in (network.synthesize, lambda w: torch.stack([naive(state, row) for row in w])):
        w = io["wplus"].clone().requires_grad_(True)
        gradients += torch.autograd.grad(render(w).square().mean(), w)
    assert worst(*gradients) <= 1e-4 * float(gradients[1].abs().max())


@pytest.mark.parametrize("stages", [4, 6, 7])
def test_images_equal_the_recomputation(stages: int) -> None:
    """With 6 and 7 stages the convolutions up to 128 and 256 are transposed ones."""
    state = randomised(StyleGAN1([6, 6, 5, 5, 4, 4, 3][:stages], z_dim=12, w_dim=10, mapping_layers=2))
    assert ("synthesis.layer10.weight" in state) == (stages > 5)
    network = StyleGAN1.from_state_dict(state)
    w = torch.randn(2, network.num_ws, 10, generator=torch.Generator().manual_seed(3))
    for noise in ("const", "none"):
        expected = torch.stack([naive(state, row, noise == "const") for row in w])
        assert worst(network.synthesize(w, noise=noise), expected) <= 1e-4 * float(expected.abs().max())


def test_random_noise_differs_from_call_to_call() -> None:
    state, io, _ = reference(STYLEGAN1)
    network = StyleGAN1.from_state_dict(state)
    once, again = (network.synthesize(io["wplus"], noise="random") for _ in range(2))
    assert worst(once, again) > 1e-3


def test_what_does_not_render_may_be_missing() -> None:
    state, io, _ = reference(STYLEGAN1)
    bare = {key: state[key] for key in StyleGAN1.from_state_dict(state).state_dict() if "blur" not in key}
    assert not {"synthesis.lod", "truncation.truncation", "synthesis.output0.bias"} & bare.keys()
    images = [StyleGAN1.from_state_dict(s).synthesize(io["wplus"]) for s in (state, bare)]
    assert worst(*images) <= 1e-5 * float(images[0].abs().max())


def test_a_network_that_is_still_growing_is_refused() -> None:
    state, _, _ = reference(STYLEGAN1)
    with pytest.raises(WeightsError, match=r"'synthesis.lod' is not 0"):
        StyleGAN1.from_state_dict({**state, "synthesis.lod": torch.tensor(1.0)})


def test_tensorflow_names_are_those_of_the_reference() -> None:
    state, _, facts = reference(STYLEGAN1)
    ours = {key: name for name, key in tf_names(32).items()}
    for key, name in json.loads(facts["tf_names"]).items():
        # The header numbers the outputs as in a network of 1024: lod counts halvings from the full resolution.
        assert ours[key] == (name.replace(name[9], str(int(name[9]) - 5)) if name.startswith("ToRGB") else name)
    constants = {key for key in state if "blur" in key} | {"truncation.truncation"}
    assert ours.keys() == state.keys() - constants


def test_tensorflow_names_of_the_official_size() -> None:
    names = tf_names(1024)
    assert names["64x64/Conv0_up/weight"] == "synthesis.layer8.conv.weight"
    assert names["128x128/Conv0_up/weight"] == "synthesis.layer10.weight"
    assert names["1024x1024/Conv1/weight"] == "synthesis.layer17.conv.weight"
    assert names["ToRGB_lod0/weight"] == "synthesis.output8.conv.weight"
    assert names["ToRGB_lod8/bias"] == "synthesis.output0.bias"
    with torch.device("meta"):
        network = StyleGAN1(OFFICIAL)
    wanted = {key for key in network.state_dict() if "blur" not in key}
    assert wanted <= set(names.values())


@pytest.mark.parametrize("resolution", [256, 512, 1024])
def test_official_sizes_fit_together(resolution: int) -> None:
    with torch.device("meta"):
        network = StyleGAN1(OFFICIAL[: resolution.bit_length() - 2])
        image = network.synthesize(network.map(torch.randn(2, 512)))
    assert (network.resolution, network.num_ws) == (resolution, 2 * resolution.bit_length() - 4)
    assert image.shape == (2, 3, resolution, resolution)


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [256, 1024])
def test_official_sizes_run(resolution: int) -> None:
    network = StyleGAN1(OFFICIAL[: resolution.bit_length() - 2]).eval().requires_grad_(False)
    w = network.map(torch.randn(1, 512)).clone().requires_grad_(True)
    image = network.synthesize(w)
    (gradient,) = torch.autograd.grad(image.square().mean(), w)
    assert image.shape == (1, 3, resolution, resolution)
    assert torch.isfinite(image).all()
    assert torch.isfinite(gradient).all()
