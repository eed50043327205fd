"""Workers and schedulers of clusters fail and die for real while they have work: one sentence, not a wait."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest
from distributed import Client

from pipeline.cluster import Cluster, scheduler_cluster
from pipeline.errors import PipelineError
from pipeline.processes import SETTINGS, local_cluster
from tests.pipeline.dask_processes import WITHOUT, Running, scheduler_of, worker_of
from tests.pipeline.errands import add, end_the_process, fail, fail_unsendably, fill_the_disk, sleep


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait five seconds for what a user's run waits 45 seconds for."""
    monkeypatch.setenv("ONMANIFOLD_WAIT", "5")


def told_of(cluster: Cluster, function: Callable[..., None], *arguments: object, retries: int = 0) -> str:
    cluster.submit("chunk-7", function, *arguments, retries=retries)
    with pytest.raises(PipelineError) as told:
        cluster.result()
    return str(told.value)


def test_errors_on_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        scheduler_of(workers=0) as scheduler,
        worker_of(scheduler) as worker,
        scheduler_cluster(scheduler.address) as cluster,
    ):
        told = told_of(cluster, fail, "no such layer")
        assert told.startswith(
            f"worker {worker.address}: chunk-7 failed, which should not happen (ValueError: no such layer): "
            f"the traceback is in "
        )
        path = Path(told.rpartition("the traceback is in ")[2].partition(";")[0])
        assert "in fail\n    raise ValueError(text)" in path.read_text()
        assert path.parent == tmp_path
        unsendable = told_of(cluster, fail_unsendably)
        assert "chunk-7 failed, which should not happen (UnsendableError: ab)" in unsendable
        assert told_of(cluster, fill_the_disk).startswith(f"worker {worker.address}: the disk is full at /data")
        assert cluster.call(add, 1, 2) == 3  # the worker lives


def end_during(cluster: Cluster, killed: Running, seconds: float = 0.5) -> str:
    """Give a cluster a long task, kill a part of it, and return what is told."""
    cluster.call(add, 1, 2)
    Timer(seconds, killed.kill).start()
    return told_of(cluster, sleep, 60.0)


@pytest.mark.usefixtures("patience")
def test_all_workers_die(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        scheduler_of(workers=0) as scheduler,
        worker_of(scheduler) as worker,
        scheduler_cluster(scheduler.address) as cluster,
    ):
        cluster.wait = 1.0
        told = end_during(cluster, worker)
    assert told.startswith(f"--scheduler {scheduler.address} has no workers, and none came within 1 s")
    assert told.endswith("what is finished is kept, and the same command goes on from there")
    assert "Note: no worker is there" in capsys.readouterr().err


@pytest.mark.usefixtures("patience")
def test_a_worker_that_comes_instead_goes_on() -> None:
    with (
        scheduler_of(workers=0) as scheduler,
        worker_of(scheduler) as worker,
        scheduler_cluster(scheduler.address) as cluster,
    ):
        worker.freeze()
        cluster.submit("sum", add, 1, 2)
        worker.kill()
        with worker_of(scheduler):
            assert cluster.result()[1] == 3


@pytest.mark.usefixtures("patience")
def test_the_scheduler_dies() -> None:
    with (
        scheduler_of(workers=0) as scheduler,
        worker_of(scheduler),
        scheduler_cluster(scheduler.address) as cluster,
    ):
        told = end_during(cluster, scheduler)
    assert told.startswith(f"--scheduler {scheduler.address} is gone or answers no more: start one again")


@pytest.mark.usefixtures("patience")
def test_the_scheduler_freezes() -> None:
    with (
        scheduler_of(workers=0) as scheduler,
        worker_of(scheduler),
        scheduler_cluster(scheduler.address) as cluster,
    ):
        cluster.wait = 1.5
        cluster.submit("long", sleep, 60.0)
        scheduler.freeze()
        with pytest.raises(PipelineError, match="is gone or answers no more"):
            cluster.result()


def test_somebody_restarts_the_cluster() -> None:
    with (
        scheduler_of(workers=0) as scheduler,
        worker_of(scheduler),
        scheduler_cluster(scheduler.address) as cluster,
    ):
        cluster.submit("long", sleep, 60.0)
        with Client(scheduler.address, set_as_default=False) as other:
            other.restart(timeout=1, wait_for_workers=False)
        with pytest.raises(PipelineError, match="somebody has cancelled long at --scheduler tcp"):
            cluster.result()


def test_a_task_ends_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "distributed.scheduler.allowed-failures", 1)
    with local_cluster(1, ()) as cluster:
        told = told_of(cluster, end_the_process)
    assert told.startswith("chunk-7 ended 2 workers that ran it, most likely for want of memory")


@pytest.mark.usefixtures("patience")
def test_a_worker_that_joins_late_and_lacks_onmanifold() -> None:
    with (
        scheduler_of(workers=0) as scheduler,
        worker_of(scheduler),
        scheduler_cluster(scheduler.address) as cluster,
    ):
        cluster.submit("long", sleep, 60.0)
        with worker_of(scheduler, before=WITHOUT) as late, pytest.raises(PipelineError) as told:
            cluster.result()
    assert str(told.value).startswith(f"worker {late.address}: it lacks onmanifold, or has another version of it")
