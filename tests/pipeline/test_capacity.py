"""How much work makes a task, how many workers fit, and what is said where one image does not."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import batches, capacity, execute
from pipeline.batches import render_slots, rendered_slots_of, slots_of
from pipeline.capacity import Capacity, Estimate, Work, elapsed_hours, measured, settled_size, task_size
from pipeline.execute import Execution, worker_count
from pipeline.generators.stylegan2 import StyleGAN2
from pipeline.measure import Rates, seconds_of
from pipeline.memory import OutOfMemoryError
from pipeline.perceptual.small import SmallPerceptual
from pipeline.store import shard_samples
from tests.conftest import Tiny

CPU = torch.device("cpu")
CORE = Capacity(Rates(0.5, 0.2), 1, 2**30, 2**30, "cpu")
GPU = Capacity(Rates(0.001, 0.0005), 200, 2**30, 2**30, "cuda")


@given(seconds=st.floats(1e-4, 1e4), resolution=st.sampled_from([32, 64, 128, 256, 512, 1024]))
def test_a_task_is_about_two_minutes_and_whole_shards(seconds: float, resolution: int) -> None:
    size = task_size(seconds, CORE, resolution)
    assert size == 1 or size * seconds <= 120
    assert size == 64 or 2 * size * seconds > 120
    shard = shard_samples(size, resolution)
    assert size % shard == 0
    assert shard == 1 or shard * 3 * resolution**2 <= 2**20
    assert shard == min(size, shard_samples(64, resolution))  # the layout hardly depends on what was measured


@pytest.mark.parametrize(("resolution", "shard"), [(32, 64), (64, 64), (128, 16), (256, 4), (512, 1), (1024, 1)])
def test_shards_hold_a_mebibyte_of_pixels(resolution: int, shard: int) -> None:
    assert shard_samples(64, resolution) == shard


@given(asked=st.integers(1, 500), resolution=st.sampled_from([32, 128, 1024]))
def test_any_task_that_is_asked_for_is_whole_shards(asked: int, resolution: int) -> None:
    assert asked % shard_samples(asked, resolution) == 0
    assert shard_samples(200, 32) == 200  # few files, where somebody wants large tasks of small images
    assert shard_samples(256, 32) == 64


def test_a_gpu_takes_more_at_once_but_no_more_than_a_worker_holds() -> None:
    assert task_size(0.1, GPU, 32) == 256
    assert task_size(0.1, GPU, 1024) == 64
    assert task_size(40.0, GPU, 1024) == 2


def test_a_run_goes_on_with_the_tasks_it_was_begun_with(finished_build: Path) -> None:
    from pipeline.build import open_build

    build = open_build(finished_build)
    assert settled_size(0, build, "invert", fresh=False) == 16
    assert settled_size(0, build, "invert", fresh=True) == 0
    assert settled_size(8, build, "invert", fresh=False) == 8
    assert settled_size(0, build, "augment/other", fresh=False) == 0


@pytest.mark.parametrize(("each", "workers"), [(0, 4), (2**30, 4), (3 * 2**30, 2), (99 * 2**30, 0)])
def test_no_more_workers_are_started_than_fit(monkeypatch: pytest.MonkeyPatch, each: int, workers: int) -> None:
    monkeypatch.setattr(execute, "available_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(execute, "cpu_count", lambda: 4)
    assert worker_count(Execution(device="cpu", memory=each), 9) == workers
    assert worker_count(Execution(workers=4, device="cpu", memory=each), 9) == 4  # as asked


def test_batches_are_bounded_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network = StyleGAN2(128, {4: 8, 8: 8, 16: 8, 32: 8, 64: 8, 128: 8}, z_dim=4, w_dim=8, mapping_layers=1)
    net = SmallPerceptual((4, 4, 4))
    each = batches.image_bytes(network, net)
    monkeypatch.setattr(batches, "SLOT_PIXELS", 8 * 128**2)
    for share, expected in ((100 * each, 8), (5 * each, 4), (each // 2, 1)):
        monkeypatch.setenv("ONMANIFOLD_MEMORY", str(share))
        assert slots_of(network, net, CPU) == expected
    monkeypatch.setenv("ONMANIFOLD_MEMORY", str(5 * batches.rendered_bytes(network)))
    assert rendered_slots_of(network, CPU) == 4


def test_small_images_are_batched_as_ever(tiny: Tiny) -> None:
    assert batches.batch_slots(None, str(tiny.generator), str(tiny.perceptual), CPU) == 64
    assert batches.batch_slots(3, str(tiny.generator), str(tiny.perceptual), CPU) == 3
    assert render_slots(None, str(tiny.generator), CPU) == 64
    assert render_slots(7, str(tiny.generator), CPU) == 7


def test_what_is_measured_is_what_a_worker_would_do(tiny: Tiny) -> None:
    found = measured(str(tiny.generator), str(tiny.perceptual), "cpu", 2)
    assert found.slots == 2
    assert 0 < found.rates.render < found.rates.gradient_step
    assert found.seconds(Work(10, 1)) == pytest.approx(10 * found.rates.gradient_step + found.rates.render)
    assert found.memory > found.rendering > capacity.BASE_BYTES


def test_long_steps_are_not_repeated() -> None:
    calls: list[int] = []
    seconds_of(lambda: calls.append(sum(range(2_000_000))), CPU, 1e-3)
    assert len(calls) == 1
    seconds_of(lambda: calls.append(0), CPU)
    assert len(calls) == 5


def test_hours_of_whole_tasks() -> None:
    assert elapsed_hours(10.0, 5, 2) == 6  # three rounds of two hours
    assert elapsed_hours(10.0, 0, 2) == 5
    assert Estimate("invert", 1, 1, 1, None).elapsed is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "at most 2 of --workers fit this machine"),
        (OutOfMemoryError(), "one image with its gradient of generator"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory with a single 32x32 image"),
    ],
)
def test_what_would_fit_is_said(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    monkeypatch.setattr(capacity, "available_memory", lambda: int(2.5 * (capacity.BASE_BYTES + 2**23)))
    fits = capacity.telling_what_fits(str(tiny.generator), str(tiny.perceptual), CPU)
    with pytest.raises(OutOfMemoryError, match=words), fits:
        raise error
    with pytest.raises(RuntimeError, match="shapes"), capacity.telling_what_fits(str(tiny.generator), None, CPU):
        raise RuntimeError("shapes")
