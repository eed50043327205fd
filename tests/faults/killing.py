"""Parts of the tests that kill: how long a run is, and what waits for the middle of it."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.conftest import PIPELINE

ARRAYS = ("latents.zarr/**/*", "samples.parquet")
LIMIT, STEPS = 208, 16  # 13 chunks


def wait_for_records(
    build: Path, count: int, process: subprocess.Popen[Any] | None = None, stage: str = "invert"
) -> None:
    """Wait until some chunks are recorded; fail where the process that makes them ends before that."""
    deadline = time.monotonic() + 120
    while len(list((build / ".ledger" / stage).glob("*.json"))) < count:
        assert process is None or process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_in_mid_run(arguments: list[str], build: Path, count: int, stage: str = "invert") -> None:
    """Run a command in a process of its own, and kill it once some chunks are recorded."""
    with subprocess.Popen([*PIPELINE, *arguments], stderr=subprocess.DEVNULL) as process:
        wait_for_records(build, count, process, stage)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
