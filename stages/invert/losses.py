"""What inversion minimises, one class for each paper's projection; samples come and go in slots."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.composition import render
from pipeline.generators import LoadedGenerator
from pipeline.images import Pixels, to_float
from pipeline.perceptual import PerceptualNet, Target
from pipeline.perceptual.base import Features
from pipeline.seeds import normal_rows, seed_of
from stages.invert.config import InvertConfig
from stages.invert.latents import Latents, render_theta


class Projection:
    """OM-ImageNet's projection: argmin_w LPIPS(g(w), x) + |g(w) - x|_1 (Lin et al., section 3).

    The absolute value is rounded off near zero, sqrt(e² + s²) - s, so that curvature can be learned from gradients.

    Args:
        pixels: all samples, uint8 [N, H, W, 3].
        ids: their names, which random numbers may depend on.
        latents: the space that is searched.
        starts: where they begin, theta [N, rows, w_dim].
    """

    def __init__(
        self,
        config: InvertConfig,
        generator: LoadedGenerator,
        perceptual: PerceptualNet,
        pixels: Pixels,
        ids: Sequence[str],
        latents: Latents,
        starts: Tensor,
    ):
        self.config, self.generator, self.perceptual = config, generator, perceptual
        self.pixels, self.ids, self.latents, self.starts = pixels, ids, latents, starts
        self.slots = 0
        self.target: Target | None = None

    def resize(self, slots: int) -> None:
        """Make room for so many slots."""
        self.slots, self.target = slots, None

    def enter(self, slots: Tensor, samples: Tensor) -> Tensor:
        """Compute what is needed of the targets, once."""
        images = to_float(self.pixels[samples.numpy()]).to(self.starts.device)
        entering = self.perceptual.target(images)
        if self.target is None:
            self.target = entering.room(self.slots)
        self.target.put(slots, entering)
        return self.starts[samples]

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        assert self.target is not None
        self.slots, self.target = len(slots), self.target.rows(slots)

    def loss(self, theta: Tensor, steps: Tensor) -> Tensor:
        """Losses [B] at theta [B, rows, w_dim]."""
        assert self.target is not None
        images = render_theta(self.generator.network, self.latents, theta)
        s = self.config.smoothing
        pixel = (((images - self.target.images).square() + s * s).sqrt() - s).mean(dim=(1, 2, 3))
        distance = self.perceptual.distance(images, self.target, fast=True)
        return self.config.pixel_weight * pixel + self.config.feature_weight * distance


class Algorithm1(Projection):
    """AdvMix's Algorithm 1: reconstruction (line 7) plus mixing loss (line 8), with means for norms.

    The z that is mixed in at a step depends on (seed, sample, step) alone.
    """

    z: Tensor

    def resize(self, slots: int) -> None:
        """Make room for so many slots."""
        super().resize(slots)
        self.z = torch.zeros(slots, self.config.steps, self.generator.network.z_dim)

    def enter(self, slots: Tensor, samples: Tensor) -> Tensor:
        """Draw the z of all steps."""
        seeds = [seed_of(self.config.seed, "algorithm1", self.ids[i]) for i in samples.tolist()]
        self.z[slots] = normal_rows((self.config.steps, self.generator.network.z_dim), seeds)
        return super().enter(slots, samples)

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots."""
        super().keep(slots)
        self.z = self.z[slots]

    def loss(self, theta: Tensor, steps: Tensor) -> Tensor:
        """Losses [B] at theta [B, rows, w_dim]."""
        assert self.target is not None
        config, network, fine = self.config, self.generator.network, list(self.generator.fine_layers)
        w, composition = self.latents.w(theta), self.latents.composition(theta)
        images = render(network, w, composition)  # line 3
        reconstruct = config.pixel_weight * (images - self.target.images).square().mean(dim=(1, 2, 3))
        reconstruct = reconstruct + config.feature_weight * squared_error(
            self.perceptual.activations(images, fast=True), self.target.activations
        )
        if config.mixing_weight == 0:
            return reconstruct
        z = self.z[torch.arange(len(w)), steps.clamp_max(config.steps - 1)].to(w.device)
        with torch.no_grad():
            c = torch.zeros(len(z), network.c_dim, device=w.device) if network.c_dim else None
            drawn = network.map(z, c)
        mixed_w = w.clone()  # line 6: [w_coarse, map(z)_fine]
        mixed_w[:, fine] = drawn[:, fine]
        mixed = self.perceptual.activations(render(network, mixed_w, composition), fast=True)
        return reconstruct + config.mixing_weight * squared_error(mixed, self.target.activations)


def squared_error(features: Features, target: Features) -> Tensor:
    """Sum over layers of the mean squared difference: [B]."""
    errors = [(a - b).square().mean(dim=(1, 2, 3)) for a, b in zip(features, target, strict=True)]
    return torch.stack(errors).sum(dim=0)
