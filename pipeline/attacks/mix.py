"""Algorithm 2 of AdvMix: restarts from random map(z) in the fine layers, ascent around each start."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.ascent import Start
from pipeline.attacks.balls import Seeds
from pipeline.attacks.held import HeldLayers
from pipeline.generators import Generator
from pipeline.generators.layers import replace_layers
from pipeline.seeds import normal_rows


@dataclass
class MixAttack:
    """Mixes of each sample's w+ with random fine styles, moved within a ball to where the classifier errs.

    Attributes:
        w: [B, num_ws, w_dim].
        map: z [n, z_dim] to w+.
        render: points x [n, num_ws, w_dim] of variants [n] to images [n, 3, H, W].
        fine_layers: those that are mixed in and move.
        typical: delta of the typical set of z (eq. 15).
        generator: where given, the layers before the fine ones are rendered once for each variant, in `render`'s
            place.
    """

    w: Tensor
    map: Callable[[Tensor], Tensor]
    render: Callable[[Tensor, Tensor], Tensor]
    z_dim: int
    fine_layers: tuple[int, ...]
    epsilon: float
    step: float
    steps: int
    attempts: int
    seeds: Seeds
    typical: float = torch.inf
    generator: Generator | None = None
    stop_early: bool = True

    def __post_init__(self) -> None:
        self.shape = tuple(self.w.shape[1:])
        first = min(self.fine_layers)
        self.held = None
        if self.generator is not None and first > 0:
            self.held = HeldLayers(self.generator, lambda items: self.w[items], first)

    def begin(self, items: Tensor, attempts: list[int]) -> Start:
        """Mix map(z) of a typical z in; only the fine layers may move (lines 4 and 5)."""
        w = self.w[items]
        z = normal_rows((self.z_dim,), self.seeds(items, attempts))
        x = replace_layers(w, self.map(typical(z, self.typical).to(w.device)), self.fine_layers)
        low, high = (replace_layers(w, x + sign * self.epsilon, self.fine_layers) for sign in (-1, 1))
        return Start(x, low, high, torch.full((len(x),), self.step, device=x.device))

    def images(self, x: Tensor, items: Tensor) -> Tensor:
        """dec(w_coarse, w_fine)."""
        return self.render(x, items) if self.held is None else self.held.render(x, items)


def typical(z: Tensor, delta: float) -> Tensor:
    """Put z [n, d] into the typical set sqrt(d) +- delta d^(1/4) of N(0, 1), by its length (AdvMix, eq. 15).

    StyleGAN's mapping begins by normalising z, so there this changes nothing.
    """
    if math.isinf(delta):
        return z
    d = z.shape[1]
    length = z.norm(dim=1, keepdim=True)
    middle, width = math.sqrt(d), delta * math.sqrt(math.sqrt(d))
    scale: Tensor = length.clamp(middle - width, middle + width) / length
    return z * scale
