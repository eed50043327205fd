"""Latent code composition: several codes make one image (LCE of NaTra; mGANprior, Gu et al. 2020, eq. 2).

Each of N codes is rendered as far as a layer, the features are summed with a weight for each code and channel,
and the rest of the generator renders the sum: F = sum_n F_n * alpha_n.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from pipeline.generators.base import Activations, Generator


@dataclass(frozen=True)
class Composition:
    """The codes of images beside their w+.

    Attributes:
        layer: where they are composed.
        codes: [B, N, R, w_dim], the first R = `rows_read(…, layer)` rows of each code's w+.
        alpha: [B, N, C], C being the channels after `layer`.
        base: [B, R, w_dim], the rows of w+ that the codes stand for. An edit of those moves all codes alike.
    """

    layer: int
    codes: Tensor
    alpha: Tensor
    base: Tensor

    def rows(self, index: Tensor) -> Self:
        """The compositions at some rows."""
        return type(self)(self.layer, self.codes[index], self.alpha[index], self.base[index])

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        return type(self)(self.layer, *(part.to(device) for part in (self.codes, self.alpha, self.base)))


def rows_read(generator: Generator, layer: int) -> int:
    """How many rows of w+ matter up to a layer."""
    return min(layer + 1, generator.num_ws)


def channels_after(generator: Generator, layer: int) -> int:
    """Feature channels after a layer. Raises ValueError where there is no such layer."""
    w = torch.zeros(1, generator.num_ws, generator.w_dim, device=generator.device)
    with torch.inference_mode():
        return int(generator.activations(w, layer).features.shape[1])


def render(generator: Generator, w: Tensor, composition: Composition | None = None) -> Tensor:
    """Render w+ [B, num_ws, w_dim], with the codes that belong to it, as images [B, 3, H, W]."""
    if composition is None:
        return generator.synthesize(w)
    layer, alpha = composition.layer, composition.alpha
    batch, count, read, _ = composition.codes.shape
    codes = composition.codes + (w[:, :read] - composition.base)[:, None]
    rest = w[:, None, read:].expand(-1, count, -1, -1)
    parts = generator.activations(torch.cat([codes, rest], dim=2).flatten(0, 1), layer)
    features = weighted_sum(parts.features.unflatten(0, (batch, count)), alpha)
    rgb = None
    if parts.rgb is not None:  # painted by features of other channels: weigh the images as a whole
        rgb = weighted_sum(parts.rgb.unflatten(0, (batch, count)), alpha.mean(dim=2, keepdim=True))
    return generator.resume(Activations(features, rgb), w, layer)


def weighted_sum(parts: Tensor, alpha: Tensor) -> Tensor:
    """Sum [B, N, C, H, W] over N with weights [B, N, C or 1]."""
    total = (parts * alpha[..., None, None].to(parts.dtype)).sum(dim=1)
    return total.contiguous(memory_format=torch.channels_last)
