"""The solver: each sample reaches its own minimum, whoever its neighbours are."""

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline import progress
from pipeline.generators import open_generator
from pipeline.memory import OutOfMemoryError
from pipeline.slots import SlotOptimizer, Solution, solve
from stages.invert.config import InvertConfig
from stages.invert.latents import make_latents
from stages.invert.optimizers import Adam, Lbfgs
from stages.invert.preconditioner import PROBES, Preconditioner, joined, make_preconditioner, probe

LAYERS, DIM = 2, 5
PLAIN = Preconditioner(torch.eye(DIM).expand(LAYERS, DIM, DIM).contiguous())


@dataclass
class Valleys:
    """Sample i has its minimum at centres[i], in a valley that is `stretch` times longer than wide."""

    centres: Tensor
    stretch: float = 30.0
    poison: tuple[int, ...] = ()
    memory: int = 10**6  # slots beyond which memory is short
    short: Exception = field(default_factory=torch.OutOfMemoryError)
    held: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    largest: int = 0

    def resize(self, slots: int) -> None:
        self.held = torch.zeros(slots, dtype=torch.int64)

    def enter(self, slots: Tensor, samples: Tensor) -> Tensor:
        self.held[slots] = samples
        return torch.zeros(len(slots), LAYERS, DIM)

    def keep(self, slots: Tensor) -> None:
        self.held = self.held[slots]

    def loss(self, w: Tensor, steps: Tensor) -> Tensor:
        if len(w) > self.memory:
            raise self.short
        self.largest = max(self.largest, len(w))
        scales = torch.logspace(0, torch.log10(torch.tensor(self.stretch)), LAYERS * DIM).reshape(LAYERS, DIM)
        loss = (scales * (w - self.centres[self.held])).square().sum(dim=(1, 2))
        poisoned = torch.isin(self.held, torch.tensor(self.poison, dtype=torch.int64))
        return loss * torch.where(poisoned & (steps > 2), torch.nan, 1.0)


def centres(count: int) -> Tensor:
    return torch.randn(count, LAYERS, DIM, generator=torch.Generator().manual_seed(count))


def lbfgs(slots: int) -> SlotOptimizer:
    return Lbfgs(slots, PLAIN, 60, 0.0)


def adam(slots: int) -> SlotOptimizer:
    return Adam(slots, PLAIN, 200, 0.1)


def run(problem: Valleys, slots: int, optimizer: object = lbfgs) -> Solution:
    return solve(problem, len(problem.centres), slots, (LAYERS, DIM), optimizer)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", [lbfgs, adam])
def test_every_sample_reaches_its_minimum(optimizer: object) -> None:
    problem = Valleys(centres(11))
    found = run(problem, 4, optimizer)
    torch.testing.assert_close(found.w, problem.centres, atol=0.02, rtol=0)


@settings(max_examples=6)
@given(count=st.integers(1, 12), slots=st.integers(1, 5), sample=st.integers(0, 11))
def test_a_result_does_not_depend_on_the_neighbours(count: int, slots: int, sample: int) -> None:
    sample %= count
    together = run(Valleys(centres(count)), slots)
    alone = run(Valleys(centres(count)[sample : sample + 1]), 1)
    torch.testing.assert_close(together.w[sample], alone.w[0], atol=1e-4, rtol=0)


def test_a_sample_that_diverges_harms_no_other() -> None:
    fine, beside = run(Valleys(centres(7)), 3), run(Valleys(centres(7), poison=(2, 5)), 3)
    others = [0, 1, 3, 4, 6]
    torch.testing.assert_close(fine.w[others], beside.w[others], atol=1e-5, rtol=0)
    # L-BFGS falls back on the last point that was finite; Adam has no such point.
    assert torch.isfinite(beside.w).all()
    assert not torch.isfinite(run(Valleys(centres(7), poison=(2,)), 3, adam).w[2]).any()


def test_easy_samples_leave_early_and_make_room() -> None:
    start_at_minimum = centres(9)
    start_at_minimum[::2] = 0
    problem = Valleys(start_at_minimum)
    found = solve(problem, 9, 3, (LAYERS, DIM), lambda slots: Lbfgs(slots, PLAIN, 60, 0.02))
    assert problem.largest == 3
    assert found.steps[::2].max() < found.steps[1::2].min()


@pytest.mark.parametrize(
    "short", [torch.OutOfMemoryError(), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_short_of_memory_the_batch_is_halved(short: Exception) -> None:
    problem = Valleys(centres(9), memory=2, short=short)
    found = run(problem, 8)
    assert problem.largest == 2
    torch.testing.assert_close(found.w, problem.centres, atol=0.02, rtol=0)
    with pytest.raises(OutOfMemoryError):
        run(Valleys(centres(3), memory=0, short=short), 8)


def test_steps_are_reported_while_they_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REPORT_INTERVAL", 0.0)
    told: list[float] = []
    with progress.listening(lambda share, note: told.append(share)):
        solve(Valleys(centres(3)), 3, 2, (LAYERS, DIM), lbfgs, most_steps=60)
    assert told == sorted(told)
    assert told[0] == pytest.approx(2 / 60 / 3)
    assert told[-1] == 1


def test_the_loss_of_lbfgs_never_rises() -> None:
    problem, state = Valleys(centres(4)), Lbfgs(4, PLAIN, 40, 0.0)
    problem.resize(4)
    state.enter(torch.arange(4), problem.enter(torch.arange(4), torch.arange(4)))
    last = torch.full((4,), torch.inf)
    for step in range(40):
        w = state.propose().requires_grad_(True)
        loss = problem.loss(w, torch.full((4,), step))
        state.observe(loss.detach(), *torch.autograd.grad(loss.sum(), w))
        assert (state.loss <= last).all()
        last = state.loss


@pytest.mark.parametrize("name", ["color-digits", "color-digits-stylegan1"])
@pytest.mark.parametrize(("space", "codes"), [("w+", 1), ("w", 1), ("w+", 2)])
def test_preconditioned_coordinates_are_well_conditioned(name: str, space: str, codes: int) -> None:
    loaded = open_generator(name)
    latents, cpu = make_latents(InvertConfig(space=space, codes=codes), loaded), torch.device("cpu")
    probes = probe(loaded.network, latents, range(PROBES), 16, cpu)
    assert len(probes.styles) >= loaded.network.num_ws
    basis = make_preconditioner(loaded.network, latents, probes)
    rows, dim, _ = basis.basis.shape
    assert rows == latents.rows == len(latents.layers)
    plain = Preconditioner(torch.eye(dim).expand(rows, dim, dim).contiguous())
    gradient = probe(loaded.network, latents, range(1000, 1128), 64, cpu).theta  # of images it has not seen

    def even(change: Preconditioner, row: int) -> float:
        """How many coordinates of a row matter: the participation ratio of the gradients' spectrum."""
        u = change.to_u(gradient).reshape(128, rows, dim)[:, row]
        values = torch.linalg.eigvalsh(u.T @ u)
        return float(values.sum() ** 2 / values.square().sum())

    before, after = (sum(even(change, row) for row in range(rows)) for change in (plain, basis))
    assert after > 1.3 * before
    u, g = torch.randn(3, rows * dim), torch.randn(3, rows, dim)
    adjoint = (basis.to_theta(u) * g).sum(), (u * basis.to_u(g)).sum()
    torch.testing.assert_close(*adjoint, rtol=1e-3, atol=1e-3)


def test_a_probe_depends_on_its_number_alone() -> None:
    loaded, cpu = open_generator("color-digits"), torch.device("cpu")
    latents = make_latents(InvertConfig(), loaded)
    together = probe(loaded.network, latents, range(6), 4, cpu).tensors()
    apart = joined(
        [probe(loaded.network, latents, numbers, 1, cpu).tensors() for numbers in (range(2), range(2, 6))]
    )
    for name, gradient in apart.tensors().items():
        torch.testing.assert_close(together[name], gradient, rtol=1e-3, atol=1e-5)


def test_a_family_without_style_maps_gets_coordinates_too(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = open_generator("color-digits")
    monkeypatch.setattr(type(loaded.network), "styles", lambda network, index: [])
    latents = make_latents(InvertConfig(), loaded)
    probes = probe(loaded.network, latents, range(8), 8, torch.device("cpu"))
    assert not probes.styles
    assert make_preconditioner(loaded.network, latents, probes).basis.isfinite().all()
