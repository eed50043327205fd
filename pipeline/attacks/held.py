"""Renders variants of which only the finest layers change: what comes before is computed once for each."""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.generators import Generator
from pipeline.generators.base import Activations


class HeldLayers:
    """Keeps the activations before layer `first` of the variants that are being rendered, a batch of them.

    Args:
        w_of: variants [n] to their w+ [n, num_ws, w_dim], of which the layers before `first` count.
        first: the first layer that may change, 1 or higher.
    """

    def __init__(self, generator: Generator, w_of: Callable[[Tensor], Tensor], first: int):
        self.generator, self.w_of, self.layer = generator, w_of, first - 1
        self.items: Tensor | None = None
        self.reached = Activations(torch.empty(0))

    def render(self, x: Tensor, items: Tensor) -> Tensor:
        """Render w+ x [n, num_ws, w_dim] of variants `items` [n] as images [n, 3, H, W]."""
        self.hold(items)
        return self.generator.resume(self.reached, x, self.layer)

    @torch.no_grad()
    def hold(self, items: Tensor) -> None:
        """Compute what is not there yet: all of another batch, or the variants that took a slot."""
        if self.items is not None and len(self.items) == len(items):
            new = torch.nonzero(self.items != items).flatten()
        else:
            new = torch.arange(len(items), device=items.device)
        if len(new) == 0:
            return
        reached = self.generator.activations(self.w_of(items[new]), self.layer)
        if len(new) == len(items):
            self.reached = reached
        else:
            self.reached.features[new] = reached.features
            if self.reached.rgb is not None and reached.rgb is not None:
                self.reached.rgb[new] = reached.rgb
        self.items = items.clone()
