"""What is done to a batch before a training step: nothing, or what one of the papers compares with."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.attacks.ascent import ascend
from pipeline.attacks.balls import BallAttack, worst_images
from pipeline.classifiers.judge import mix_colours
from pipeline.generators import Generator
from pipeline.seeds import seed_of


@dataclass(frozen=True)
class Batch:
    """Images [B, 3, H, W] in [-1, 1] and the probabilities [B, C] that they are to be given.

    For recipes in the latent space also their w+ [B, num_ws, w_dim], and the generator that renders it. An attack
    has `slots` of them in memory at once.
    """

    images: Tensor
    targets: Tensor
    w: Tensor | None = None
    generator: Generator | None = None
    slots: int = 64


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
    step: float
    steps: int

    def __call__(self, batch: Batch, network: nn.Module, seed: int) -> Batch:
        """Attack the network as it is now."""
        network.eval()
        labels = batch.targets.argmax(dim=1)
        seeds = [seed_of(seed, "at", i) for i in range(len(labels))]
        images = worst_images(
            network, batch.images, labels, self.epsilon, self.step, self.steps, seeds, batch.slots
        )
        network.train()
        return Batch(images, batch.targets)


@dataclass(frozen=True)
class OnManifoldTraining:
    """OM-AT (Lin et al. 2020): renderings of the worst w+ within an l-infinity ball around each image's."""

    epsilon: float
    step: float
    steps: int

    def __call__(self, batch: Batch, network: nn.Module, seed: int) -> Batch:
        """Attack the network as it is now."""
        assert batch.w is not None
        assert batch.generator is not None
        generator, size = batch.generator, (batch.images.shape[2], batch.images.shape[3])

        def render(w: Tensor, items: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(generator.synthesize(w).clamp(-1, 1), size)

        def seeds(items: Tensor, attempts: list[int]) -> list[int]:
            return [seed_of(seed, "om-at", item) for item in items.tolist()]

        network.eval()
        attack = BallAttack(batch.w, self.epsilon, self.step, self.steps, seeds, render)
        worst = ascend(attack, batch.targets.argmax(dim=1), network, batch.slots).x
        network.train()
        with torch.no_grad():
            parts = torch.arange(len(worst)).split(batch.slots)
            return Batch(torch.cat([render(worst[items], items) for items in parts]), batch.targets)


@dataclass(frozen=True)
class DualManifoldTraining:
    """DMAT (Lin et al. 2020): both attacks on each image, with half of the loss each."""

    pixels: AdversarialTraining
    latent: OnManifoldTraining

    def __call__(self, batch: Batch, network: nn.Module, seed: int) -> Batch:
        """Attack the network as it is now; twice as many images."""
        both = (self.pixels(batch, network, seed), self.latent(batch, network, seed))
        return Batch(torch.cat([one.images for one in both]), torch.cat([one.targets for one in both]))


def at(epsilon: float) -> AdversarialTraining:
    """Seven steps, which reach the rim of the ball and half as far again."""
    return AdversarialTraining(epsilon, 2.5 * epsilon / AT_STEPS, AT_STEPS)


PGD5, OM_PGD5 = AdversarialTraining(8 / 255, 2 / 255, 5), OnManifoldTraining(0.02, 0.005, 5)  # DMAT's numbers


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe, and whether it needs w+ and the generator."""

    recipe: Recipe
    latent: bool = False


RECIPES = {
    "plain": RecipeEntry(plain),
    "mixup": RecipeEntry(mixup),
    "at4": RecipeEntry(at(2 * 4 / 255)),  # AdvMix's 4/255 and 8/255 are of images in [0, 1]
    "at8": RecipeEntry(at(2 * 8 / 255)),
    "om-at": RecipeEntry(OM_PGD5, latent=True),
    "dmat": RecipeEntry(DualManifoldTraining(PGD5, OM_PGD5), latent=True),
    "oracle": RecipeEntry(free_colours),
}
