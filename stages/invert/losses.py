"""What inversion minimises, one function for each paper's projection."""

import torch
from torch import Tensor

from pipeline.generators import LoadedGenerator
from pipeline.perceptual import PerceptualNet, Target
from pipeline.perceptual.base import Features
from pipeline.seeds import normal_rows, seed_of
from stages.invert.config import InvertConfig
from stages.invert.solver import Loss


def lpips_loss(
    config: InvertConfig,
    generator: LoadedGenerator,
    perceptual: PerceptualNet,
    target: Target,
    ids: list[str],
) -> Loss:
    """OM-ImageNet's projection: argmin_w LPIPS(g(w), x) + |g(w) - x|_1 (Lin et al., section 3)."""

    def loss(w: Tensor, step: int) -> Tensor:
        images = generator.network.synthesize(w)
        pixel = (images - target.images).abs().mean(dim=(1, 2, 3))
        return config.pixel_weight * pixel + config.feature_weight * perceptual.distance(images, target)

    return loss


def algorithm1_loss(
    config: InvertConfig,
    generator: LoadedGenerator,
    perceptual: PerceptualNet,
    target: Target,
    ids: list[str],
) -> Loss:
    """AdvMix's Algorithm 1: reconstruction (line 7) plus mixing loss (line 8), with means for norms.

    The z that is mixed in at a step depends on (seed, sample, step) alone.
    """
    network, fine = generator.network, list(generator.fine_layers)
    seeds = [seed_of(config.seed, "algorithm1", sample) for sample in ids]
    z = normal_rows((config.steps, network.z_dim), seeds)

    def loss(w: Tensor, step: int) -> Tensor:
        images = network.synthesize(w)  # line 3
        reconstruct = config.pixel_weight * (images - target.images).square().mean(dim=(1, 2, 3))
        reconstruct = reconstruct + config.feature_weight * squared_error(
            perceptual.activations(images), target.activations
        )
        if config.mixing_weight == 0:
            return reconstruct
        with torch.no_grad():
            drawn = network.map(z[:, step].to(w.device))
        mixed_w = w.clone()  # line 6: [w_coarse, map(z)_fine]
        mixed_w[:, fine] = drawn[:, fine]
        mixed = perceptual.activations(network.synthesize(mixed_w))
        return reconstruct + config.mixing_weight * squared_error(mixed, target.activations)

    return loss


def squared_error(features: Features, target: Features) -> Tensor:
    """Sum over layers of the mean squared difference: [B]."""
    errors = [(a - b).square().mean(dim=(1, 2, 3)) for a, b in zip(features, target, strict=True)]
    return torch.stack(errors).sum(dim=0)


LOSSES = {"lpips": lpips_loss, "algorithm1": algorithm1_loss}
