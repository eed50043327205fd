"""Real Dask schedulers and workers, each in a process of its own, with software as a test wants it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = "sys.modules['pipeline'] = sys.modules['stages'] = None"  # as where onmanifold is not installed
SCHEDULER = """
import asyncio, sys
{before}
from distributed import Scheduler, Worker

async def main():
    async with Scheduler(port=0, host="127.0.0.1", dashboard=False) as scheduler:
        workers = [await Worker(scheduler.address, nthreads=1, dashboard=False) for _ in range({workers})]
        {after}
        print(scheduler.address, flush=True)
        await scheduler.finished()

asyncio.run(main())
"""
WORKER = """
import asyncio, sys
{before}
from distributed import Worker

async def main():
    async with Worker("{scheduler}", nthreads=1, dashboard=False) as worker:
        print(worker.address, flush=True)
        await worker.finished()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Running:
    """A process, and the address at which it listens."""

    process: subprocess.Popen[str]
    address: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)


@contextmanager
def started(script: str, cwd: Path | None, first_on_path: Path | None) -> Iterator[Running]:
    paths = [str(path) for path in (first_on_path, ROOT) if path is not None]
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=cwd or "/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
    )
    with process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "it did not start"
            yield Running(process, address)
        finally:
            process.kill()


def scheduler_of(
    workers: int = 1, before: str = "", after: str = "", cwd: Path | None = None, first_on_path: Path | None = None
) -> AbstractContextManager[Running]:
    """A scheduler with workers in the same process; `before` is run there at first, `after` at last."""
    return started(SCHEDULER.format(before=before, after=after, workers=workers), cwd, first_on_path)


def worker_of(
    scheduler: Running, before: str = "", cwd: Path | None = None, first_on_path: Path | None = None
) -> AbstractContextManager[Running]:
    """One more worker, in a process of its own."""
    return started(WORKER.format(before=before, scheduler=scheduler.address), cwd, first_on_path)
