"""The latent attacks, watched by a generator that remembers every w+ it was shown."""

import torch
from torch import Tensor, nn

from pipeline.generators.base import Activations
from stages.evaluate.attacks import ATTACKS, Attacked
from stages.evaluate.config import EvaluateConfig

LAYERS, FINE = 4, (2, 3)
CONFIG = EvaluateConfig(
    om_epsilon=0.2, om_step=0.1, om_steps=4, advmix_epsilon=0.3, advmix_step=0.2, advmix_steps=3, advmix_restarts=3
)


class Watched:
    """Paints the mean of each w; z is mapped to itself in every layer."""

    z_dim, num_ws, c_dim = 2, LAYERS, 0

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def map(self, z: Tensor) -> Tensor:
        return z[:, None].expand(-1, LAYERS, -1)

    def activations(self, w: Tensor, layer: int) -> Activations:
        return Activations(w[:, : layer + 1].clone())

    def resume(self, reached: Activations, w: Tensor, layer: int) -> Tensor:
        return self.synthesize(torch.cat([reached.features, w[:, layer + 1 :]], dim=1))

    def synthesize(self, w: Tensor) -> Tensor:
        self.seen.append(w.detach().clone())
        return torch.tanh(w.mean(dim=2))[:, None, :, None].expand(-1, 3, -1, 1)


class Threshold(nn.Module):
    """Class 1 where the mean of the rows `rows` is above `level`."""

    def __init__(self, rows: tuple[int, ...], level: float):
        super().__init__()
        self.rows, self.level = list(rows), level

    def forward(self, x: Tensor) -> Tensor:
        score = x[:, :, self.rows].mean(dim=(1, 2, 3)) - self.level
        return torch.stack([-score, score], dim=1)


def batch(network: nn.Module, w: Tensor, watched: Watched) -> Attacked:
    images = watched.synthesize(w)
    watched.seen.clear()
    labels = torch.ones(len(w), dtype=torch.int64)
    ids = [f"s{i}" for i in range(len(w))]
    return Attacked(network, CONFIG, images, labels, ids, w, watched, FINE)  # type: ignore[arg-type]


def test_om_pgd_reaches_the_far_side_of_the_ball_and_no_further() -> None:
    w = torch.tensor([0.1, 0.19, 0.25, 0.6, -0.1])[:, None, None].expand(-1, LAYERS, 2).clone()
    watched = Watched()
    right = ATTACKS["om-pgd"].attack(batch(Threshold((0, 1, 2, 3), 0.0), w, watched))
    assert right.tolist() == [False, False, True, True, False]  # 0.25 - 0.2 is above 0; -0.1 was wrong at once
    for seen in watched.seen:
        distances = (seen[:, None] - w).abs().amax(dim=(2, 3)).amin(dim=1)
        assert distances.max() <= CONFIG.om_epsilon + 1e-6


def test_advmix_moves_the_fine_layers_alone_and_tries_every_restart() -> None:
    w = torch.randn(6, LAYERS, 2, generator=torch.Generator().manual_seed(0))
    watched = Watched()
    right = ATTACKS["advmix"].attack(batch(Threshold(FINE, -2.0), w, watched))  # cannot be fooled
    assert right.all()
    steps = CONFIG.advmix_steps + 1
    assert len(watched.seen) == CONFIG.advmix_restarts * steps
    starts = watched.seen[::steps]
    assert not torch.allclose(starts[0][:, 2], starts[1][:, 2])
    for number, seen in enumerate(watched.seen):
        assert torch.equal(seen[:, :2], w[:, :2])
        start = starts[number // steps]
        moved = (seen - start)[:, 2:].abs().max()
        assert moved <= CONFIG.advmix_epsilon + 1e-6
        if number % steps:
            assert moved > 0.1


def test_advmix_gives_up_on_whom_it_has_fooled() -> None:
    w = torch.zeros(8, LAYERS, 2)
    watched = Watched()
    right = ATTACKS["advmix"].attack(batch(Threshold(FINE, 0.0), w, watched))
    assert not right.all()  # about half of the random styles are below 0 at once
    sizes = [len(seen) for seen in watched.seen]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_who_says_nothing_finite_withstands_nothing() -> None:
    w = torch.randn(4, LAYERS, 2, generator=torch.Generator().manual_seed(0))
    for name, entry in ATTACKS.items():
        right = entry.attack(batch(Threshold(FINE, torch.nan), w, Watched()))
        assert not right.any() or name == "clean", name


def test_each_sample_is_attacked_by_itself() -> None:
    w = torch.randn(6, LAYERS, 2, generator=torch.Generator().manual_seed(1)) * 0.3
    for name in ("pgd", "om-pgd", "advmix"):
        network = Threshold((0, 1, 2, 3), -0.1)
        together = ATTACKS[name].attack(batch(network, w, Watched()))
        for i in range(6):
            alone = batch(network, w[i : i + 1], Watched())
            alone = Attacked(network, CONFIG, alone.images, alone.labels, [f"s{i}"], alone.w, alone.generator, FINE)
            assert ATTACKS[name].attack(alone).item() == together[i].item()
