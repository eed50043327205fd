"""How many images are computed at once where --batch-size is silent."""

from functools import lru_cache

import torch

from pipeline.generators import open_generator
from pipeline.perceptual import load_perceptual

SLOT_PIXELS = 64 * 32 * 32  # pixels in a batch on a CPU
MOST_SLOTS = 256


def batch_slots(batch_size: int | None, generator: str, perceptual: str, device: torch.device) -> int:
    """--batch-size; else what fits on a GPU, and on a CPU 64 images of 32x32, fewer of larger ones."""
    if batch_size is not None:
        return batch_size
    if device.type == "cuda":
        return fitting_slots(generator, perceptual)
    return max(1, min(MOST_SLOTS, SLOT_PIXELS // open_generator(generator).network.resolution ** 2))


@lru_cache(maxsize=2)
def fitting_slots(generator: str, perceptual: str) -> int:
    """How many images a GPU's free memory holds at once with their gradients, from one that is tried."""
    network, net = open_generator(generator, "cuda").network, load_perceptual(perceptual, "cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode(False), torch.enable_grad():  # whoever asks may be rendering without gradients
        w = torch.zeros(1, network.num_ws, network.w_dim, device="cuda", requires_grad=True)
        images = network.synthesize(w)
        target = net.target(images.detach())
        torch.autograd.grad(net.distance(images, target).sum(), w)
    each = torch.cuda.max_memory_allocated() - before
    free = torch.cuda.mem_get_info()[0]
    return int(min(MOST_SLOTS, max(1, 0.8 * free // each)))
