"""What is told of every variant, whatever its mode: how far it is from its source, and whether it fools."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.generators import open_generator
from pipeline.images import Pixels, to_float, to_uint8
from pipeline.memory import in_batches
from pipeline.perceptual import load_perceptual
from pipeline.perceptual.base import lpips_distance
from pipeline.seeds import seed_of
from stages.augment.modes.base import Context, Sources, Variants

PAIRS = 64  # unrelated images that the bound is taken from
FARTHEST = 0.95  # share of them that are nearer than the bound


@dataclass(frozen=True)
class Measured:
    """Rows as the variants.

    Attributes:
        pixels: uint8 [B, H, W, 3], what shards will show.
        distance: perceptual distance of these pixels to the source's rendering, [B].
        fooled: whether the classifier gets these pixels wrong, [B]; never, where there is none.
        source_fooled: whether it gets the source's rendering wrong already, [B].
        moved: largest change of a number of w, [B].
        broken: w or image is not finite, [B].
        flagged: broken, or farther from the source than unrelated images nearly ever are from each other, [B].
    """

    pixels: Pixels
    distance: NDArray[np.float32]
    fooled: NDArray[np.bool_]
    source_fooled: NDArray[np.bool_]
    moved: NDArray[np.float32]
    broken: NDArray[np.bool_]
    flagged: NDArray[np.bool_]


def measure(made: Variants, sources: Sources, context: Context, perceptual: str, bound: float) -> Measured:
    """Render variants and sources, and compare them as the 8-bit images that people will see."""
    net = load_perceptual(perceptual, sources.w.device.type)
    soft = made.columns.get("soft_label")
    likeliest = sources.labels if soft is None else soft.argmax(dim=1).cpu()  # a mixup's may be the partner's

    def measured(rows: slice) -> tuple[Pixels, Tensor, Tensor, Tensor, Tensor]:
        places = torch.arange(rows.start, rows.stop)
        if made.images is None:
            images = context.render(made.w[places], sources.codes(places))
        else:
            images = made.images[places]
        pixels = to_uint8(images)
        shown = to_float(pixels).to(sources.w.device)
        samples, back = sources.at(places).distinct()
        own = places[samples]
        before = to_float(to_uint8(context.render(sources.w[own], sources.codes(own)))).to(sources.w.device)
        features = [layer[back] for layer in net.weigh(net.trunk(before))]
        distance = lpips_distance(net.weigh(net.trunk(shown)), features)
        wrong = wrong_before = torch.zeros(len(places), dtype=torch.bool)
        if context.classify is not None:
            wrong = context.classify(shown).argmax(dim=1).cpu() != likeliest[places]
            wrong_before = (context.classify(before).argmax(dim=1).cpu() != sources.labels[own])[back]
        finite = torch.isfinite(images).flatten(1).all(dim=1) & torch.isfinite(made.w[places]).flatten(1).all(dim=1)
        return pixels, distance.float().cpu(), wrong, wrong_before, finite.cpu()

    parts = in_batches(len(sources), context.slots, measured, reported=True)
    distances = torch.cat([part[1] for part in parts]).numpy()
    moved = (made.w - sources.w).abs().amax(dim=(1, 2)).cpu().numpy()
    broken = ~np.isfinite(distances) | ~torch.cat([part[4] for part in parts]).numpy()
    return Measured(
        pixels=np.concatenate([part[0] for part in parts]),
        distance=distances,
        fooled=torch.cat([part[2] for part in parts]).numpy(),
        source_fooled=torch.cat([part[3] for part in parts]).numpy(),
        moved=moved,
        broken=broken,
        flagged=broken | (distances > bound),
    )


@lru_cache(maxsize=2)
def unrelated_distance(generator: str, perceptual: str, device: str) -> float:
    """What counts as too far: a distance that only one in twenty pairs of random images exceeds.

    A change of all that a style sets may come near it; beyond it lie broken images. It depends on the two networks
    alone, so it is the same whatever has been inverted so far.
    """
    network, net = open_generator(generator, device).network, load_perceptual(perceptual, device)
    distances = []
    with torch.no_grad():
        for pair in range(PAIRS):
            rng = torch.Generator().manual_seed(seed_of(0, "unrelated", pair))
            z = torch.randn(2, network.z_dim, generator=rng).to(device)
            c = torch.eye(network.c_dim, device=device)[[0, -1]] if network.c_dim else None
            images = network.synthesize(network.map(z, c)).clamp(-1, 1)
            one, other = (net.weigh(net.trunk(image[None])) for image in images)
            distances.append(float(lpips_distance(one, other)))
    return float(np.quantile(distances, FARTHEST))
