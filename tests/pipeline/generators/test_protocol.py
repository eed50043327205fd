"""What holds for every family of generators."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.generators import Generator
from pipeline.generators.layered import LayeredGenerator
from tests.pipeline.generators.tiny_states import FAMILIES

BATCH = 3


def assert_alike(one: Tensor, other: Tensor) -> None:
    """Equal but for rounding, which depends on where tensors lie in memory and on the kernel that is chosen."""
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def differ(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) > 1e-3 * float(other.abs().max())


@pytest.fixture(params=FAMILIES)
def network(request: pytest.FixtureRequest) -> LayeredGenerator:
    family, make_state = FAMILIES[request.param]
    return family.from_state_dict(make_state())


def labels(network: LayeredGenerator, count: int = BATCH) -> Tensor | None:
    return torch.eye(network.c_dim)[torch.arange(count) % network.c_dim] if network.c_dim else None


def mixed(network: LayeredGenerator) -> Tensor:
    """w+ [B, num_ws, w_dim] whose layers come from different z."""
    rng = torch.Generator().manual_seed(1)
    layers = [network.map(torch.randn(BATCH, network.z_dim, generator=rng), labels(network))[:, i : i + 1]
              for i in range(network.num_ws)]  # fmt: skip
    return torch.cat(layers, dim=1)


def test_every_family_keeps_the_protocol(network: LayeredGenerator) -> None:
    assert isinstance(network, Generator)
    w = network.map(torch.randn(BATCH, network.z_dim), labels(network))
    assert w.shape == (BATCH, network.num_ws, network.w_dim)
    image = network.synthesize(w)
    assert image.shape == (BATCH, 3, network.resolution, network.resolution)
    assert image.dtype == torch.float32
    assert image.std() > 0.01
    assert network.device == torch.device("cpu")
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.training


def test_resuming_repeats_the_image(network: LayeredGenerator) -> None:
    w = mixed(network)
    whole = network.synthesize(w)
    for layer in range(network.num_layers):
        reached = network.activations(w, layer)
        assert reached.features.shape[2:] == (network.layer_resolution(layer),) * 2
        assert_alike(network.resume(reached, w, layer), whole)
    assert network.layer_resolution(network.num_layers - 1) in (network.resolution, network.resolution // 2)


def test_changed_features_and_later_layers_show_and_earlier_layers_do_not(network: LayeredGenerator) -> None:
    w = mixed(network)
    whole = network.synthesize(w)
    for layer in range(network.num_layers):
        reached = network.activations(w, layer)
        brighter = replace(reached, features=reached.features * 1.5 + 0.1)
        assert differ(network.resume(brighter, w, layer), whole)
        before, after = w.clone(), w.clone()
        before[:, : layer + 1] = torch.nan
        after[:, layer + 1 :] += 0.5
        assert_alike(network.resume(reached, before, layer), whole)
        if layer + 1 < network.num_ws:
            assert differ(network.resume(reached, after, layer), whole)
        assert_alike(network.activations(after, layer).features, reached.features)


def test_there_is_no_layer_beyond_the_last(network: LayeredGenerator) -> None:
    w = mixed(network)
    reached = network.activations(w, 0)
    for layer in (-1, network.num_layers):
        for attempt in (
            lambda layer=layer: network.activations(w, layer),
            lambda layer=layer: network.resume(reached, w, layer),
            lambda layer=layer: network.layer_resolution(layer),
        ):
            with pytest.raises(ValueError, match=f"after layers 0 to {network.num_layers - 1}"):
                attempt()


def test_the_gradient_reaches_every_w_and_equals_differences(network: LayeredGenerator) -> None:
    w = mixed(network).requires_grad_(True)
    loss = lambda w: network.synthesize(w).square().mean()  # noqa: E731
    (gradient,) = torch.autograd.grad(loss(w), w)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().amax(dim=(0, 2)) > 0).all()
    direction = gradient.detach() / gradient.norm()
    step = 1e-2
    with torch.no_grad():
        slope = (loss(w + step * direction) - loss(w - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float((gradient * direction).sum()), rel=3e-2)


def test_a_batch_equals_single_samples(network: LayeredGenerator) -> None:
    w = mixed(network)
    assert_alike(network.synthesize(w), torch.cat([network.synthesize(row[None]) for row in w]))


def test_truncation_moves_the_first_layers_only(network: LayeredGenerator) -> None:
    z, c = torch.randn(BATCH, network.z_dim), labels(network)
    full, mean = network.map(z, c), network.map(z, c, truncation_psi=0.0)
    half = network.map(z, c, truncation_psi=0.5)
    torch.testing.assert_close(half, (full + mean) / 2)
    cut = network.map(z, c, truncation_psi=0.5, truncation_cutoff=1)
    assert_alike(cut[:, :1], half[:, :1])
    assert_alike(cut[:, 1:], full[:, 1:])
    torch.testing.assert_close(mean, network.map(torch.randn(BATCH, network.z_dim), c, truncation_psi=0.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_renders_nearly_the_same(network: LayeredGenerator, dtype: torch.dtype) -> None:
    w = mixed(network)
    exact = network.synthesize(w)
    image = network.set_precision(dtype, num_fp16_res=2).synthesize(w)
    assert image.dtype == torch.float32
    error = (image - exact).norm() / exact.norm()
    assert 0 < error < (0.1 if dtype == torch.bfloat16 else 0.02)
    assert not torch.equal(network.set_precision(dtype, num_fp16_res=1).synthesize(w), image)


def test_the_network_s_own_state_loads_again_and_is_its_own(network: LayeredGenerator) -> None:
    w = mixed(network)
    state = network.state_dict()
    again = type(network).from_state_dict(state)
    assert_alike(again.synthesize(w), network.synthesize(w))
    for tensor in state.values():
        tensor.zero_()
    assert again.synthesize(w).std() > 0.01


def test_a_missing_an_unknown_and_a_misshapen_key_are_named(network: LayeredGenerator) -> None:
    family, state = type(network), dict(network.state_dict())
    kind = f"not a {network.title} generator: "
    keys = [key for key in state if not key.endswith("blur.kernel")]
    for key in keys[:: len(keys) // 12]:
        with pytest.raises(WeightsError, match=kind) as raised:
            family.from_state_dict({k: v for k, v in state.items() if k != key})
        # Without its last layer, a DCGAN is one of an odd number of colours.
        assert key in str(raised.value) or (network.title, key) == ("DCGAN", "main.9.weight")
    with pytest.raises(WeightsError, match=kind + "unknown: 'else.weight'"):
        family.from_state_dict({**state, "else.weight": torch.zeros(3)})
    key = next(k for k in reversed(state) if k.endswith(".bias"))
    with pytest.raises(WeightsError, match=kind) as raised:
        family.from_state_dict({**state, key: torch.zeros(97)})
    assert "97" in str(raised.value)
    with pytest.raises(WeightsError, match=kind):
        family.from_state_dict({})
    with pytest.raises(WeightsError, match=kind):
        family.from_state_dict({k: torch.zeros([]) for k in state})


def test_only_stylegan2_and_3_clamp(network: LayeredGenerator) -> None:
    state = network.state_dict()
    if network.title in ("StyleGAN2", "StyleGAN3"):
        assert type(network).from_state_dict(state, conv_clamp=0.1).synthesize(mixed(network)).abs().max() < 1
    else:
        with pytest.raises(WeightsError, match="conv_clamp"):
            type(network).from_state_dict(state, conv_clamp=256.0)
