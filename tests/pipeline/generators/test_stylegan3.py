"""StyleGAN3 against outputs of the reference implementation."""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.generators.checkpoints import Checkpoint, read_checkpoint
from pipeline.generators.stylegan3 import StyleGAN3
from pipeline.generators.stylegan3_filters import Resampling, design_low_pass, filtered_leaky_relu
from pipeline.generators.stylegan3_sampling import Sampling
from tests.conftest import DATA

# Pickled by the reference's own code, its source text replaced; "other" has no setting of the official networks.
NAMES = ["stylegan3-t-32-cond", "stylegan3-r-64", "stylegan3-other-64"]


def read(name: str) -> tuple[StyleGAN3, dict[str, Tensor], Checkpoint]:
    checkpoint = read_checkpoint(DATA / f"{name}.pkl")
    settings = {"conv_clamp": checkpoint.conv_clamp, **checkpoint.settings}
    network = StyleGAN3.from_state_dict(checkpoint.state, **settings)
    return network, load_file(DATA / f"{name}.io.safetensors"), checkpoint


@pytest.mark.parametrize("name", NAMES)
def test_w_image_and_gradient_are_those_of_the_reference(name: str) -> None:
    network, io, _ = read(name)
    c = io.get("c")
    torch.testing.assert_close(network.map(io["z"], c), io["ws"], rtol=0, atol=1e-5)
    torch.testing.assert_close(network.map(io["z"], c, 0.7, 5), io["ws_truncated"], rtol=0, atol=1e-5)
    w = io["wplus"].requires_grad_(True)
    image = network.synthesize(w)
    (gradient,) = torch.autograd.grad(image.square().mean(), w)
    torch.testing.assert_close(image, io["image"], rtol=0, atol=1e-5)
    largest = float(io["grad_wplus"].abs().max())
    torch.testing.assert_close(gradient, io["grad_wplus"], rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("name", NAMES)
def test_filters_are_designed_like_the_reference_s(name: str) -> None:
    network, _, checkpoint = read(name)
    sizes = StyleGAN3.sizes_of_state(checkpoint.state)
    fresh = StyleGAN3(**sizes, conv_clamp=checkpoint.conv_clamp, **checkpoint.settings).state_dict()
    filters = {key: tensor for key, tensor in network.state_dict().items() if key.endswith("_filter")}
    assert any(tensor.dim() == 2 for tensor in filters.values()) == ("-t-" not in name)
    assert filters
    for key, tensor in filters.items():
        torch.testing.assert_close(fresh[key], tensor, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("resolution", "sizes"),
    [
        (256, [36, 36, 36, 52, 52, 84, 84, 148, 148, 148, 276, 276, 276, 256, 256]),
        (1024, [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]),
    ],
)
def test_official_layers_have_official_sizes(resolution: int, sizes: list[int]) -> None:
    layers = Sampling().layers(resolution, 14)
    assert [layer.out_size for layer in layers] == sizes
    assert [layer.is_critically_sampled for layer in layers] == [False] * 12 + [True] * 3
    jumps = [index for index in range(1, 14) if sizes[index] > sizes[index - 1]]
    assert [index for index, layer in enumerate(layers) if layer.up_factor == 4] == jumps


@pytest.mark.parametrize("taps", [(12, 12), (24, 12), (8, 10), (5, 7), (1, 12), (12, 1), (1, 1)])
@pytest.mark.parametrize("before", [9, 26, -3])
@pytest.mark.parametrize("radial", [False, True])
def test_the_filtered_leaky_relu_is_its_definition(taps: tuple[int, int], before: int, radial: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    up = 1 if taps[0] == 1 else 4 if taps[0] == 24 else 2
    down = 1 if taps[1] == 1 else 2
    radial = radial and down > 1  # without a filter there is nothing to be radial
    size = 28 // down  # of what comes out, which leaves nothing of the finer signal over
    padding = before, (size - 1) * down + sum(taps) - 1 - 20 * up - before
    x = torch.randn(2, 3, 20, 20, generator=rng, dtype=torch.float64).requires_grad_(True)
    f = torch.randn(taps[0], generator=rng, dtype=torch.float64) if up > 1 else None
    shape = [taps[1]] * (2 if radial else 1)
    g = torch.randn(shape, generator=rng, dtype=torch.float64) if down > 1 else None
    found = filtered_leaky_relu(x, f, g, Resampling(up, down, *padding), clamp=2.5)
    expected = defined(x, f, g, up, down, padding, 2.5)
    torch.testing.assert_close(found, expected)
    assert found.shape[2:] == (size, size)
    weights = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    gradients = [torch.autograd.grad((out * weights).sum(), x)[0] for out in (found, expected)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def defined(
    x: Tensor, f: Tensor | None, g: Tensor | None, up: int, down: int, padding: tuple[int, int], clamp: float
) -> Tensor:
    """Zeros between samples, zeros around them, a filter, leaky ReLU, clamp, a filter, every down-th sample."""
    fine = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    fine[:, :, ::up, ::up] = x
    fine = torch.nn.functional.pad(fine, [*padding, *padding])
    if f is not None:
        fine = plain_filter(fine, torch.outer(f, f) * up**2)
    fine = torch.nn.functional.leaky_relu(fine, 0.2).clamp(-clamp, clamp)
    if g is not None:
        fine = plain_filter(fine, g if g.dim() == 2 else torch.outer(g, g))
    return fine[:, :, ::down, ::down]


def plain_filter(x: Tensor, kernel: Tensor) -> Tensor:
    return torch.nn.functional.conv2d(x.flatten(0, 1)[:, None], kernel.flip(0, 1)[None, None]).unflatten(
        0, x.shape[:2]
    )[:, :, 0]


def test_a_low_pass_keeps_what_is_below_its_cutoff_and_stops_what_is_above_its_band() -> None:
    for radial in (False, True):
        kernel = design_low_pass(12, 4.0, 4.0, 32.0, radial)
        assert kernel is not None
        kernel = kernel if radial else torch.outer(kernel, kernel)
        response = torch.fft.fft2(kernel, (32, 32)).abs()
        assert response[0, 0] == pytest.approx(1)
        assert response[1, 1] > 0.9
        assert response[12, 0] < 0.01
        torch.testing.assert_close(kernel, kernel.flip(0, 1))
    assert design_low_pass(1, 4.0, 4.0, 32.0) is None


def test_the_features_move_as_the_transform_and_w_say() -> None:
    network, io, _ = read("stylegan3-r-64")
    features, w = network.synthesis.input, io["wplus"][:, 0]
    features.affine.weight.zero_()
    features.affine.bias.copy_(torch.tensor([2.0, 0, 0, 0]))
    features.transform.copy_(torch.eye(3))
    still = features(w)
    features.transform[0, 2], features.transform[1, 2] = 3 / 16, -2 / 16  # by samples of a rate of 16
    torch.testing.assert_close(features(w)[:, :, 2:, :-3], still[:, :, :-2, 3:], rtol=0, atol=1e-4)
    features.transform.copy_(torch.eye(3))
    features.affine.bias.copy_(torch.tensor([2.0, 0, 2 / 16, 0]))
    torch.testing.assert_close(features(w)[:, :, :, 1:], still[:, :, :, :-1], rtol=0, atol=1e-4)
    features.affine.bias.copy_(torch.tensor([0.0, 1, 0, 0]))
    torch.testing.assert_close(features(w), still.rot90(1, (2, 3)), rtol=0, atol=1e-4)
    features.transform[:2] *= 20
    assert (features(w).abs().amax(dim=(1, 2, 3)) < still.abs().amax(dim=(1, 2, 3)) / 2).all()


def test_noise_modes_have_no_effect() -> None:
    network, io, _ = read("stylegan3-t-32-cond")
    images = [network.synthesize(io["wplus"], mode) for mode in ("const", "none", "random")]
    torch.testing.assert_close(images[1], images[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(images[2], images[0], rtol=0, atol=1e-5)


def test_which_rows_style_which_rates() -> None:
    network, _, _ = read("stylegan3-t-32-cond")
    assert network.num_ws == 16
    assert [network.style_resolution(row) for row in range(16)] == [16] * 6 + [32] * 10
    widths = [module(torch.zeros(1, 8)).shape[1] for row in range(16) for module in network.styles(row)]
    assert widths == [4, *(network.synthesis.layer(i).weight.shape[1] for i in range(15))]


def test_settings_that_do_not_fit_the_weights_are_named() -> None:
    state = read_checkpoint(DATA / "stylegan3-other-64.pkl").state
    with pytest.raises(WeightsError, match=r"of sizes \[24, .*its settings \(margin_size.* give \[36, "):
        StyleGAN3.from_state_dict(state)
    for name, value, says in (
        ("margin_size", 2.5, "a whole number from 0"),
        ("margin_size", "10", "a whole number"),
        ("first_cutoff", math.nan, "a number from"),
        ("num_critical", 7, "has 7 layers only"),
        ("output_scale", True, "a number"),
        ("lrelu_upsampling", 0, "from 1"),
        ("first_cutoff", 100.0, "no transition"),
    ):
        with pytest.raises(WeightsError, match=says) as raised:
            StyleGAN3.from_state_dict(state, **{name: value})
        assert name in str(raised.value)
