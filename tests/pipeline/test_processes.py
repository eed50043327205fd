"""Worker processes on this machine: what keeps them from starting is told in one sentence."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.processes import local_cluster
from tests.pipeline.errands import add

LIMITED = """
import resource
from pipeline.errors import PipelineError
from pipeline.processes import local_cluster

def start(workers):
    try:
        with local_cluster(workers, ()) as cluster:
            print(cluster.call(max, 1, 2))
    except PipelineError as error:
        print(error)

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 120))
    start(1)
    start(9)
"""


def test_limits_of_open_files() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True, timeout=60)
    raised, refused = done.stdout.splitlines()
    assert raised == "2"  # open files that may be had are taken
    assert refused.startswith("9 workers need 208 open files, and `ulimit -Hn` allows 120: raise it, use fewer")


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    told = pytest.raises(PipelineError, match=r"cannot start 2 worker processes here \(.*/proc/.*\): free what")
    with told, local_cluster(2, ()):
        pass


def test_workers_that_die_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = pytest.raises(PipelineError, match=r"cannot start 1 worker processes here \(.*failed to start")
    with told, local_cluster(1, ()):
        pass


@pytest.mark.parametrize("home", [None, "/proc"], ids=["unset", "read-only"])
def test_no_home(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    with local_cluster(1, ()) as cluster:
        assert cluster.call(add, 1, 2) == 3
        assert cluster.call(os.getpid) != os.getpid()


def test_workers_that_hang_at_their_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("pipeline.processes.START_SECONDS", 1.0)
    told = pytest.raises(PipelineError, match=r"cannot start 1 worker processes here \(.*TimeoutError")
    with told, local_cluster(1, ()):
        pass
