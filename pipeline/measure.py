"""How fast this machine is: what a dry run reckons with."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pipeline.devices import use_one_thread
from pipeline.generators.layered import LayeredGenerator
from pipeline.perceptual import PerceptualNet

REPEATS = 3


@dataclass(frozen=True)
class Rates:
    """Seconds for one image on one worker.

    Attributes:
        gradient_step: one step of inversion: rendering, distance, and the gradient to w+.
        render: rendering alone.
    """

    gradient_step: float
    render: float


def measure_rates(network: LayeredGenerator, perceptual: PerceptualNet, device: torch.device) -> Rates:
    """Time some steps of each kind as a worker would do them, on random latents."""
    use_one_thread()
    batch = 32 if network.resolution <= 64 else 4
    c = torch.zeros(batch, network.c_dim, device=device) if network.c_dim else None
    with torch.no_grad():
        w = network.map(torch.randn(batch, network.z_dim, device=device), c).clone()
        target = perceptual.target(network.synthesize(w))
    w.requires_grad_(True)

    def gradient_step() -> None:
        images = network.synthesize(w)
        loss = perceptual.distance(images, target) + (images - target.images).abs().mean(dim=(1, 2, 3))
        torch.autograd.grad(loss.sum(), w)

    def render() -> None:
        with torch.inference_mode():
            network.synthesize(w)

    return Rates(seconds_of(gradient_step, device) / batch, seconds_of(render, device) / batch)


def seconds_of(action: Callable[[], None], device: torch.device) -> float:
    """Median wall seconds of an action, after one that warms up."""
    taken = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return sorted(taken[1:])[REPEATS // 2]
