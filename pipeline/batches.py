"""How many images are computed at once where --batch-size is silent: by their size, and by the memory."""

from functools import lru_cache

import torch

from pipeline.footprint import PIXEL_BYTES, RENDERED_BYTES, render_bytes, step_bytes
from pipeline.generators import open_generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.memory import memory_share
from pipeline.perceptual import PerceptualNet, load_perceptual

SLOT_PIXELS = 64 * 32 * 32  # pixels in a batch with gradients on a CPU
RENDER_PIXELS = 64 * 64 * 64  # pixels in a batch that is only rendered
MOST_SLOTS = 256
MOST_RENDERED = 64
SMALL = 64  # height and width up to which such batches fit any memory
FILLED = 0.8  # share of the memory that a batch may fill


def batch_slots(batch_size: int | None, generator: str, perceptual: str, device: torch.device) -> int:
    """--batch-size; else what fits on a GPU, and on a CPU 64 images of 32x32, fewer of larger ones."""
    if batch_size is not None:
        return batch_size
    return _slots(generator, perceptual, device)


def render_slots(batch_size: int | None, generator: str, device: torch.device) -> int:
    """How many images are rendered at once, without gradients: --batch-size, or 64, fewer of more than 64x64."""
    if batch_size is not None:
        return batch_size
    return _render_slots(generator, device)


@lru_cache(maxsize=2)
def _slots(generator: str, perceptual: str, device: torch.device) -> int:
    network, net = open_generator(generator, device.type).network, load_perceptual(perceptual, device.type)
    return slots_of(network, net, device)


@lru_cache(maxsize=2)
def _render_slots(generator: str, device: torch.device) -> int:
    return rendered_slots_of(open_generator(generator, device.type).network, device)


def rendered_slots_of(network: LayeredGenerator, device: torch.device) -> int:
    """How many images of a generator are rendered at once on a device."""
    if network.resolution <= SMALL:
        return MOST_RENDERED
    fitting = int(FILLED * memory_share(device) / rendered_bytes(network))
    by_pixels = MOST_RENDERED if device.type == "cuda" else RENDER_PIXELS // network.resolution**2
    return max(1, min(MOST_RENDERED, by_pixels, fitting))


def slots_of(network: LayeredGenerator, net: PerceptualNet, device: torch.device) -> int:
    """How many images of a generator are optimised at once on a device."""
    if device.type == "cuda":
        return fitting_slots(network, net)
    by_pixels = pixel_slots(network.resolution)
    if network.resolution <= SMALL:
        return by_pixels
    return max(1, min(by_pixels, int(FILLED * memory_share(device) / image_bytes(network, net))))


def pixel_slots(resolution: int) -> int:
    """Images in a batch on a CPU, by their size alone."""
    return max(1, min(MOST_SLOTS, SLOT_PIXELS // resolution**2))


def image_bytes(network: LayeredGenerator, net: PerceptualNet) -> int:
    """Bytes of one image in a batch with gradients; for small images about."""
    return PIXEL_BYTES * network.resolution**2 if network.resolution <= SMALL else step_bytes(network, net)


def rendered_bytes(network: LayeredGenerator) -> int:
    """Bytes of one image in a batch that is only rendered; for small images about."""
    return RENDERED_BYTES * network.resolution**2 if network.resolution <= SMALL else render_bytes(network)


def fitting_slots(network: LayeredGenerator, net: PerceptualNet) -> int:
    """How many images a GPU's free memory holds at once with their gradients, from one that is tried."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode(False), torch.enable_grad():  # whoever asks may be rendering without gradients
        w = torch.zeros(1, network.num_ws, network.w_dim, device="cuda", requires_grad=True)
        images = network.synthesize(w)
        target = net.target(images.detach())
        torch.autograd.grad(net.distance(images, target).sum(), w)
    each = torch.cuda.max_memory_allocated() - before
    return int(min(MOST_SLOTS, max(1, FILLED * memory_share(torch.device("cuda")) // each)))
