"""What edits do: how far they move an image, and whether a classifier still says the same."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.composition import Composition, render
from pipeline.directions import Directions, Range, edit
from pipeline.generators import Generator
from pipeline.memory import in_batches
from pipeline.perceptual import PerceptualNet
from pipeline.progress import Progress


@dataclass(frozen=True)
class Scored:
    """What edits are scored on: w+ [N, num_ws, w_dim] and the codes that belong to it; `inverted` or `random`."""

    w: Tensor
    composition: Composition | None
    kind: str

    def at(self, places: Tensor) -> Self:
        """Some of them."""
        codes = None if self.composition is None else self.composition.rows(places)
        return type(self)(self.w[places], codes, self.kind)

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        codes = None if self.composition is None else self.composition.to(device)
        return type(self)(self.w.to(device), codes, self.kind)

    def edited(self, directions: Directions, axis: int, layers: Range, r: float, generator: Generator) -> Tensor:
        """Images [N, 3, H, W] of all, moved by r deviations along an axis in some layers."""
        return render(generator, edit(directions, self.w, axis, layers, r), self.composition)


@dataclass(frozen=True)
class Judges:
    """What edits are measured with; without a classifier, flips are unknown."""

    generator: Generator
    perceptual: PerceptualNet
    classifier: nn.Module | None


@torch.inference_mode()
def score(
    directions: Directions, scored: Scored, judges: Judges, batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean effect and share of flips [K, ranges] of edits by plus and minus the scored step.

    A flip is an edit after which the classifier predicts another class than for the unedited rendering (eq. 2).
    """
    shape = (len(directions.axes), len(directions.ranges))
    with Progress("directions", len(scored.w) * shape[0] * shape[1] * 2, "edits") as progress:

        def judge(rows: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            some = scored.at(torch.arange(len(scored.w), device=scored.w.device)[rows])
            effect, flips = np.zeros(shape), np.zeros(shape)
            plain = render(judges.generator, some.w, some.composition).clamp(-1, 1)
            target = judges.perceptual.target(plain)
            before = predictions(judges.classifier, plain)
            for axis, column in np.ndindex(shape):
                for r in (-directions.scored_step, directions.scored_step):
                    layers = directions.ranges[column]
                    images = some.edited(directions, axis, layers, r, judges.generator).clamp(-1, 1)
                    effect[axis, column] += float(judges.perceptual.distance(images, target).sum())
                    flips[axis, column] += float((predictions(judges.classifier, images) != before).sum())
                progress.advance(2 * len(some.w))
            return effect, flips

        parts = in_batches(len(scored.w), batch_size, judge)
    effect, flips = (np.sum(each, axis=0) for each in zip(*parts, strict=True))
    if judges.classifier is None:
        flips[:] = np.nan
    edits = 2 * len(scored.w)
    return (effect / edits).astype(np.float32), (flips / edits).astype(np.float32)


def predictions(classifier: nn.Module | None, images: Tensor) -> Tensor:
    """Predicted classes [B] of images [B, 3, H, W]; zeros without a classifier."""
    if classifier is None:
        return torch.zeros(len(images), dtype=torch.int64, device=images.device)
    classes: Tensor = classifier(images).argmax(dim=1)
    return classes
