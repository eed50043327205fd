"""Whole runs on somebody's scheduler that a user or a death stops: what is done is kept, and they go on."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from distributed import Client

from pipeline.build import open_build
from pipeline.cluster import scheduler_cluster
from pipeline.workers import leases
from tests.conftest import Finished, Tiny, run_pipeline
from tests.faults.killing import STEPS, wait_for_records
from tests.pipeline.dask_processes import Running, scheduler_of, worker_of
from tests.pipeline.errands import add

LIMIT = 112  # 7 chunks

# what the tiny generator's inversions begin with has been measured when there is a finished build
pytestmark = pytest.mark.usefixtures("finished_build")


def stopped(tiny: Tiny, build: Path, scheduler: Running, stop: Callable[[], None]) -> Finished:
    """A run that something happens to once a chunk is recorded."""

    def wait_and_stop() -> None:
        wait_for_records(build, 1)
        stop()

    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(wait_and_stop)
        arguments = tiny.invert(build, limit=LIMIT, steps=STEPS)[:-2]
        done = run_pipeline(*arguments, "--scheduler", scheduler.address)
    stopping.result()
    return done


def tasks_of(scheduler: Running) -> int:
    with Client(scheduler.address, set_as_default=False) as client:
        count: int = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        return count


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, which a shell keeps from what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_what_was_submitted(tmp_path: Path, tiny: Tiny) -> None:
    build = tmp_path / "b"
    with scheduler_of(workers=0) as scheduler, worker_of(scheduler):
        done = stopped(tiny, build, scheduler, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert done.code == 130
        assert "Interrupted; what was finished is kept" in done.err
        assert not leases(open_build(build)).exists()
        deadline = time.monotonic() + 60
        while tasks_of(scheduler):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        records = len(list((build / ".ledger" / "invert").iterdir()))
        assert 0 < records < LIMIT // 16
        arguments = tiny.invert(build, limit=LIMIT, steps=STEPS)[:-2]
        again = run_pipeline(*arguments, "--json", "--scheduler", scheduler.address)
    assert again.json["computed"] == LIMIT - 16 * records


def test_the_scheduler_dies_in_mid_run(tmp_path: Path, tiny: Tiny) -> None:
    build = tmp_path / "b"
    with scheduler_of(workers=0) as scheduler, worker_of(scheduler):
        done = stopped(tiny, build, scheduler, scheduler.kill)
    assert done.code == 2
    assert [line for line in done.err.splitlines() if not line.startswith("invert: ")] == [
        f"Error: --scheduler {scheduler.address} is gone or answers no more: start one again; what is "
        f"finished is kept, and the same command goes on from there"
    ]
    again = run_pipeline(*tiny.invert(build, "--json", limit=LIMIT, steps=STEPS))
    assert 0 < again.json["computed"] < LIMIT
    assert run_pipeline("verify", "--build", build).code == 0


def test_two_runs_on_one_scheduler_do_not_get_each_other_s_results() -> None:
    with (
        scheduler_of(workers=0) as scheduler,
        worker_of(scheduler),
        scheduler_cluster(scheduler.address) as one,
        scheduler_cluster(scheduler.address) as other,
    ):
        for cluster, number in ((one, 1), (other, 2)):
            cluster.submit("invert-3", add, number, number)
        assert (one.result()[1], other.result()[1]) == (2, 4)
