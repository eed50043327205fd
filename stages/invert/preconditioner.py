"""Coordinates in which inversion is well conditioned, measured once for a generator from a few probes.

Some directions of w change the picture thousands of times more than others. The mean Gauss-Newton matrix of each
row of theta, M = E[JᵀJ] with J the derivative of the pixels by that row, tells which: with theta = theta₀ + A u and
A = Q (Λ + λ)^(-1/2) of M = Q Λ Qᵀ, all directions of u matter about alike.

Gradients of random projections of the image give M, E[(Jᵀv)(Jᵀv)ᵀ] = JᵀJ, but for w of 512 numbers it would take
thousands of them. Two things are known beforehand, however: w acts through affine maps to styles, s = B w + b, and
a channel's style acts much like itself alone. So M is near Bᵀ D B, with D the mean squared gradients of the styles,
for which a few dozen probes are enough; the mean of that and of what the probes say of M itself is what is used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.generators import Generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.seeds import torch_generator
from stages.invert.latents import Latents, render_theta

PROBES = 64
SHRINKAGE = 0.5  # share of what is known beforehand
DAMPING = 1e-4  # λ as a share of the row's largest eigenvalue


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


@dataclass(frozen=True)
class Probes:
    """Gradients of random projections of images at random w+.

    Attributes:
        theta: by theta [K, rows, w_dim].
        styles: by the outputs of each w's style maps, [K, C] each; N K rows where N codes are read.
    """

    theta: Tensor
    styles: dict[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, on the CPU."""
        return {"theta": self.theta.cpu().contiguous()} | {
            f"styles.{name}": gradient.cpu().contiguous() for name, gradient in self.styles.items()
        }


def joined(parts: Sequence[dict[str, Tensor]]) -> Probes:
    """The probes of all parts, each as `Probes.tensors` gives them."""
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    styles = {name.removeprefix("styles."): value for name, value in whole.items() if name.startswith("styles.")}
    return Probes(whole["theta"], styles)


def probe(
    generator: LayeredGenerator, latents: Latents, numbers: Sequence[int], batch: int, device: torch.device
) -> Probes:
    """Take the probes of some numbers; each depends on its number alone."""
    parts = []
    for start in range(0, len(numbers), batch):
        some = numbers[start : start + batch]
        rngs = [torch_generator(0, "preconditioner", number) for number in some]
        w = torch.cat([random_w(generator, 1, rng, device) for rng in rngs])
        theta = latents.start(w, list(some)).detach().requires_grad_(True)
        with torch.enable_grad(), watched_styles(generator) as styles:
            images = render_theta(generator, latents, theta)
        v = torch.stack([torch.randn(images.shape[1:], generator=rng) for rng in rngs]).to(device)
        seen = [name for name, output in styles.items() if output.requires_grad]
        projection = (images * v).sum() / images[0].numel() ** 0.5
        gradients = torch.autograd.grad(projection, [theta, *(styles[name] for name in seen)])
        parts.append(Probes(gradients[0], dict(zip(seen, gradients[1:], strict=True))).tensors())
    return joined(parts)


@contextmanager
def watched_styles(generator: LayeredGenerator) -> Iterator[dict[str, Tensor]]:
    """The outputs of all style maps, as they are computed inside."""
    outputs: dict[str, Tensor] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[name] = output

        return module.register_forward_hook(keep)

    handles = [watch(name, module) for name, module in style_maps(generator).items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def style_maps(generator: LayeredGenerator) -> dict[str, nn.Module]:
    """The style maps of all w's, called after the w and their number among its maps."""
    found = enumerate(map(generator.styles, range(generator.num_ws)))
    return {f"{index}.{i}": module for index, modules in found for i, module in enumerate(modules)}


def measured_metric(generator: LayeredGenerator, latents: Latents, probes: Probes) -> Tensor:
    """M of each row of theta, [rows, w_dim, w_dim], from what the probes say and what is known beforehand."""
    known = known_metric(generator, probes)
    gradients = probes.theta.double()
    metric = torch.einsum("bld,ble->lde", gradients, gradients) / len(gradients)
    identity = torch.eye(generator.w_dim, dtype=torch.float64)
    for row, layers in enumerate(latents.layers):
        prior = known[list(layers)].sum(dim=0) if layers else identity
        prior = prior if prior.trace() > 0 else identity
        prior = prior * (metric[row].trace() / prior.trace())
        metric[row] = (1 - SHRINKAGE) * metric[row] + SHRINKAGE * prior
    return metric


def known_metric(generator: LayeredGenerator, probes: Probes) -> Tensor:
    """Bᵀ D B of each w, [num_ws, w_dim, w_dim]; zero where a family names no style maps."""
    dim = generator.w_dim
    known = torch.zeros(generator.num_ws, dim, dim, dtype=torch.float64)
    for name, module in style_maps(generator).items():
        if name not in probes.styles:
            continue
        with torch.no_grad():
            points = torch.cat([torch.zeros(1, dim), torch.eye(dim)]).to(generator.device)
            values = module(points).double().cpu()
        slopes = values[1:] - values[0]  # Bᵀ, [w_dim, C]
        known[int(name.partition(".")[0])] += (
            slopes * probes.styles[name].double().square().mean(dim=0)
        ) @ slopes.T
    return known


def make_preconditioner(generator: LayeredGenerator, latents: Latents, probes: Probes) -> Preconditioner:
    """The coordinates that follow from probes."""
    eigenvalues, basis = torch.linalg.eigh(measured_metric(generator, latents, probes))
    largest = eigenvalues.amax(dim=1, keepdim=True)
    scale = torch.where(largest > 0, (eigenvalues.clamp_min(0) + DAMPING * largest).rsqrt(), 0.0)
    return Preconditioner((basis * scale[:, None, :]).float())


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
