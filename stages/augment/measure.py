"""What is told of every variant, whatever its mode: how far it is from its source, and whether it fools."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.belongings import problem_of_end, writing
from pipeline.build import Build
from pipeline.config import digest_of
from pipeline.generators import open_generator
from pipeline.images import Pixels, to_float, to_uint8
from pipeline.memory import in_batches
from pipeline.perceptual import Features, PerceptualNet, load_perceptual, perceptual_digest
from pipeline.perceptual.base import lpips_distance
from pipeline.progress import report
from pipeline.sealed import read_sealed, write_sealed
from pipeline.seeds import torch_generator
from stages.augment.modes.base import Context, Sources, Variants

IMAGES, NEIGHBOURS = 32, 2  # unrelated ones that the bound is taken from, and how many each is compared with
FARTHEST = 0.95  # share of them that are nearer than the bound


@dataclass(frozen=True)
class Measured:
    """Rows as the variants.

    Attributes:
        pixels: uint8 [B, H, W, 3], what shards will show; None where nobody wants them.
        distance: perceptual distance of these pixels to the source's rendering, [B].
        fooled: whether the classifier gets these pixels wrong, [B]; never, where there is none.
        source_fooled: whether it gets the source's rendering wrong already, [B].
        moved: largest change of a number of w, [B].
        broken: w or image is not finite, [B].
        flagged: broken, or farther from the source than unrelated images nearly ever are from each other, [B].
    """

    pixels: Pixels | None
    distance: NDArray[np.float32]
    fooled: NDArray[np.bool_]
    source_fooled: NDArray[np.bool_]
    moved: NDArray[np.float32]
    broken: NDArray[np.bool_]
    flagged: NDArray[np.bool_]


@dataclass
class SourceViews:
    """What variants are compared with: their sources' renderings, as 8-bit images.

    A sample's variants follow each other, so where few are measured at once the last sample's is kept.
    """

    sources: Sources
    context: Context
    net: PerceptualNet
    row: int = -1
    kept: tuple[Features, Tensor] | None = None

    def of(self, places: Tensor) -> tuple[Features, Tensor]:
        """Features of the sources of some variants [n], and whether the classifier gets these wrong [n]."""
        samples, back = self.sources.at(places).distinct()
        rows = self.sources.rows[places[samples]].tolist()
        if self.kept is None or rows != [self.row]:
            self.row, self.kept = rows[-1] if len(rows) == 1 else -1, self.seen(places[samples])
        features, wrong = self.kept
        return [layer[back.to(layer.device)] for layer in features], wrong[back]

    def seen(self, own: Tensor) -> tuple[Features, Tensor]:
        """The same of the sources at some places, each once."""
        images = self.context.render(self.sources.w[own], self.sources.codes(own))
        shown = to_float(to_uint8(images)).to(self.sources.w.device)
        wrong = torch.zeros(len(own), dtype=torch.bool)
        if self.context.classify is not None:
            wrong = self.context.classify(shown).argmax(dim=1).cpu() != self.sources.labels[own]
        return self.net.weigh(self.net.trunk(shown)), wrong


def measure(
    made: Variants, sources: Sources, context: Context, perceptual: str, bound: float, *, keep_pixels: bool
) -> Measured:
    """Render variants and sources, and compare them as the 8-bit images that people will see."""
    net = load_perceptual(perceptual, sources.w.device.type)
    soft = made.columns.get("soft_label")
    likeliest = sources.labels if soft is None else soft.argmax(dim=1).cpu()  # a mixup's may be the partner's
    views = SourceViews(sources, context, net)

    def measured(rows: slice) -> tuple[Pixels | None, Tensor, Tensor, Tensor, Tensor]:
        places = torch.arange(rows.start, rows.stop)
        if made.images is None:
            images = context.render(made.w[places], sources.codes(places))
        else:
            images = made.images[places]
        pixels = to_uint8(images)
        shown = to_float(pixels).to(sources.w.device)
        features, wrong_before = views.of(places)
        distance = lpips_distance(net.weigh(net.trunk(shown)), features)
        wrong = torch.zeros(len(places), dtype=torch.bool)
        if context.classify is not None:
            wrong = context.classify(shown).argmax(dim=1).cpu() != likeliest[places]
        finite = torch.isfinite(images).flatten(1).all(dim=1) & torch.isfinite(made.w[places]).flatten(1).all(dim=1)
        return pixels if keep_pixels else None, distance.float().cpu(), wrong, wrong_before, finite.cpu()

    parts = in_batches(len(sources), context.slots, measured, reported=True)
    distances = torch.cat([part[1] for part in parts]).numpy()
    moved = (made.w - sources.w).abs().amax(dim=(1, 2)).cpu().numpy()
    broken = ~np.isfinite(distances) | ~torch.cat([part[4] for part in parts]).numpy()
    return Measured(
        pixels=np.concatenate([part[0] for part in parts if part[0] is not None]) if keep_pixels else None,
        distance=distances,
        fooled=torch.cat([part[2] for part in parts]).numpy(),
        source_fooled=torch.cat([part[3] for part in parts]).numpy(),
        moved=moved,
        broken=broken,
        flagged=broken | (distances > bound),
    )


def unrelated_distance(generator: str, perceptual: str, device: str, build: Build) -> float:
    """What counts as too far: a distance that only one in twenty pairs of random images exceeds.

    A change of all that a style sets may come near it; beyond it lie broken images. It depends on the two networks
    alone, so it is the same whatever has been inverted so far, and is kept in the build.
    """
    path = unrelated_path(generator, perceptual, device, build)
    kept = read_sealed(path)
    if kept is not None and problem_of_end(build, f"cache/{path.name}") is None:
        return float(kept["distance"])
    bound = measure_unrelated(generator, perceptual, device)
    with writing(build, f"cache/{path.name}", [path]):
        write_sealed(path, {"distance": bound})
    return bound


def unrelated_path(generator: str, perceptual: str, device: str, build: Build) -> Path:
    """Where the build keeps it."""
    settings = [device, IMAGES, NEIGHBOURS, FARTHEST]
    key = digest_of([open_generator(generator).sha256, perceptual_digest(perceptual), *settings])[:16]
    return build.root / ".cache" / f"unrelated-{key}.json"


def mend_unrelated(generator: str, perceptual: str, device: str, build: Build) -> None:
    """Measure it anew where the build has had it, and it is damaged or lost."""
    path = unrelated_path(generator, perceptual, device, build)
    if path.exists() or build.ledger_path(f"cache/{path.name}").is_dir():
        unrelated_distance(generator, perceptual, device, build)


@lru_cache(maxsize=2)
def measure_unrelated(generator: str, perceptual: str, device: str) -> float:
    """The distance that FARTHEST of the pairs of neighbours stay below in a row of IMAGES random ones."""
    network, net = open_generator(generator, device).network, load_perceptual(perceptual, device)
    distances: list[float] = []
    before: list[Features] = []
    with torch.no_grad():
        for number in range(IMAGES):
            report(0, 1, f"comparing unrelated images: {number}/{IMAGES}")
            rng = torch_generator(0, "unrelated", number)
            z = torch.randn(1, network.z_dim, generator=rng).to(device)
            chosen = torch.randint(max(1, network.c_dim), (1,), generator=rng)
            c = torch.eye(network.c_dim)[chosen].to(device) if network.c_dim else None
            image = network.synthesize(network.map(z, c)).clamp(-1, 1)
            features = net.weigh(net.trunk(image))
            distances += [float(lpips_distance(features, other)) for other in before]
            before = [*before, features][-NEIGHBOURS:]
    return float(np.quantile(distances, FARTHEST))
