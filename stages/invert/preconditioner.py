"""Coordinates in which inversion is well conditioned, measured once for a generator and a perceptual net.

Some directions of w change the picture thousands of times more than others. The mean Gauss-Newton matrix of each
row of theta, M = E[JᵀJ] with J the derivative of pixels and perceptual features by that row, tells which: with
theta = theta₀ + A u and A = Q (Λ + λ)^(-1/2) of M = Q Λ Qᵀ, all directions of u matter about alike. M comes from
gradients of random projections of the output, E[(Jᵀv)(Jᵀv)ᵀ] = JᵀJ, at random w.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.generators import Generator
from pipeline.perceptual import PerceptualNet
from pipeline.seeds import torch_generator
from stages.invert.latents import Latents, render_theta

DAMPING = 1e-3  # λ as a share of the row's largest eigenvalue
PROBES_PER_DIMENSION = 10
BATCH_PIXELS = 64 * 32 * 32  # as many as fit a small memory: 64 images at 32x32, one from 256x256 on


@dataclass(frozen=True)
class Preconditioner:
    """`basis` A is [rows, w_dim, w_dim]: theta = theta0 + A u for each row."""

    basis: Tensor

    def to_theta(self, u: Tensor) -> Tensor:
        """Map changes u [B, rows * w_dim] to changes of theta [B, rows, w_dim]."""
        u = u.reshape(len(u), *self.basis.shape[:2])
        return torch.einsum("ble,lde->bld", u, self.basis)

    def to_u(self, gradient: Tensor) -> Tensor:
        """Map gradients by theta [B, rows, w_dim] to gradients by u [B, rows * w_dim]."""
        return torch.einsum("bld,lde->ble", gradient, self.basis).flatten(1)


def measure_preconditioner(
    generator: Generator, perceptual: PerceptualNet, latents: Latents, device: torch.device
) -> Preconditioner:
    """Estimate M from random probes at random, style-mixed w+."""
    dim = generator.w_dim
    batch = max(1, BATCH_PIXELS // generator.resolution**2)
    metric = torch.zeros(latents.rows, dim, dim, device=device)
    probes = 0
    while probes < PROBES_PER_DIMENSION * dim:
        rng = torch_generator(0, "preconditioner", probes)
        w = random_w(generator, batch, rng, device)
        theta = latents.start(w, list(range(probes, probes + batch))).requires_grad_(True)
        images = render_theta(generator, latents, theta)
        gradient = projected_gradient(images, perceptual, theta, rng)
        metric += torch.einsum("bld,ble->lde", gradient, gradient)
        probes += batch
    eigenvalues, basis = torch.linalg.eigh(metric / probes)
    largest = eigenvalues.amax(dim=1, keepdim=True)
    scale = torch.where(largest > 0, (eigenvalues.clamp_min(0) + DAMPING * largest).rsqrt(), 0.0)
    return Preconditioner(basis * scale[:, None, :])


def projected_gradient(images: Tensor, perceptual: PerceptualNet, theta: Tensor, rng: torch.Generator) -> Tensor:
    """Jᵀv, shaped as theta, for one random v over the pixels and perceptual features of each of its images."""
    outputs = [images / math.sqrt(images[0].numel())]
    outputs += [f / math.sqrt(f.shape[2] * f.shape[3]) for f in perceptual.weigh(perceptual.trunk(images))]
    projections = [(o * torch.randn(o.shape, generator=rng).to(theta.device)).sum() for o in outputs]
    return torch.autograd.grad(torch.stack(projections).sum(), theta)[0]


def random_w(generator: Generator, count: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """w+ [count, num_ws, w_dim] of two random z each, mixed at a random layer."""
    z = torch.randn(2, count, generator.z_dim, generator=rng).to(device)
    c = torch.eye(generator.c_dim)[torch.randint(generator.c_dim, (count,), generator=rng)].to(device) \
        if generator.c_dim else None  # fmt: skip
    with torch.no_grad():
        one, two = (generator.map(part, c) for part in z)
    cut = torch.randint(0, generator.num_ws + 1, (count, 1, 1), generator=rng)
    layer = torch.arange(generator.num_ws)[None, :, None]
    return torch.where((layer < cut).to(device), one, two)


def shared_preconditioner(
    path: Path, generator: Generator, perceptual: PerceptualNet, latents: Latents, device: torch.device
) -> Preconditioner:
    """Read the preconditioner at `path`, or measure and write it; every process ends with the same bytes."""
    if not path.is_file():
        measured = measure_preconditioner(generator, perceptual, latents, device)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_bytes(save({"basis": measured.basis.cpu().contiguous()}))
        try:
            path.hardlink_to(partial)  # whoever comes first; the others read that
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return Preconditioner(load_file(path)["basis"].to(device))
