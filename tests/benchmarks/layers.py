"""Which layers carry the digit: mix random fine styles in from layer k on, and ask the judge.

`python -m tests.benchmarks.layers [BUILD [GENERATOR]]`; by default builds/color-digits and the shipped generator.
The digits must be inverted: `pipeline invert --dataset color-digits` first.
"""

import sys

import numpy as np
import torch

from pipeline.build import open_build
from pipeline.classifiers import classify
from pipeline.classifiers.judge import train_classifier
from pipeline.datasets.loading import load_split
from pipeline.devices import use_one_thread
from pipeline.generators import load_generator
from pipeline.generators.layers import replace_layers
from pipeline.images import to_float
from pipeline.seeds import torch_generator

COUNT = 512


def colours(images: torch.Tensor) -> torch.Tensor:
    """Brightest value of each channel [B, 3] of images [B, 3, H, W]."""
    return images.clamp(-1, 1).amax(dim=(2, 3))


@torch.inference_mode()
def main() -> None:
    """Print a table: layers kept, share of digits kept, share of the colour difference between random digits."""
    use_one_thread()
    build = open_build(sys.argv[1] if len(sys.argv) > 1 else "builds/color-digits")
    pixels, labels = load_split(build, "train")
    with torch.inference_mode(False), torch.enable_grad():
        judge = train_classifier(
            to_float(pixels), torch.from_numpy(labels), 10, epochs=12, seed=0, free_colours=True
        )
    samples = build.samples()
    rows = np.flatnonzero(((samples["split"] == "train") & (samples["status"] == "ok")).to_numpy())[:COUNT]
    digits = torch.from_numpy(samples["label"].to_numpy()[rows])
    network = load_generator(sys.argv[2] if len(sys.argv) > 2 else "color-digits")
    w = torch.from_numpy(np.asarray(build.latents()["w"].oindex[rows]))  # type: ignore[union-attr]
    rng = torch_generator(0, "layers")
    random_w = network.map(torch.randn(len(rows), network.z_dim, generator=rng))
    before = network.synthesize(w)
    apart = (colours(before) - colours(before[torch.randperm(len(rows), generator=rng)])).abs().mean()
    print("| layers kept | digits kept | colour moved |\n|---|---|---|")
    for first in range(2, network.num_ws):
        after = network.synthesize(replace_layers(w, random_w, tuple(range(first, network.num_ws))))
        kept = (classify(judge, after).argmax(dim=1) == digits).float().mean()
        moved = (colours(after) - colours(before)).abs().mean() / apart
        print(f"| 0–{first - 1} | {kept:.1%} | {moved:.0%} |", flush=True)


if __name__ == "__main__":
    main()
