"""Worker processes on this machine."""

import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.carrier import name_of
from pipeline.cluster import Cluster, wait_seconds
from pipeline.errors import PipelineError
from pipeline.memory import SHARE, available_memory

THREAD_VARIABLES = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SETTINGS = {
    "distributed.scheduler.allowed-failures": 3,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.daemon": True,
}
START_SECONDS = 50.0
FILES, FILES_EACH = 64, 16  # that a driver has open, and for each process


@contextmanager
def local_cluster(workers: int, gpus: Sequence[str]) -> Iterator[Cluster]:
    """Processes on this machine, one thread each, and one GPU each where there are any.

    Raises:
        PipelineError: they cannot be started.
    """
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster  # before settings: its own would go with them

    allow_open_files(workers)
    source = str(Path(__file__).resolve().parent.parent)
    environment = {**THREAD_VARIABLES, SHARE: str(available_memory() // workers)}
    environment["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    specs = {}
    for i in range(workers):
        env = {**environment, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else environment
        options = {
            "nthreads": 1,
            "memory_limit": 0,
            "death_timeout": START_SECONDS,
            "env": env,
            "silence_logs": 50,
            "dashboard_address": None,
        }
        specs[i] = {"cls": Nanny, "options": options}
    scheduler = {
        "cls": Scheduler,
        "options": {"dashboard": False, "dashboard_address": ":0", "host": "127.0.0.1"},
    }
    with dask.config.set(SETTINGS):
        try:
            cluster = SpecCluster(workers=specs, scheduler=scheduler, silence_logs=50)
        except Exception as error:  # Dask has a RuntimeError for most of what may be wrong
            raise PipelineError(
                f"cannot start {workers} worker processes here ({name_of(first_cause(error))}): free what they "
                f"lack, use fewer --workers, or --workers 0, which needs none"
            ) from error
        with cluster, Client(cluster, set_as_default=False) as client:
            yield Cluster(client, None, wait_seconds())


def allow_open_files(workers: int) -> None:
    """Raise the limit of open files to what so many processes want. Raises PipelineError if that is forbidden."""
    wanted = FILES + FILES_EACH * workers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise PipelineError(
            f"{workers} workers need {wanted} open files, and `ulimit -Hn` allows {hard}: raise it, use fewer "
            f"--workers, or --workers 0, which needs none"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def first_cause(error: Exception) -> Exception:
    """What an error goes back to."""
    while isinstance(cause := error.__cause__ or error.__context__, Exception):
        error = cause
    return error
