"""Rendering from held layers: the same image, whichever variants take a slot."""

import pytest
import torch

from pipeline.attacks.held import HeldLayers
from pipeline.generators import load_generator
from pipeline.generators.layers import replace_layers
from tests.conftest import Tiny


@pytest.mark.parametrize("first", [1, 4, 7])
def test_it_shows_what_the_whole_generator_shows(tiny: Tiny, first: int) -> None:
    network = load_generator(str(tiny.generator))
    w = torch.randn(6, 8, 16, generator=torch.Generator().manual_seed(0))
    asked: list[int] = []

    def w_of(items: torch.Tensor) -> torch.Tensor:
        asked.extend(items.tolist())
        return w[items]

    held = HeldLayers(network, w_of, first)
    fine = tuple(range(first, 8))
    # The third batch repeats the second; in the fourth two slots are taken anew; the last is a smaller one.
    for items in ([0, 1, 2], [3, 4, 5], [3, 4, 5], [3, 0, 2], [5]):
        rows = torch.tensor(items)
        x = replace_layers(w[rows], torch.randn(len(items), 8, 16), fine)
        torch.testing.assert_close(held.render(x, rows), network.synthesize(x))
    assert asked == [0, 1, 2, 3, 4, 5, 0, 2, 5]
