"""The published projector, written plainly: what `pipeline invert` is measured against.

Adam on W+ from the mean w, 1,000 steps at 0.1 with 5 % linear ramp-up and 25 % cosine ramp-down, noise on w that
decays over three quarters of the run (Karras et al. 2020, appendix D; OM-ImageNet's projector is the same).
The objective is ours, so that both are judged by what both minimise.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.generators import Generator
from pipeline.images import psnr
from pipeline.perceptual import PerceptualNet
from pipeline.seeds import torch_generator

STEPS = 1000
CHECKPOINTS = (10, 25, 50, 100, 200, 350, 500, 750, 1000)
RATE, RAMP_UP, RAMP_DOWN = 0.1, 0.05, 0.25
NOISE, NOISE_RAMP = 0.05, 0.75


@dataclass(frozen=True)
class Point:
    """Where a projector is after so many steps.

    Attributes:
        seconds: of one core, for an image.
        psnr: mean over the images, in dB.
        distance: mean perceptual distance.
        loss: mean of what is minimised: that, and twice the mean absolute difference of pixels.
    """

    steps: int
    seconds: float
    psnr: float
    distance: float
    loss: float = math.nan


def judged(network: Generator, net: PerceptualNet, w: Tensor, images: Tensor) -> tuple[float, float, float]:
    """Mean PSNR, perceptual distance and loss of what w+ renders, beside images [B, 3, H, W]."""
    with torch.no_grad():
        rendered, target = network.synthesize(w), net.target(images)
        distance = net.distance(rendered, target)
        loss = distance + 2 * (rendered - images).abs().mean(dim=(1, 2, 3))
        found = psnr(rendered, images), distance, loss
    return tuple(float(values.mean()) for values in found)  # type: ignore[return-value]


def schedule(t: float) -> float:
    """Step size at progress t in [0, 1]."""
    down = 0.5 - 0.5 * math.cos(min(1.0, (1 - t) / RAMP_DOWN) * math.pi)
    return RATE * down * min(1.0, t / RAMP_UP)


def reference_curve(network: Generator, net: PerceptualNet, images: Tensor, steps: int = STEPS) -> list[Point]:
    """Project images [B, 3, H, W] together; the time is that of the batch shared among its images.

    With other `steps` the whole schedule is that much shorter or longer.
    """
    rng = torch_generator(0, "reference")
    with torch.no_grad():
        drawn = network.map(torch.randn(10_000, network.z_dim, generator=rng))[:, 0]
        mean = drawn.mean(dim=0)
        deviation = float((drawn - mean).square().sum(dim=1).mean().sqrt())
    w = mean.repeat(len(images), network.num_ws, 1).requires_grad_(True)
    optimizer = torch.optim.Adam([w], lr=RATE)
    target = net.target(images)
    spent, points = 0.0, []
    for step in range(steps):
        began = time.process_time()
        t = step / steps
        optimizer.param_groups[0]["lr"] = schedule(t)
        strength = deviation * NOISE * max(0.0, 1 - t / NOISE_RAMP) ** 2
        rendered = network.synthesize(w + strength * torch.randn(w.shape, generator=rng))
        loss = net.distance(rendered, target) + 2 * (rendered - images).abs().mean(dim=(1, 2, 3))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        spent += time.process_time() - began
        if step + 1 in CHECKPOINTS or step + 1 == steps:
            points.append(Point(step + 1, spent / len(images), *judged(network, net, w.detach(), images)))
    return points


def reference_alone(network: Generator, net: PerceptualNet, images: Tensor) -> list[Point]:
    """Project images one after another, as the reference code does; the mean over them."""
    curves = [reference_curve(network, net, images[i : i + 1]) for i in range(len(images))]
    return [
        Point(
            points[0].steps,
            *(
                sum(getattr(p, name) for p in points) / len(points)
                for name in ("seconds", "psnr", "distance", "loss")
            ),
        )
        for points in zip(*curves, strict=True)
    ]
