"""What edits do: how far they move an image, and whether a classifier still says the same."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.directions import Directions, edit
from pipeline.generators import Generator
from pipeline.perceptual import PerceptualNet
from pipeline.progress import Progress


@dataclass(frozen=True)
class Judges:
    """What edits are measured with; without a classifier, flips are unknown."""

    generator: Generator
    perceptual: PerceptualNet
    classifier: nn.Module | None


@torch.inference_mode()
def score(
    directions: Directions, w: Tensor, judges: Judges, batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean effect and share of flips [K, ranges] of edits by plus and minus the scored step, on w [N, num_ws, D].

    A flip is an edit after which the classifier predicts another class than for the unedited rendering (eq. 2).
    """
    shape = (len(directions.axes), len(directions.ranges))
    effect, flips = np.zeros(shape), np.zeros(shape)
    with Progress("directions", len(w) * shape[0] * shape[1] * 2, "edits") as progress:
        for codes in w.split(batch_size):
            plain = judges.generator.synthesize(codes).clamp(-1, 1)
            target = judges.perceptual.target(plain)
            before = predictions(judges.classifier, plain)
            for axis, column in np.ndindex(shape):
                for r in (-directions.scored_step, directions.scored_step):
                    edited = edit(directions, codes, axis, directions.ranges[column], r)
                    images = judges.generator.synthesize(edited).clamp(-1, 1)
                    effect[axis, column] += float(judges.perceptual.distance(images, target).sum())
                    flips[axis, column] += float((predictions(judges.classifier, images) != before).sum())
                progress.advance(2 * len(codes))
    if judges.classifier is None:
        flips[:] = np.nan
    edits = 2 * len(w)
    return (effect / edits).astype(np.float32), (flips / edits).astype(np.float32)


def predictions(classifier: nn.Module | None, images: Tensor) -> Tensor:
    """Predicted classes [B] of images [B, 3, H, W]; zeros without a classifier."""
    if classifier is None:
        return torch.zeros(len(images), dtype=torch.int64, device=images.device)
    classes: Tensor = classifier(images).argmax(dim=1)
    return classes
