"""Runs chunks: in process, on a local Dask cluster, or on any scheduler. The chunk's code is the same.

Workers write the data and then the record; the driver only counts. So whatever dies, the disk holds the truth.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipeline.build import Build, now
from pipeline.devices import cpu_count, use_one_thread
from pipeline.errors import PipelineError
from pipeline.ledger import Record, read_record, write_record
from pipeline.memory import SHARE, available_memory
from pipeline.progress import listening
from pipeline.stage import Chunk, Mending, Revising, Stage

T = TypeVar("T")

WINDOW = 3  # tasks under way for each worker: enough to keep it fed, few enough to forget
THREAD_VARIABLES = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


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

    def __call__(self, index: int, share: float, note: str) -> None:
        """Send a message by way of the scheduler."""
        from distributed import get_worker

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
    record: Record = {
        "stage": stage.name,
        "chunk": chunk.index,
        "start": chunk.start,
        "stop": chunk.stop,
        "key": key,
        "inputs": inputs,
        "outputs": result.outputs,
        "failures": {str(row): reason for row, reason in sorted(result.failures.items())},
        "details": result.details,
        "seconds": round(spent + time.perf_counter() - began, 3),
        "finished": now(),
        "worker": f"{platform.node()}:{os.getpid()}",
    }
    write_record(build, record)
    return record


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
    with ExitStack() as stack:
        client = None
        for tasks in filter(None, passes):
            workers = worker_count(execution, len(tasks))
            if client is None and execution.scheduler is None and workers == 0:
                for task in tasks:
                    run_task(stage, build, task, key, tell)
                    on_done(task)
                continue
            if client is None:
                client = stack.enter_context(connect(execution, workers))
            topic = f"onmanifold {build.root} {stage.name}"
            client.subscribe_topic(topic, lambda event: tell(*event[1]))
            for task in map_bounded(client, stage, build, tasks, key, execution.retries, TellDriver(topic)):
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
    with connect(execution, 0) as client:
        return min(len(client.scheduler_info()["workers"]), max(1, tasks))


def on_a_worker(execution: Execution, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function where chunks are computed: on some worker of the scheduler, or here."""
    if execution.scheduler is None:
        return function(*arguments)
    with connect(execution, 0) as client:
        result: T = client.submit(function, *arguments, pure=False).result()
        return result


def gpu_indices(device: str) -> list[str]:
    """The GPUs that workers are spread over; none when computing on CPUs."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def map_bounded(
    client: Any, stage: Stage, build: Build, tasks: Sequence[Task], key: str, retries: int, tell: Tell
) -> Iterator[Task]:
    """Yield tasks as they are done, with a bounded number of them submitted."""
    from distributed import KilledWorker, as_completed

    waiting = iter(tasks)
    submitted = {}

    def submit(task: Task) -> Any:
        future = client.submit(
            run_task,
            stage,
            build,
            task,
            key,
            tell,
            pure=False,
            retries=retries,
            key=f"{stage.name}-{task.chunk.index}-{task.kind}",
        )
        submitted[future.key] = task
        return future

    width = WINDOW * max(1, len(client.scheduler_info()["workers"]))
    running = as_completed([submit(task) for _, task in zip(range(width), waiting, strict=False)])
    for future in running:
        try:
            future.result()
        except KilledWorker as error:
            raise PipelineError(
                f"{future.key} ended {error.allowed_failures + 1} workers that ran it, most likely for want of "
                f"memory: run the same command with a smaller --batch-size or fewer --workers (--dry-run tells "
                f"what one takes)"
            ) from error
        yield submitted.pop(future.key)
        future.release()
        for task in waiting:
            running.add(submit(task))
            break


@contextmanager
def connect(execution: Execution, workers: int) -> Iterator[Any]:
    """A Dask client: of the given scheduler, or of `workers` processes started here.

    Raises:
        PipelineError: the scheduler cannot be reached or has no workers.
    """
    import dask
    from distributed import Client

    settings = {
        "distributed.scheduler.allowed-failures": 3,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.no-workers-timeout": "60s",
        "distributed.worker.daemon": True,
        "distributed.admin.large-graph-warning-threshold": "100MB",
    }
    with dask.config.set(settings):
        if execution.scheduler is not None:
            try:
                client = Client(execution.scheduler, timeout="15s")
            except (OSError, ValueError, TimeoutError) as error:
                raise PipelineError(
                    f"--scheduler {execution.scheduler}: no Dask scheduler answers there ({error}); "
                    f"start one with `dask scheduler`, and workers with `dask worker ADDRESS`"
                ) from error
            with client:
                if not client.scheduler_info()["workers"]:
                    raise PipelineError(
                        f"--scheduler {execution.scheduler} has no workers: start some with "
                        f"`dask worker {execution.scheduler} --nthreads 1`"
                    )
                yield client
            return
        with local_cluster(workers, execution.device) as cluster, Client(cluster) as client:
            yield client


@contextmanager
def local_cluster(workers: int, device: str) -> Iterator[Any]:
    """Processes on this machine, one thread each, and one GPU each where there are any."""
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = gpu_indices(device)
    source = str(Path(__file__).resolve().parent.parent)
    environment = {**THREAD_VARIABLES, SHARE: str(available_memory() // workers)}
    environment["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    specs = {}
    for i in range(workers):
        env = {**environment, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else environment
        options = {
            "nthreads": 1,
            "memory_limit": 0,
            "env": env,
            "silence_logs": 50,
            "dashboard_address": None,
        }
        specs[i] = {"cls": Nanny, "options": options}
    scheduler = {
        "cls": Scheduler,
        "options": {"dashboard": False, "dashboard_address": ":0", "host": "127.0.0.1"},
    }
    with SpecCluster(workers=specs, scheduler=scheduler, silence_logs=50) as cluster:
        yield cluster
