"""Which colours a generator knows: how often red, green or blue is the brightest channel of its strokes.

`python -m tests.benchmarks.colours GENERATOR…` prints a line for each, a manifest's name or path.
"""

import sys

import torch

from pipeline.devices import use_one_thread
from pipeline.generators import load_generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.seeds import torch_generator

SAMPLES = 4096
STROKE = 100  # brightest pixels, about a tenth of an image


@torch.inference_mode()
def strokes(network: LayeredGenerator, count: int) -> torch.Tensor:
    """Mean of the brightest pixels of each channel [count, 3], in [0, 1], of random samples."""
    z = torch.randn(count, network.z_dim, generator=torch_generator(0, "colours"))
    bright = [
        network.synthesize(network.map(part)).clamp(-1, 1).flatten(2).topk(STROKE, dim=2).values.mean(dim=2)
        for part in z.split(256)
    ]
    return (torch.cat(bright) + 1) / 2


def main() -> None:
    """Print a table: share of samples that are mostly red, green and blue, and how far ahead that channel is."""
    use_one_thread()
    print("| generator | red | green | blue | ahead of the next |\n|---|---|---|---|---|")
    for name in sys.argv[1:]:
        brightness = strokes(load_generator(name), SAMPLES)
        shares = torch.bincount(brightness.argmax(dim=1), minlength=3) / SAMPLES
        first, second = brightness.topk(2, dim=1).values.unbind(dim=1)
        cells = [f"{100 * share:.1f} %" for share in shares.tolist()]
        print(f"| {name} | {' | '.join(cells)} | {float((first - second).mean()):.2f} |")


if __name__ == "__main__":
    main()
