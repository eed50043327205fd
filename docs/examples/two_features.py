"""Figure 4 of AdvMix on the modes of `pipeline augment`: `python docs/examples/two_features.py [PICTURE.png]`.

Points of two features stand for images: the second tells the label, the first does not. AdvMix is given a generator
that knows which is which, and a classifier that has seen few points of two corners; mixup is given neither.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.augment.config import AugmentConfig, resolve
from stages.augment.modes import MODES
from stages.augment.modes.base import Context, Sources, Variants

PLACES, SPREAD = 10.0, 3.0**0.5  # z_orthogonal is 0 or 10, x1 ~ N(z_orthogonal, sqrt 3)
LEVELS = 20.0  # z_parallel is 0 or 20, x2 ~ N(z_parallel, 1), and the label is z_parallel / 20
POINTS, COARSE, FINE = 200, 0, 1  # w+ has two layers of one number each: x2, then x1


def map_z(z: Tensor) -> Tensor:
    """z [B, 2] to w+ [B, 2, 1]: any x1, in the fine layer; the other is not used."""
    x1 = PLACES * (z[:, 0] > 0) + SPREAD * z[:, 1]
    return torch.stack([torch.zeros_like(x1), x1], dim=1)[:, :, None]


def render(w: Tensor) -> Tensor:
    """w+ [B, 2, 1] to "images" [B, 2, 1, 1]: the point (x1, x2)."""
    return w.flip(1)[..., None]


@dataclass(frozen=True)
class Toy:
    """The points with their labels, and a classifier of them."""

    w: Tensor
    labels: Tensor
    classifier: nn.Module

    def augment(self, mode: str) -> Variants:
        """One variant of every point, by a mode of `pipeline augment`."""
        rows = torch.arange(len(self.labels))
        config = resolve(AugmentConfig(mode=mode, classifier="given" if MODES[mode].attacks else ""))
        context = Context(
            map=map_z,
            render=lambda w, codes: render(w),
            z_dim=2,
            fine_layers=(FINE,),
            pool=rows,
            read_w=lambda chosen: self.w[chosen],
            read_codes=lambda chosen: None,
            read_labels=lambda chosen: self.labels[chosen],
            read_images=lambda chosen: render(self.w[chosen]),
            num_classes=2,
            config=config,
            classify=self.classifier,
        )
        keys = [f"point-{i}" for i in rows.tolist()]
        return MODES[mode].load()(Sources(self.w, rows, keys, self.labels, torch.zeros_like(rows)), context)


def make_toy() -> Toy:
    """Draw the points, most ones at the right and most zeros at the left, and train a linear classifier on them."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(POINTS) % 2
    right = torch.rand(POINTS, generator=rng) < torch.where(labels == 1, 0.9, 0.1)
    x1 = PLACES * right + SPREAD * torch.randn(POINTS, generator=rng)
    x2 = LEVELS * labels + torch.randn(POINTS, generator=rng)
    w = torch.stack([x2, x1], dim=1)[:, :, None]
    classifier = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(2), nn.Linear(2, 2))
    for parameter in classifier[2].parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.05)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(classifier(render(w)), labels).backward()
        optimizer.step()
    return Toy(w, labels, classifier.eval().requires_grad_(False))


def likely(points: Tensor, labels: Tensor) -> float:
    """Share of points [B, 2] within four deviations of where their label's may lie."""
    x1, x2 = points.unbind(1)
    place = torch.minimum(x1.abs(), (x1 - PLACES).abs()) <= 4 * SPREAD
    return float((place & ((x2 - LEVELS * labels).abs() <= 4)).float().mean())


def main(picture: Path) -> dict[str, float]:
    """Draw the three panels; return the share of likely points in each."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    toy = make_toy()
    mixed, blended = toy.augment("advmix"), toy.augment("mixi")
    assert blended.images is not None
    panels = {
        "the points": (render(toy.w).flatten(1), toy.labels.float()),
        "with AdvMix": (render(mixed.w).flatten(1), toy.labels.float()),
        "with mixup": (blended.images.flatten(1), blended.columns["soft_label"][:, 1]),
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True, constrained_layout=True)
    own, colours = panels["the points"]
    for axis, (title, (points, share)) in zip(axes, panels.items(), strict=True):
        axis.scatter(*own.T, c=colours, cmap="coolwarm", s=9, alpha=0.35)
        axis.scatter(*points.T, c=share, cmap="coolwarm", s=9)
        axis.set(title=title, xlabel="$x_1$, which means nothing", ylabel="$x_2$, which tells the label")
        axis.label_outer()
    figure.savefig(picture, dpi=110)
    return {title: likely(points, toy.labels) for title, (points, _) in panels.items()}


if __name__ == "__main__":
    for name, value in main(Path(sys.argv[1] if len(sys.argv) > 1 else "two-features.png")).items():
        print(f"{name:<12} {value:.0%} likely under their label")
