"""Distortions of a known strength: each maps images [B, 3, H, W] in [-1, 1] and strengths [B] in [0, 1].

None of them shows a colour that is far from the image's own, so a net trained on them has seen no more colours
than the images have.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Distortion = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def column(strength: Tensor) -> Tensor:
    """Strengths [B] as [B, 1, 1, 1]."""
    return strength[:, None, None, None]


def noise(images: Tensor, strength: Tensor, rng: torch.Generator) -> Tensor:
    """White noise."""
    return images + 0.6 * column(strength) * torch.randn(images.shape, generator=rng)


def blur(images: Tensor, strength: Tensor, rng: torch.Generator) -> Tensor:
    """Move toward a blurred copy."""
    blurred = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    return images + column(strength) * (blurred - images)


def tint(images: Tensor, strength: Tensor, rng: torch.Generator) -> Tensor:
    """Scale each channel's light a little."""
    gain = 1 + 0.5 * strength[:, None] * signs((len(images), 3), rng)
    return (images + 1) * gain[:, :, None, None] - 1


def affine(images: Tensor, strength: Tensor, rng: torch.Generator) -> Tensor:
    """Turn and shift (at most 20 degrees, 12 %)."""
    turn, dx, dy = strength * signs((3, len(images)), rng) * torch.tensor([math.radians(20), 0.12, 0.12])[:, None]
    cos, sin = torch.cos(turn), torch.sin(turn)
    theta = torch.stack([torch.stack([cos, -sin, dx], 1), torch.stack([sin, cos, dy], 1)], 1)
    where = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, where, padding_mode="border", align_corners=False)


def warp(images: Tensor, strength: Tensor, rng: torch.Generator) -> Tensor:
    """Bend the image by a smooth random field."""
    coarse = torch.randn(len(images), 2, 4, 4, generator=rng)
    field = F.interpolate(coarse, size=images.shape[2:], mode="bicubic", align_corners=False)
    field = field.permute(0, 2, 3, 1) * 0.12 * strength[:, None, None, None]
    identity = torch.eye(2, 3).expand(len(images), 2, 3)
    where = F.affine_grid(identity, list(images.shape), align_corners=False) + field
    return F.grid_sample(images, where, padding_mode="border", align_corners=False)


def erase(images: Tensor, strength: Tensor, rng: torch.Generator) -> Tensor:
    """Darken a random patch."""
    height, width = images.shape[2:]
    y, x = torch.rand(2, len(images), 1, 1, 1, generator=rng)
    rows, columns = torch.arange(height)[:, None] / height, torch.arange(width)[None] / width
    inside = ((rows - y).abs() < 0.2) & ((columns - x).abs() < 0.2)
    return torch.where(inside, images + column(strength) * (-1 - images), images)


def signs(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Random +1 and -1."""
    return torch.randint(0, 2, shape, generator=rng) * 2.0 - 1


DISTORTIONS: tuple[Distortion, ...] = (noise, blur, tint, affine, warp, erase)
