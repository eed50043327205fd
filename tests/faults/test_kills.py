"""Real kills: the driver and a worker die by SIGKILL in mid-run; the same command ends with the same bytes."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import PIPELINE, Tiny, run_pipeline, tree_digest

ARRAYS = ("latents.zarr/**/*", "samples.parquet")
LIMIT, STEPS = 160, 15


def wait_for_records(build: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until some chunks are recorded, while the run is under way."""
    deadline = time.monotonic() + 120
    while len(list((build / ".ledger" / "invert").glob("*.json"))) < count:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of a run that nobody killed, in one process."""
    build = tmp_path_factory.mktemp("undisturbed") / "b"
    assert run_pipeline(*tiny.invert(build, limit=LIMIT, steps=STEPS)).code == 0
    return tree_digest(build, ARRAYS)


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_the_driver_dies(tmp_path: Path, tiny: Tiny, undisturbed: dict[str, str], workers: int) -> None:
    build = tmp_path / "b"
    arguments = [*PIPELINE, *tiny.invert(build, limit=LIMIT, steps=STEPS, workers=workers)]
    for done in (1, 4):  # killed twice, the second time while it goes on from the first
        with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
            wait_for_records(build, done, process)
            process.send_signal(signal.SIGKILL)
        assert (build / "samples.parquet").read_bytes() != b""
    summary = run_pipeline(*tiny.invert(build, "--json", limit=LIMIT, steps=STEPS, workers=workers)).json
    assert summary["done"] == LIMIT
    assert 0 < summary["computed"] <= LIMIT - 4 * 16
    assert tree_digest(build, ARRAYS) == undisturbed
    assert run_pipeline("verify", "--build", build).code == 0


def test_a_worker_dies(tmp_path: Path, tiny: Tiny, undisturbed: dict[str, str]) -> None:
    build = tmp_path / "b"
    arguments = [*PIPELINE, *tiny.invert(build, limit=LIMIT, steps=STEPS, workers=2)]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        wait_for_records(build, 2, process)
        workers = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
        assert workers, "no worker processes"
        os.kill(workers[-1].pid, signal.SIGKILL)
        assert process.wait(timeout=120) == 0
    assert tree_digest(build, ARRAYS) == undisturbed


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_done(tmp_path: Path, tiny: Tiny, undisturbed: dict[str, str]) -> None:
    build = tmp_path / "b"
    arguments = [*PIPELINE, *tiny.invert(build, limit=LIMIT, steps=STEPS)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        wait_for_records(build, 2, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert run_pipeline(*tiny.invert(build, limit=LIMIT, steps=STEPS)).code == 0
    assert tree_digest(build, ARRAYS) == undisturbed


def test_killed_shards_end_with_the_same_bytes(tmp_path: Path, tiny: Tiny, finished_build: Path) -> None:
    build = tmp_path / "b"
    subprocess.run(["cp", "-r", finished_build, build], check=True)
    shard = [
        "shard", "--build", build, "--variants", "randmix,mix", "--samples-per-shard", "5", "--name", "s",
        "--workers", "0",
    ]  # fmt: skip
    assert run_pipeline(*shard).code == 0
    whole = tree_digest(build / "shards" / "s")
    shutil.rmtree(build / "shards" / "s")
    shutil.rmtree(build / ".ledger" / "shard" / "s")
    with subprocess.Popen([*PIPELINE, *map(str, shard)], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(list((build / ".ledger" / "shard" / "s").glob("*.json"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (build / "shards" / "s" / "manifest.json").exists()
    assert run_pipeline("verify", "--build", build).code == 1
    assert run_pipeline(*shard).code == 0
    assert tree_digest(build / "shards" / "s") == whole
