"""How fast this machine is: what dry runs reckon with, and what tells how much work a task holds."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pipeline.devices import give_back_memory, use_one_thread
from pipeline.generators.layered import LayeredGenerator
from pipeline.memory import free_cached
from pipeline.perceptual import PerceptualNet

REPEATS = 3
ENOUGH = 1.0  # seconds of measuring after which nothing is repeated


@dataclass(frozen=True)
class Rates:
    """Seconds for one image on one worker.

    Attributes:
        gradient_step: one step of inversion: rendering, distance, and the gradient to w+.
        render: rendering alone.
    """

    gradient_step: float
    render: float


def measure_rates(network: LayeredGenerator, perceptual: PerceptualNet, device: torch.device, batch: int) -> Rates:
    """Time a step of each kind as a worker would do it, on `batch` random latents; a few where they are short."""
    use_one_thread()
    c = torch.zeros(batch, network.c_dim, device=device) if network.c_dim else None
    with torch.no_grad():
        w = network.map(torch.randn(batch, network.z_dim, device=device), c).clone()
        target = perceptual.target(network.synthesize(w))
    w.requires_grad_(True)

    def gradient_step() -> None:
        images = network.synthesize(w)
        loss = perceptual.distance(images, target, fast=True) + (images - target.images).abs().mean(dim=(1, 2, 3))
        torch.autograd.grad(loss.sum(), w)

    def render() -> None:
        with torch.inference_mode():
            network.synthesize(w)

    with torch.enable_grad():
        rates = Rates(seconds_of(gradient_step, device, ENOUGH) / batch, seconds_of(render, device, ENOUGH) / batch)
    give_back_memory()
    free_cached()
    return rates


def seconds_of(action: Callable[[], None], device: torch.device, enough: float = math.inf) -> float:
    """Median seconds of an action after one that warms up; of fewer, once `enough` seconds were spent.

    On a CPU these are the process's own, so that it does not matter what else the machine does.
    """
    taken: list[float] = []
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    while len(taken) <= REPEATS and sum(taken) < enough:
        began = clock()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(clock() - began)
    repeated = sorted(taken[1:] or taken)
    return repeated[(len(repeated) - 1) // 2]
