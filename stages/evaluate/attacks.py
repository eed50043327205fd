"""What a classifier is measured by: which images it still gets right, as they are and under each attack."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.classifiers.attacks import ascend, into_ball, pgd, uniform_like
from pipeline.generators import Generator
from pipeline.seeds import normal_rows, seed_of
from stages.evaluate.config import EvaluateConfig

SEED = 0  # of the attacks: every classifier is attacked from the same starts


@dataclass(frozen=True)
class Attacked:
    """A batch of test samples, and who has to recognise them.

    Attributes:
        images: [B, 3, H, W] in [-1, 1].
        w: w+ [B, num_ws, w_dim] behind them, for attacks in the latent space.
        generator: renders w; with it, `fine_layers` that do not carry the label.
    """

    network: nn.Module
    config: EvaluateConfig
    images: Tensor
    labels: Tensor
    ids: list[str]
    w: Tensor | None = None
    generator: Generator | None = None
    fine_layers: tuple[int, ...] = ()

    def seeds(self, *purpose: str | int) -> list[int]:
        """One seed for each sample."""
        return [seed_of(SEED, "evaluate", *purpose, sample) for sample in self.ids]

    def latent(self) -> tuple[Tensor, Generator]:
        """W+ and generator of an attack that needs them."""
        assert self.w is not None
        assert self.generator is not None
        return self.w, self.generator

    def logits(self, w: Tensor) -> Tensor:
        """What the network says of the images that w+ renders as."""
        answer: Tensor = self.network(self.latent()[1].synthesize(w).clamp(-1, 1))
        return answer

    def right(self, logits: Tensor) -> Tensor:
        """Which samples are recognised [B]."""
        return logits.argmax(dim=1) == self.labels


# Which samples of a batch are recognised under an attack [B].
Attack = Callable[[Attacked], Tensor]


@torch.no_grad()
def clean(batch: Attacked) -> Tensor:
    """The images as they are."""
    return batch.right(batch.network(batch.images))


@torch.no_grad()
def pixel_pgd(batch: Attacked) -> Tensor:
    """PGD on the pixels, from a random place in the ball; a sample that is not recognised anyway is lost."""
    c = batch.config
    images = pgd(
        batch.network, batch.images, batch.labels, c.pgd_epsilon, c.pgd_step, c.pgd_steps, batch.seeds("pgd")
    )
    return clean(batch) & batch.right(batch.network(images))


@torch.no_grad()
def om_pgd(batch: Attacked) -> Tensor:
    """OM-PGD (Lin et al. 2020): PGD on w+ around the sample's own; G(w) itself has to be recognised too."""
    c, (w, _) = batch.config, batch.latent()
    start = w + c.om_epsilon * uniform_like(w, batch.seeds("om-pgd"))
    _, fooled = ascend(
        lambda points, rows: batch.logits(points),
        start,
        batch.labels,
        lambda points, rows: into_ball(points, w[rows], c.om_epsilon),
        c.om_step,
        c.om_steps,
    )
    return batch.right(batch.logits(w)) & ~fooled


@torch.no_grad()
def advmix(batch: Attacked) -> Tensor:
    """Algorithm 2 of AdvMix: from random fine styles, each moved within its ball, until one is misclassified."""
    c, (w, generator) = batch.config, batch.latent()
    fine = torch.zeros(w.shape[1], 1, dtype=torch.bool, device=w.device)
    fine[list(batch.fine_layers)] = True
    left = torch.arange(len(w), device=w.device)
    for restart in range(c.advmix_restarts):
        seeds = [batch.seeds("advmix", restart)[i] for i in left.tolist()]
        style = generator.map(normal_rows((generator.z_dim,), seeds).to(w.device))
        start = torch.where(fine, style, w[left])

        def project(points: Tensor, rows: Tensor, start: Tensor = start) -> Tensor:
            near = into_ball(points, start[rows], c.advmix_epsilon)
            return torch.where(fine, near, start[rows])

        _, fooled = ascend(
            lambda points, rows: batch.logits(points),
            start,
            batch.labels[left],
            project,
            c.advmix_step,
            c.advmix_steps,
        )
        left = left[~fooled]
        if len(left) == 0:
            break
    return torch.isin(torch.arange(len(w), device=w.device), left)


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
