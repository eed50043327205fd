"""Which layers carry the digit: mix random fine styles in from layer k on, and ask the judge.

`python -m tests.benchmarks.layers [BUILD [GENERATOR [PICTURE.png]]]`; by default those of color-digits.
The digits must be inverted: `pipeline invert --dataset color-digits` first.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from pipeline.build import open_build
from pipeline.classifiers import classify
from pipeline.classifiers.judge import train_classifier
from pipeline.datasets.loading import load_split
from pipeline.devices import use_one_thread
from pipeline.generators import load_generator
from pipeline.generators.layered import LayeredGenerator
from pipeline.generators.layers import replace_layers
from pipeline.images import grid, to_float, to_uint8
from pipeline.seeds import torch_generator

COUNT = 512
SHOWN = 16  # digits in the picture


def colours(images: torch.Tensor) -> torch.Tensor:
    """Brightest value of each channel [B, 3] of images [B, 3, H, W]."""
    return images.clamp(-1, 1).amax(dim=(2, 3))


def draw(network: LayeredGenerator, w: torch.Tensor, random_w: torch.Tensor, picture: Path) -> None:
    """Draw digits, each in a column: as inverted, with the last layers of a random w, and that w's own image."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    last = network.num_ws - 1
    rows = {"inverted": w}
    for first in (last, last - 1, last - 2):
        layers = tuple(range(first, network.num_ws))
        name = f"layer {last} mixed" if first == last else f"layers {first}–{last} mixed"
        rows[name] = replace_layers(w, random_w, layers)
    rows["what is mixed in"] = random_w
    figure, axes = pyplot.subplots(len(rows), 1, figsize=(10, 3.2), constrained_layout=True)
    for axis, (name, codes) in zip(axes, rows.items(), strict=True):
        axis.imshow(grid(to_uint8(network.synthesize(codes)), columns=len(codes), gap=1))
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)


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
    if len(sys.argv) > 3:
        some = slice(0, COUNT, COUNT // SHOWN)
        draw(network, w[some], random_w[some], Path(sys.argv[3]))


if __name__ == "__main__":
    main()
