"""The same chunks on no cluster, a local one and somebody's scheduler: the same bytes."""

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Tiny, differing, run_pipeline, tree_digest

ARRAYS = ("latents.zarr/**/*", "samples.parquet", "variants/**/*", "shards/*/wds/*.tar", "shards/*/parquet/*")


def go_the_whole_way(tiny: Tiny, build: Path, *where: str) -> dict[str, str]:
    """Invert, mix and shard; return the digests of all data."""
    for arguments in tiny.whole_way(build):
        done = run_pipeline(*arguments, *where)
        assert done.code == 0, done.err
    records = [json.loads(path.read_text()) for path in (build / ".ledger").rglob("[0-9]*.json") if path.is_file()]
    assert len(records) > 20
    assert not any(record["worker"].endswith(f":{os.getpid()}") for record in records)
    return tree_digest(build, ARRAYS)


@pytest.mark.slow  # eight processes; tests/faults/test_killed_worker.py inverts with two workers
def test_workers_do_not_change_a_byte(tmp_path: Path, tiny: Tiny, finished_build: Path) -> None:
    found = go_the_whole_way(tiny, tmp_path / "b", "--workers", "2")
    assert differing(found, tree_digest(finished_build, ARRAYS)) == []


def test_any_scheduler_will_do(tmp_path: Path, tiny: Tiny, finished_build: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = go_the_whole_way(tiny, tmp_path / "b", "--scheduler", cluster.scheduler_address)
    assert differing(found, tree_digest(finished_build, ARRAYS)) == []


@pytest.mark.parametrize(("tasks", "asked", "expected"), [(1, None, 0), (9, 4, 4), (2, 4, 2), (9, 0, 0)])
def test_no_more_workers_than_chunks(tasks: int, asked: int | None, expected: int) -> None:
    from pipeline.execute import Execution, worker_count

    assert worker_count(Execution(workers=asked, device="cpu"), tasks) == expected
