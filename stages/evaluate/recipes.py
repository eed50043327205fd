"""What is done to a batch before a training step: nothing, or one of the papers' baselines."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.attacks.balls import worst_images
from pipeline.classifiers.judge import mix_colours
from pipeline.seeds import seed_of


@dataclass(frozen=True)
class Batch:
    """Images [B, 3, H, W] in [-1, 1] and the probabilities [B, C] that they are to be given."""

    images: Tensor
    targets: Tensor


# (batch, the network as it is now, seed of this step) -> batch
Recipe = Callable[[Batch, nn.Module, int], Batch]

MIXUP_ALPHA = 0.2  # AdvMix, Table 4
AT_STEPS = 7  # Madry et al. 2018


def plain(batch: Batch, network: nn.Module, seed: int) -> Batch:
    """The images as they are."""
    return batch


def mixup(batch: Batch, network: nn.Module, seed: int) -> Batch:
    """Blend each image and its target with another's, lambda ~ Beta(0.2, 0.2) (Zhang et al. 2018)."""
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(batch.images), generator=rng)
    drawn = np.random.Generator(np.random.PCG64(seed)).beta(MIXUP_ALPHA, MIXUP_ALPHA, len(order))
    lam = torch.from_numpy(drawn).to(batch.images)
    along = lam[:, None, None, None]
    return Batch(
        along * batch.images + (1 - along) * batch.images[order],
        lam[:, None] * batch.targets + (1 - lam[:, None]) * batch.targets[order],
    )


def free_colours(batch: Batch, network: nn.Module, seed: int) -> Batch:
    """Mix the colours of each image at random: what a classifier reaches that is told that colour means nothing."""
    return Batch(mix_colours(batch.images, torch.Generator().manual_seed(seed)), batch.targets)


@dataclass(frozen=True)
class AdversarialTraining:
    """The worst images within an l-infinity ball (Madry et al. 2018), `epsilon` in units of [-1, 1]."""

    epsilon: float

    def __call__(self, batch: Batch, network: nn.Module, seed: int) -> Batch:
        """Attack the network as it is now."""
        network.eval()
        labels = batch.targets.argmax(dim=1)
        seeds = [seed_of(seed, "at", i) for i in range(len(labels))]
        step = 2.5 * self.epsilon / AT_STEPS
        images = worst_images(network, batch.images, labels, self.epsilon, step, AT_STEPS, seeds)
        network.train()
        return Batch(images, batch.targets)


RECIPES: dict[str, Recipe] = {
    "plain": plain,
    "mixup": mixup,
    "at4": AdversarialTraining(2 * 4 / 255),  # AdvMix's 4/255 and 8/255 are of images in [0, 1]
    "at8": AdversarialTraining(2 * 8 / 255),
    "oracle": free_colours,
}
