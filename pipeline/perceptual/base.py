"""Perceptual distance in LPIPS form (Zhang et al. 2018, eq. 1), the target's features computed once."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.devices import has_fast_bfloat16

# Channels of each layer, normalised and scaled by the root of the layer's weights: [B, C, H, W] each.
Features = list[Tensor]


@dataclass(frozen=True)
class Target:
    """What is kept of target images while something is fitted to them.

    Attributes:
        images: [B, 3, H, W] in [-1, 1].
        lpips: weighted unit features of every layer.
        activations: plain features of the layers that Algorithm 1 compares.
    """

    images: Tensor
    lpips: Features
    activations: Features

    def rows(self, index: Tensor) -> Self:
        """The targets at some rows."""
        return type(self)(self.images[index], [f[index] for f in self.lpips], [f[index] for f in self.activations])

    def room(self, rows: int) -> Self:
        """Zeros in the shape of `rows` such targets."""
        return type(self)(
            self.images.new_zeros(rows, *self.images.shape[1:]),
            [f.new_zeros(rows, *f.shape[1:]) for f in self.lpips],
            [f.new_zeros(rows, *f.shape[1:]) for f in self.activations],
        )

    def put(self, index: Tensor, other: Self) -> None:
        """Overwrite some rows with those of `other`."""
        self.images[index] = other.images
        for mine, theirs in zip([*self.lpips, *self.activations], [*other.lpips, *other.activations], strict=True):
            mine[index] = theirs


class PerceptualNet(nn.Module):
    """A trunk whose layers are compared; `lin0`, `lin1`, … hold a non-negative weight for each channel."""

    min_resolution = 16
    # Larger images are averaged down to this before they are looked at, as the projector of StyleGAN2 does.
    max_resolution = 256
    # Whether its features may be computed in bfloat16 while something is fitted: their errors are far below what
    # images differ by, where they come from many channels.
    coarse: ClassVar[bool] = False
    activation_layers: tuple[int, ...] = (0, 1, 2)

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        for i, count in enumerate(channels):
            self.register_buffer(f"lin{i}", torch.ones(count) / count)
        self.num_layers = len(channels)

    def trunk(self, images: Tensor) -> Features:
        """Features after each compared layer, for images [B, 3, H, W] in [-1, 1]."""
        raise NotImplementedError

    def compared(self, images: Tensor) -> Features:
        """Plain features of the layers of AdvMix's Algorithm 1, for images as the trunk takes them."""
        features = self.trunk(images)
        return [features[i] for i in self.activation_layers]

    def activations(self, images: Tensor, fast: bool = False) -> Features:
        """Plain features of the layers of AdvMix's Algorithm 1: [B, C, H, W] each; `fast` as in `distance`."""
        with self.precision(images, fast):
            return self.compared(self.seen(images))

    def seen(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in the size in which they are looked at."""
        factor = -(-images.shape[-1] // self.max_resolution)
        return images if factor <= 1 else F.avg_pool2d(images, factor)

    def precision(self, images: Tensor, fast: bool) -> AbstractContextManager[None]:
        """How features are computed."""
        if fast and self.coarse and has_fast_bfloat16(images.device):
            return torch.autocast(images.device.type, torch.bfloat16)
        return nullcontext()

    def weigh(self, features: Features) -> Features:
        """Normalise over channels and scale by the roots of the weights: distances become plain squares."""
        weighed = []
        for i, layer in enumerate(features):
            norm = (layer.square().sum(dim=1, keepdim=True) + 1e-10).rsqrt()
            weighed.append(layer * norm * self.get_buffer(f"lin{i}").sqrt()[:, None, None])
        return weighed

    @torch.no_grad()
    def target(self, images: Tensor) -> Target:
        """Compute what is needed of target images [B, 3, H, W] in [-1, 1], once."""
        seen = self.seen(images)
        return Target(images, self.weigh(self.trunk(seen)), self.compared(seen))

    def distance(self, images: Tensor, target: Target, fast: bool = False) -> Tensor:
        """LPIPS distance [B] of images [B, 3, H, W] in [-1, 1] to targets.

        Args:
            fast: for a search, in bfloat16 where the device is fast at it and the net allows it.
        """
        with self.precision(images, fast):
            return lpips_distance(self.weigh(self.trunk(self.seen(images))), target.lpips)


def lpips_distance(features: Features, target: Features) -> Tensor:
    """Sum over layers of the spatial mean of squared differences of weighed features: [B]."""
    distances = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(features, target, strict=True)]
    return torch.stack(distances).sum(dim=0)
