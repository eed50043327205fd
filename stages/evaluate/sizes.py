"""How many images a classifier is asked about, attacked on or trained on at once: by their size and the memory."""

import torch
from torch import nn

from pipeline.batches import FILLED, SLOT_PIXELS
from pipeline.capacity import BASE_BYTES
from pipeline.footprint import latent, peak_bytes
from pipeline.generators import Generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.memory import memory_share

MOST = 64  # images attacked at once
SMALL = 64  # height and width up to which so many fit any memory
PIXEL_BYTES = 4000  # of a gradient step, for networks that cannot be run without numbers
# Of activations in a training step; a constant, for what batch normalisation sees hangs on it.
TRAINED_BYTES = 2**31


def worker_memory(size: int, device: torch.device) -> int:
    """Bytes of this machine's memory that a worker wants for images of height and width `size`; 0 if little."""
    return 0 if size <= SMALL or device.type == "cuda" else BASE_BYTES + TRAINED_BYTES


def attack_slots(network: nn.Module, size: int, device: torch.device, generator: Generator | None = None) -> int:
    """Images of height and width `size` that are attacked at once; with a generator, in its latent space."""
    seen = max(size, 0 if generator is None else generator.resolution)
    if seen <= SMALL:
        return MOST
    fitting = int(FILLED * memory_share(device) / step_bytes(network, size, generator))
    by_pixels = MOST if device.type == "cuda" else SLOT_PIXELS // seen**2
    return max(1, min(MOST, by_pixels, fitting))


def trained_slots(network: nn.Module, size: int, device: torch.device) -> int:
    """Images of height and width `size` whose gradients are computed at once in training.

    It hangs on nothing but the network and the kind of device, so the same classifier comes out on every machine.
    """
    most = TRAINED_BYTES * (8 if device.type == "cuda" else 1)
    return max(1, most // step_bytes(network, size))


def step_bytes(network: nn.Module, size: int, generator: Generator | None = None) -> int:
    """Bytes of one image's logits and their gradient, from w+ on if there is a generator, beside the networks.

    A user's own network may be such that it cannot be run without numbers: then so much for each pixel.
    """

    def step(judge: nn.Module, rendered: LayeredGenerator | None = None) -> None:
        if rendered is None:
            images = start = torch.zeros(1, 3, size, size, device="meta", requires_grad=True)
        else:
            start = latent(rendered)
            images = rendered.synthesize(start)
        torch.autograd.grad(judge(images).sum(), start)

    rendering = (generator,) if isinstance(generator, LayeredGenerator) else ()
    seen = max(size, 0 if generator is None else generator.resolution)
    return peak_bytes(step, network, *rendering) or PIXEL_BYTES * seen**2
