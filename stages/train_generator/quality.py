"""How good a generator is: a classifier's confidence and a Frechet distance in its features.

The judge is trained on the labelled training images with their colours mixed at random, so that it looks at the
shape. It only measures: nothing it learns reaches the generator.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.batches import rendered_slots_of
from pipeline.classifiers.base import classify
from pipeline.classifiers.judge import train_classifier
from pipeline.classifiers.vgg5 import TruncatedVGG
from pipeline.generators.layered import LayeredGenerator
from pipeline.images import to_float
from pipeline.seeds import torch_generator

MOST = 10_000  # images that the judge learns from, and as many generated ones that it judges
LARGEST = 64  # pixels of their sides
BATCH = 128  # images at once
MOST_PIXELS = BATCH * 128**2  # of such images


@dataclass(frozen=True)
class Quality:
    """Measured on as many generated images as there are real ones, or MOST.

    confidence is the judge's mean top probability; frechet the distance of generated to real features;
    smallest_class_share the share of the rarest class among the generated, as the judge sees it.
    """

    confidence: float
    frechet: float
    smallest_class_share: float

    def as_dict(self) -> dict[str, float]:
        """The measures by name, rounded for people."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


class Judge:
    """A classifier and the statistics of the real images' features."""

    def __init__(
        self, pixels: Tensor, labels: Tensor, num_classes: int, seed: int, epochs: int, device: torch.device
    ):
        """Train on pixels uint8 [N, H, W, 3] with labels [N], or MOST of them."""
        self.num_classes, self.seed, self.device = num_classes, seed, device
        rows = torch.arange(len(pixels))
        if len(pixels) > MOST:
            rows = torch.randperm(len(pixels), generator=torch_generator(seed, "judged"))[:MOST]
        at_once = max(1, min(BATCH, MOST_PIXELS // pixels.shape[1] ** 2))
        images = torch.cat([shrunk(to_float(pixels[part].numpy()).to(device)) for part in rows.split(at_once)])
        self.model: TruncatedVGG = train_classifier(
            images, labels[rows].to(device), num_classes, epochs=epochs, seed=seed, free_colours=True
        )
        self.count = len(images)
        self.real = statistics(self.features(images))
        halves = torch.randperm(len(images), generator=torch_generator(seed, "judge halves"))
        first, second = (self.features(images[rows]) for rows in halves.chunk(2))
        self.real_real = frechet_distance(statistics(first), statistics(second))
        self.real_confidence = float(classify(self.model, images).amax(dim=1).mean())

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Features [N, F] of images [N, 3, H, W]."""
        return torch.cat([self.model.features(batch) for batch in images.split(256)])

    @torch.inference_mode()
    def measure(self, generator: LayeredGenerator) -> Quality:
        """Judge images of z drawn from the seed."""
        z = torch.randn(self.count, generator.z_dim, generator=torch_generator(self.seed, "judge z"))
        images = torch.cat(
            [
                shrunk(generator.synthesize(generator.map(batch.to(self.device))).clamp(-1, 1))
                for batch in z.split(min(BATCH, rendered_slots_of(generator, self.device)))
            ]
        )
        probabilities = classify(self.model, images)
        shares = torch.bincount(probabilities.argmax(dim=1), minlength=self.num_classes) / len(images)
        return Quality(
            confidence=float(probabilities.amax(dim=1).mean()),
            frechet=frechet_distance(statistics(self.features(images)), self.real),
            smallest_class_share=float(shares.min()),
        )


def shrunk(images: Tensor) -> Tensor:
    """Images [B, 3, H, W], averaged down to LARGEST where they are larger."""
    return F.adaptive_avg_pool2d(images, LARGEST) if images.shape[-1] > LARGEST else images


Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]


def statistics(features: Tensor) -> Statistics:
    """Mean [F] and covariance [F, F] of features [N, F]."""
    array = features.double().cpu().numpy()
    return array.mean(axis=0), np.cov(array, rowvar=False)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al. 2017)."""
    # The trace of the root is the sum of the roots of the (real, non-negative) eigenvalues of the product.
    eigenvalues = np.linalg.eigvals(a[1] @ b[1])
    root_trace = np.sqrt(np.clip(eigenvalues.real, 0, None)).sum()
    return float(((a[0] - b[0]) ** 2).sum() + np.trace(a[1]) + np.trace(b[1]) - 2 * root_trace)
