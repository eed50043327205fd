"""A real kill: a worker of a local cluster dies by SIGKILL in mid-run; the run ends with the same bytes."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.conftest import Tiny, differing, run_pipeline, tree_digest
from tests.faults.killing import ARRAYS, LIMIT, STEPS, wait_for_records


def test_a_worker_dies(tmp_path: Path, tiny: Tiny, undisturbed: dict[str, str]) -> None:
    build = tmp_path / "b"

    def kill_one() -> None:
        wait_for_records(build, 2)
        workers = [
            child.pid
            for child in psutil.Process().children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
        assert workers, "no worker processes"
        os.kill(workers[-1], signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_one)
        done = run_pipeline(*tiny.invert(build, limit=LIMIT, steps=STEPS, workers=2))
    killing.result()
    assert done.code == 0, done.err
    assert differing(tree_digest(build, ARRAYS), undisturbed) == []
