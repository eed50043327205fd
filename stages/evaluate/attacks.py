"""What a classifier is measured by: which images it still gets right, as they are and under each attack."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.attacks.ascent import ascend
from pipeline.attacks.balls import PIXELS, BallAttack, Seeds
from pipeline.attacks.mix import MixAttack
from pipeline.generators import Generator
from pipeline.seeds import seed_of
from stages.evaluate.config import EvaluateConfig

SEED = 0  # of the attacks: every classifier is attacked from the same starts
REVISION = 2  # of the attacks: raised whenever one changes what it finds


@dataclass(frozen=True)
class Attacked:
    """A batch of test samples, and who has to recognise them.

    Attributes:
        images: [B, 3, H, W] in [-1, 1].
        w: w+ [B, num_ws, w_dim] behind them, for attacks in the latent space.
        generator: renders w; with it, `fine_layers` that do not carry the label.
        slots: images attacked at once.
    """

    network: nn.Module
    config: EvaluateConfig
    images: Tensor
    labels: Tensor
    ids: list[str]
    w: Tensor | None = None
    generator: Generator | None = None
    fine_layers: tuple[int, ...] = ()
    slots: int = 64

    def seeds(self, attack: str) -> Seeds:
        """A seed for each sample's attempt."""

        def seeds(items: Tensor, attempts: list[int]) -> list[int]:
            ids = [self.ids[i] for i in items.tolist()]
            return [seed_of(SEED, "evaluate", attack, n, name) for n, name in zip(attempts, ids, strict=True)]

        return seeds

    def latent(self) -> tuple[Tensor, Generator]:
        """W+ and generator of an attack that needs them."""
        assert self.w is not None
        assert self.generator is not None
        return self.w, self.generator

    def rendered(self, w: Tensor, items: Tensor) -> Tensor:
        """What w+ [n, num_ws, w_dim] of some samples renders as."""
        return self.latent()[1].synthesize(w)

    def withstands(self, attack: BallAttack | MixAttack) -> Tensor:
        """Which samples an attack does not get misclassified [B]; none of which the network says nothing finite."""
        outcome = ascend(attack, self.labels, self.logits, self.slots)
        judged = torch.isfinite(outcome.x).flatten(1).all(dim=1)
        return ~outcome.fooled.to(self.labels.device) & judged

    def logits(self, images: Tensor) -> Tensor:
        """What the network says of images [n, 3, H, W] about [-1, 1]."""
        answer: Tensor = self.network(images.clamp(-1, 1))
        return answer

    def right(self, logits: Callable[[Tensor], Tensor]) -> Tensor:
        """Which samples are recognised [B] by the logits of samples [n]."""
        everyone = torch.arange(len(self.labels), device=self.labels.device)
        answers = [logits(items).argmax(dim=1) for items in everyone.split(self.slots)]
        return torch.cat(answers) == self.labels


# Which samples of a batch are recognised under an attack [B].
Attack = Callable[[Attacked], Tensor]


@torch.no_grad()
def clean(batch: Attacked) -> Tensor:
    """The images as they are."""
    return batch.right(lambda items: batch.network(batch.images[items]))


@torch.no_grad()
def pixel_pgd(batch: Attacked) -> Tensor:
    """PGD on the pixels, from a random place in the ball; a sample that is not recognised anyway is lost."""
    c = batch.config
    attack = BallAttack(
        batch.images,
        c.pgd_epsilon,
        c.pgd_step,
        c.pgd_steps,
        batch.seeds("pgd"),
        lambda x, items: x,
        bounds=PIXELS,
        stop_early=True,
    )
    return clean(batch) & batch.withstands(attack)


@torch.no_grad()
def om_pgd(batch: Attacked) -> Tensor:
    """OM-PGD (Lin et al. 2020): PGD on w+ around the sample's own; G(w) itself has to be recognised too."""
    c, (w, _) = batch.config, batch.latent()
    attack = BallAttack(
        w, c.om_epsilon, c.om_step, c.om_steps, batch.seeds("om-pgd"), batch.rendered, stop_early=True
    )
    recognised = batch.right(lambda items: batch.logits(batch.rendered(w[items], items)))
    return recognised & batch.withstands(attack)


@torch.no_grad()
def advmix(batch: Attacked) -> Tensor:
    """Algorithm 2 of AdvMix: from random fine styles, each moved within its ball, until one is misclassified."""
    c, (w, generator) = batch.config, batch.latent()
    attack = MixAttack(
        w,
        generator.map,
        batch.rendered,
        generator.z_dim,
        batch.fine_layers,
        c.advmix_epsilon,
        c.advmix_step,
        c.advmix_steps,
        c.advmix_restarts,
        batch.seeds("advmix"),
        generator=generator,
    )
    return batch.withstands(attack)


@dataclass(frozen=True)
class AttackEntry:
    """An attack, what it is called in tables, and whether it needs w+ and the generator."""

    attack: Attack
    title: str
    latent: bool = False


ATTACKS = {
    "clean": AttackEntry(clean, "clean"),
    "pgd": AttackEntry(pixel_pgd, "PGD"),
    "om-pgd": AttackEntry(om_pgd, "OM-PGD", latent=True),
    "advmix": AttackEntry(advmix, "AdvMix, Algorithm 2", latent=True),
}
