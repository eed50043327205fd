"""Codes that are composed: what one code gives, what weights do, how edits reach all of them."""

import pytest
import torch
from torch import Tensor

from pipeline.composition import Composition, channels_after, render, rows_read
from pipeline.generators.layered import LayeredGenerator
from tests.pipeline.generators.tiny_states import FAMILIES


@pytest.fixture(params=sorted(FAMILIES))
def network(request: pytest.FixtureRequest) -> LayeredGenerator:
    family, state = FAMILIES[request.param]
    return family.from_state_dict(state())


def random_w(network: LayeredGenerator, count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, network.num_ws, network.w_dim, generator=torch.Generator().manual_seed(seed))


def test_what_a_layer_carries_depends_on_the_rows_read_alone(network: LayeredGenerator) -> None:
    one, other = random_w(network, 2), random_w(network, 2, seed=1)
    for layer in range(network.num_layers):
        read = rows_read(network, layer)
        mixed = torch.cat([one[:, :read], other[:, read:]], dim=1)
        features = [network.activations(w, layer).features for w in (one, mixed)]
        torch.testing.assert_close(*features, rtol=1e-5, atol=1e-5)
        assert features[0].shape[1] == channels_after(network, layer)


def test_equal_codes_whose_weights_add_up_to_one_are_one_code(network: LayeredGenerator) -> None:
    w = random_w(network, 2)
    for layer in range(network.num_layers):
        read, channels = rows_read(network, layer), channels_after(network, layer)
        codes = w[:, None, :read].expand(-1, 3, -1, -1)
        alpha = torch.tensor([0.2, 0.3, 0.5])[None, :, None].expand(2, -1, channels)
        images = render(network, w, Composition(layer, codes, alpha, w[:, :read]))
        torch.testing.assert_close(images, network.synthesize(w), rtol=1e-3, atol=1e-3)


def test_an_edit_moves_every_code(network: LayeredGenerator) -> None:
    w, edit = random_w(network, 2), 0.5 * random_w(network, 2, seed=3)
    layer = network.num_layers // 2
    read, channels = rows_read(network, layer), channels_after(network, layer)
    codes = torch.stack([random_w(network, 2, seed)[:, :read] for seed in (4, 5)], dim=1)
    alpha = torch.rand(2, 2, channels, generator=torch.Generator().manual_seed(6))
    edited = render(network, w + edit, Composition(layer, codes, alpha, w[:, :read]))
    moved = render(network, w + edit, Composition(layer, codes + edit[:, None, :read], alpha, (w + edit)[:, :read]))
    torch.testing.assert_close(edited, moved)
    plain = render(network, w, Composition(layer, codes, alpha, w[:, :read]))
    assert (edited - plain).abs().max() > 0.01 * plain.abs().max()
