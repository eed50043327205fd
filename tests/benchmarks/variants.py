"""A picture of variant sets of a build, side by side.

`python -m tests.benchmarks.variants PICTURE.png BUILD SET…` draws some training digits, each in a column:
as inverted, then its first two variants of every set.
"""

import sys

import numpy as np
import torch

from pipeline.build import open_build
from pipeline.generators import load_generator
from pipeline.images import grid, to_uint8
from pipeline.latents import generator_of

SHOWN = 24  # digits in the picture
EACH = 2  # variants of each, a row for each


@torch.inference_mode()
def main() -> None:
    """Draw the rows, with names beside them."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    picture, root, *names = sys.argv[1:]
    build = open_build(root)
    network = load_generator(generator_of(build))
    samples = build.samples("split", "status")
    sources = np.flatnonzero(((samples["split"] == "train") & (samples["status"] == "ok")).to_numpy())[:SHOWN]
    rows = {"inverted": np.asarray(build.latents()["w"].oindex[sources])}  # type: ignore[union-attr]
    for name in names:
        variants = build.variants(name)
        w, origin = np.asarray(variants["w"][: SHOWN * 8]), np.asarray(variants["source"][: SHOWN * 8])
        for number in range(EACH):
            picked = [np.flatnonzero(origin == source)[number] for source in sources]
            rows[name if number == 0 else " " * len(rows)] = w[picked]
    figure, axes = pyplot.subplots(len(rows), 1, figsize=(12, 0.55 * len(rows)), constrained_layout=True)
    for axis, (name, codes) in zip(axes, rows.items(), strict=True):
        axis.imshow(grid(to_uint8(network.synthesize(torch.from_numpy(codes))), columns=SHOWN, gap=1))
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
