"""Dask workers: tasks go out, and results or one sentence come back.

Nothing here waits without end: workers or a scheduler that are gone and do not come back end the run.
"""

import asyncio
import logging
import os
import platform
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from queue import Empty, Queue
from typing import Any

import click

from pipeline.build import Build
from pipeline.carrier import Failure, carrier, name_of, packed
from pipeline.errors import PipelineError
from pipeline.scheduler import find_scheduler
from pipeline.workers import SAME, Lease, Terms, difference, nothing, software, under

WAIT = "ONMANIFOLD_WAIT"  # seconds until a run ends for which no worker is there, where a user has said
WAIT_SECONDS = 45.0
CONNECT_SECONDS = 15.0
BEAT = 5.0  # seconds from one look at who is there to the next
KEPT = "what is finished is kept, and the same command goes on from there"


class Cluster:
    """Workers that tasks are given to.

    Attributes:
        run: names this run among all that use the scheduler.
        lease: of the build that workers write to, where they are not of this machine.
    """

    def __init__(self, client: Any, scheduler: str | None, wait: float, lease: Lease | None = None) -> None:
        self.client, self.scheduler, self.wait, self.lease = client, scheduler, wait, lease
        self.run = uuid.uuid4().hex
        self.terms = Terms() if scheduler is None else Terms(software(), lease)
        self.numbers = count()
        self.submitted: dict[str, Any] = {}
        self.ended: Queue[Any] = Queue()
        self.checked: set[str] = set()
        self.proofs: set[str] = set()
        self.seen = self.looked = time.monotonic()
        self.told = False

    @property
    def beat(self) -> float:
        """Seconds between two looks at who is there."""
        return min(BEAT, self.wait / 4)

    def submit(self, name: str, function: Callable[..., Any], *arguments: Any, retries: int = 0) -> str:
        """Give a task to some worker, and return its key; `result` tells when it is done."""
        future = self.client.submit(
            carrier(),
            packed(partial(under, self.terms, function, *arguments)),
            key=f"{name}-{self.run}-{next(self.numbers)}",
            pure=False,
            retries=retries,
        )
        self.submitted[future.key] = future  # Dask drops what nobody holds
        future.add_done_callback(self.ended.put)
        return str(future.key)

    def result(self) -> tuple[str, Any]:
        """Key and result of a task that is done, whichever is next.

        Raises:
            PipelineError: it failed, or nobody is left to wait for.
        """
        while True:
            if time.monotonic() - self.looked >= self.beat:
                self.look()
            try:
                future = self.ended.get(timeout=self.beat)
            except Empty:
                continue
            del self.submitted[future.key]
            try:
                proof, value = future.result()
            except Exception as error:
                raise self.failure(future.key, error) from error
            self.believe(proof)
            return future.key, value

    def listen(self, tell: Callable[..., None]) -> None:
        """Have what workers tell of this run."""
        self.client.subscribe_topic(self.run, lambda event: tell(*event[1]))

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns on some worker."""
        self.submit(function.__name__, function, *arguments)
        return self.result()[1]

    def present(self) -> list[str]:
        """Where workers listen; nothing while the scheduler does not tell.

        Raises:
            PipelineError: it has not told for too long.
        """
        try:
            found = self.client.sync(self.client.scheduler.ncores, callback_timeout=max(self.beat, 1.0))
        except Exception as error:  # Dask has many: its connection is closed, closing or timed out
            if self.client.status in ("closed", "closing") or self.patience_is_over():
                raise PipelineError(self.lost()) from error
            return []
        return sorted(found)

    def wait_for_workers(self) -> None:
        """Wait until somebody is there, and check them. Raises PipelineError if nobody comes, or cannot do it."""
        while not self.look():
            time.sleep(min(self.beat, 0.5))

    def look(self) -> int:
        """See who is there, check those who are new, and count them.

        Raises:
            PipelineError: nobody has been there for too long, or somebody cannot do the work.
        """
        present = self.present()
        self.looked = time.monotonic()
        if present:
            self.seen, self.told = time.monotonic(), False
            self.check([address for address in present if address not in self.checked])
        elif self.patience_is_over():
            raise PipelineError(self.deserted())
        elif not self.told:
            self.told = True
            click.echo(
                f"Note: no worker is there{self.where()}; waiting for one, {self.wait:.0f} s at most", err=True
            )
        return len(present)

    def patience_is_over(self) -> bool:
        """Whether nobody has been seen for too long."""
        return time.monotonic() - self.seen >= self.wait

    # --- checks -------------------------------------------------------------------------------------------

    def check(self, addresses: Sequence[str]) -> None:
        """Raise PipelineError if a worker of somebody's scheduler cannot do the work."""
        if self.scheduler is None or not addresses:
            return
        python = platform.python_version_tuple()[:2]
        problems = {}
        for address, found in self.ask(addresses, platform.python_version).items():
            if isinstance(found, BaseException):
                problems[address] = f"does not answer ({name_of(found)}): end it, or start it anew"
            elif tuple(found.split(".")[:2]) != python:
                problems[address] = (
                    f"runs Python {found} (here {platform.python_version()}): use the same there, and start it anew"
                )
        proofs = {}
        if not problems:
            asked = self.ask(addresses, carrier(), packed(partial(under, self.terms, nothing)))
            for address, found in asked.items():
                if isinstance(found, BaseException):
                    problems[address] = self.reason(found, "a check")
                else:
                    proofs[address] = found[0]
        if problems:
            present = self.present()
            problems = {address: problem for address, problem in problems.items() if address in present}
        if problems:
            address, problem = next(iter(problems.items()))
            others = f" (and {len(problems) - 1} more have such problems)" if len(problems) > 1 else ""
            raise PipelineError(f"worker {address}{others}: {problem}")
        for address, proof in proofs.items():
            self.believe(proof, address)
        self.checked.update(proofs)

    def ask(self, addresses: Sequence[str], function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """What a function returns on each worker, or the error there; one that does not answer times out."""

        async def one(address: str) -> Any:
            run = self.client.run(function, *arguments, workers=[address], on_error="return")
            return (await asyncio.wait_for(run, self.wait))[address]

        async def every() -> list[Any]:
            return await asyncio.gather(*map(one, addresses), return_exceptions=True)

        return dict(zip(addresses, self.client.sync(every), strict=True))

    def believe(self, proof: str, address: str = "") -> None:
        """Raise PipelineError if a worker that says so has not written to the build that is here."""
        if self.lease is None or proof in self.proofs:
            return
        deadline = time.monotonic() + min(self.wait, CONNECT_SECONDS)  # network file systems are late at times
        while not self.lease.has(proof):
            if time.monotonic() > deadline:
                root = self.lease.build.root
                raise PipelineError(
                    f"worker {address or 'of this scheduler'} writes to another folder that it knows as {root}: "
                    f"mount the folder of this build there"
                )
            time.sleep(0.1)
        self.proofs.add(proof)

    # --- sentences ----------------------------------------------------------------------------------------

    def where(self) -> str:
        """Part of a sentence: of which scheduler."""
        return "" if self.scheduler is None else f" at --scheduler {self.scheduler}"

    def lost(self) -> str:
        """What to tell when the scheduler is gone."""
        if self.scheduler is None:
            return f"the worker processes of this machine are gone: {KEPT}"
        return f"--scheduler {self.scheduler} is gone or answers no more: start one again; {KEPT}"

    def deserted(self) -> str:
        """What to tell when there are no workers."""
        if self.scheduler is None:
            return (
                f"the worker processes of this machine have died and none could be started again, most likely for "
                f"want of memory: use fewer --workers, or --workers 0; {KEPT}"
            )
        return (
            f"--scheduler {self.scheduler} has no workers, and none came within {self.wait:.0f} s ({WAIT} says how "
            f"long): start some with `dask worker {self.scheduler} --nthreads 1`; {KEPT}"
        )

    def failure(self, key: str, error: Exception) -> PipelineError:
        """What to tell of a task that failed."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError
        from distributed.scheduler import NoValidWorkerError

        task = key.partition(f"-{self.run}")[0]
        if isinstance(error, NoValidWorkerError):
            return PipelineError(self.deserted())
        if isinstance(error, CommClosedError):  # it was about to send the result
            return PipelineError(self.lost())
        if isinstance(error, CancelledError):
            if self.client.status != "running" or "connection-lost" in str(error):
                return PipelineError(self.lost())
            return PipelineError(f"somebody has cancelled {task}{self.where()}, or restarted its workers: {KEPT}")
        if isinstance(error, KilledWorker):
            self.look()  # whoever joined late and cannot do the work is named for it
            return PipelineError(
                f"{task} ended {error.allowed_failures + 1} workers that ran it, most likely for want of memory: "
                f"run the same command with a smaller --batch-size or fewer --workers (--dry-run tells what one "
                f"takes)"
            )
        failed = Failure.of(error)
        worker = f"worker {failed.worker}: " if failed is not None and failed.worker and self.scheduler else ""
        return PipelineError(f"{worker}{self.reason(error, task)}")

    def reason(self, error: BaseException, task: str) -> str:
        """What to tell of an error that came from a worker, or from Dask."""
        failed = Failure.of(error)
        if failed is None:
            return (
                f"Dask could not do {task}{self.where()} ({name_of(error)}): use the same versions of Python and "
                f"Dask everywhere; {KEPT}"
            )
        if failed.kind == "unknown":
            return f"it lacks onmanifold, or has another version of it ({failed.text}): {SAME}"
        if failed.kind == "mendable":
            return failed.text
        return f"{task} failed, which should not happen ({failed.text}): {failed.keep_trace()}; {KEPT}"


def wait_seconds() -> float:
    """How long to wait for workers that are not there."""
    text = os.environ.get(WAIT, "")
    try:
        seconds = float(text or WAIT_SECONDS)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise PipelineError(f"{WAIT}={text} is not a number of seconds, such as {WAIT_SECONDS:.0f}")
    return seconds


@contextmanager
def scheduler_cluster(address: str, build: Build | None = None, images: bool = True) -> Iterator[Cluster]:
    """The workers of a running scheduler; with a build, those of them that see it, and its images.

    Raises:
        PipelineError: there is no scheduler, it has no workers, or they cannot do the work.
    """
    from distributed import Client
    from distributed.utils import silence_logging_cmgr
    from distributed.versions import VersionMismatchWarning

    wait = wait_seconds()
    connect = min(wait, CONNECT_SECONDS)
    theirs = find_scheduler(address, connect)
    ours = software()
    python = ".".join(theirs["python"].split(".")[:2])
    lack = difference(
        {**ours, "Python": python, "dask": theirs["dask"], "distributed": theirs["distributed"]}, ours
    )
    if lack is not None:
        raise PipelineError(f"--scheduler {address} {lack}")
    lease = None if build is None else Lease.begin(build, images)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # it is told in one sentence
            client = Client(address, timeout=connect, set_as_default=False)
        with silence_logging_cmgr(logging.CRITICAL), client:
            cluster = Cluster(client, address, wait, lease)
            cluster.wait_for_workers()
            yield cluster
    finally:
        if lease is not None:
            lease.end()
