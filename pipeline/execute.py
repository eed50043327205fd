"""Runs chunks: in process, on a local Dask cluster, or on any scheduler. The chunk's code is the same.

Workers write the data and then the record; the driver only counts. So whatever dies, the disk holds the truth.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar

from pipeline.build import Build
from pipeline.cluster import Cluster, scheduler_cluster
from pipeline.devices import cpu_count, use_one_thread
from pipeline.errors import PipelineError
from pipeline.ledger import Record, read_record, record_of, stage_key, write_record
from pipeline.memory import available_memory
from pipeline.processes import local_cluster
from pipeline.progress import listening
from pipeline.redo import let_go
from pipeline.stage import Chunk, Mending, Revising, Stage
from pipeline.workers import Lease, end_leases

T = TypeVar("T")

WINDOW = 3  # tasks under way for each worker: enough to keep it fed, few enough to forget


@dataclass(frozen=True)
class Execution:
    """Where chunks run.

    Attributes:
        workers: processes on this machine; 0 runs in this process, None is one for each core or GPU.
        scheduler: address of a running Dask scheduler, instead of processes here.
        retries: how often a chunk that raised is tried again on a cluster.
        memory: bytes that a worker wants; where `workers` is None, no more are started than fit.
    """

    workers: int | None = None
    scheduler: str | None = None
    device: str = "auto"
    retries: int = 2
    memory: int = 0


@dataclass(frozen=True)
class Task:
    """A chunk that is to be done, or of which some rows are to be mended or revised."""

    chunk: Chunk
    kind: Literal["run", "mend", "revise"] = "run"
    rows: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.rows) or len(self.chunk)


Tell = Callable[[int, float, str], None]  # takes a chunk's index, the share of it that is done, and a note


@dataclass(frozen=True)
class TellDriver:
    """Tells the driver of a Dask cluster how far a chunk is; a message that does not arrive is not missed."""

    topic: str
    lease: Lease | None

    def __call__(self, index: int, share: float, note: str) -> None:
        """Send a message by way of the scheduler. Raises EndedError if the run is over."""
        from distributed import get_worker

        if self.lease is not None:
            self.lease.check()

        with suppress(ValueError, RuntimeError, OSError):
            get_worker().log_event(self.topic, [index, share, note])


def run_task(stage: Stage, build: Build, task: Task, key: str, tell: Tell | None = None) -> Record:
    """Do one chunk, or revise it, and record it: data first, then the record."""
    use_one_thread()
    began, chunk, spent = time.perf_counter(), task.chunk, 0.0
    inputs = stage.inputs(build, chunk)
    if tell is not None:
        tell(chunk.index, 0.0, "")
    with listening(None if tell is None else partial(tell, chunk.index)):
        if task.kind == "run":
            result = stage.run(build, chunk)
        else:
            before = read_record(build, stage.name, chunk.index)
            spent = 0.0 if before is None else before["seconds"]
            if task.kind == "mend":
                assert isinstance(stage, Mending)
                result = stage.mend(build, chunk, task.rows)
            else:
                assert isinstance(stage, Revising)
                result = stage.revise(build, chunk, task.rows)
    if tell is not None:
        tell(chunk.index, 1.0, "")
    record = record_of(stage, chunk, key, inputs, result, spent + time.perf_counter() - began)
    write_record(build, record)
    if task.kind == "mend":
        let_go(build, stage.name, chunk.index)
    return record


def run_elsewhere(stage: Stage, build: Build, task: Task, key: str, tell: Tell) -> Record:
    """Do one chunk on a worker, if the weights that go by the stage's names there are the driver's.

    Raises:
        PipelineError: they are others.
    """
    if stage_key(stage, build) != key:
        raise PipelineError(
            f"{stage.name} would be done with other weights there than on the driver's machine: use the same "
            f"manifests and weights (ONMANIFOLD_WEIGHTS) on all machines"
        )
    return run_task(stage, build, task, key, tell)


def execute(
    stage: Stage,
    build: Build,
    passes: Iterable[Sequence[Task]],
    key: str,
    execution: Execution,
    on_done: Callable[[Task], None],
    tell: Tell,
) -> None:
    """Run tasks, one pass after the other, and say of each when it is done, in any order.

    Args:
        passes: the tasks; a pass is asked for when the one before it is done.
        tell: is told how far tasks under way are, from any thread.
    """
    end_leases(build)
    with ExitStack() as stack:
        cluster = None
        for tasks in filter(None, passes):
            workers = worker_count(execution, len(tasks))
            if cluster is None and execution.scheduler is None and workers == 0:
                for task in tasks:
                    run_task(stage, build, task, key, tell)
                    on_done(task)
                continue
            if cluster is None:
                cluster = stack.enter_context(connect(execution, workers, build, stage.reads_images))
                cluster.listen(tell)
            teller = TellDriver(cluster.run, cluster.lease)
            for task in map_bounded(cluster, stage, build, tasks, key, teller, execution.retries):
                on_done(task)


def worker_count(execution: Execution, tasks: int) -> int:
    """Processes to start: as asked, or one for each GPU or core that fit; never more than there are chunks."""
    if execution.workers is not None:
        return min(execution.workers, tasks)
    count = len(gpu_indices(execution.device)) or cpu_count()
    if execution.memory:
        count = min(count, max(1, available_memory() // execution.memory))
    return 0 if min(count, tasks) <= 1 else min(count, tasks)


def workers_at_work(execution: Execution, tasks: int) -> int:
    """How many workers would run so many tasks, this process among them."""
    if execution.scheduler is None:
        return max(1, worker_count(execution, tasks))
    with connect(execution) as cluster:
        return min(len(cluster.present()), max(1, tasks))


def on_a_worker(execution: Execution, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function where chunks are computed: on some worker of the scheduler, or here."""
    if execution.scheduler is None:
        return function(*arguments)
    with connect(execution) as cluster:
        result: T = cluster.call(function, *arguments)
        return result


def gpu_indices(device: str) -> list[str]:
    """The GPUs that workers are spread over; none when computing on CPUs."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def map_bounded(
    cluster: Cluster, stage: Stage, build: Build, tasks: Sequence[Task], key: str, tell: Tell, retries: int
) -> Iterator[Task]:
    """Yield tasks as they are done, with a bounded number of them submitted."""
    waiting = iter(tasks)
    submitted: dict[str, Task] = {}

    def submit(count: int) -> None:
        for task in islice(waiting, count):
            name = f"{stage.name}-{task.chunk.index}-{task.kind}"
            submitted[cluster.submit(name, run_elsewhere, stage, build, task, key, tell, retries=retries)] = task

    submit(WINDOW * max(1, len(cluster.present())))
    while submitted:
        done, _ = cluster.result()
        yield submitted.pop(done)
        submit(1)


def connect(
    execution: Execution, workers: int = 0, build: Build | None = None, images: bool = False
) -> AbstractContextManager[Cluster]:
    """The workers of the given scheduler, or `workers` processes started here.

    Args:
        build: that they shall see.

    Raises:
        PipelineError: there are none, or they cannot do the work.
    """
    if execution.scheduler is not None:
        return scheduler_cluster(execution.scheduler, build, images)
    return local_cluster(workers, gpu_indices(execution.device))
