"""Real kills: the driver dies by SIGKILL in mid-run; the same command ends with the same bytes."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from pipeline.classifiers.manifest import write_classifier
from pipeline.classifiers.vgg5 import TruncatedVGG
from tests.conftest import PIPELINE, Tiny, differing, run_pipeline, tree_digest
from tests.faults.killing import ARRAYS, LIMIT, STEPS, kill_in_mid_run, wait_for_records


@pytest.mark.parametrize(
    ("workers", "kills"),
    [pytest.param(0, (1, 4), marks=pytest.mark.slow), (2, (2,))],  # (1, 4): again while it goes on from the first
)
def test_the_driver_dies(
    tmp_path: Path, tiny: Tiny, undisturbed: dict[str, str], workers: int, kills: tuple[int, ...]
) -> None:
    build = tmp_path / "b"
    for done in kills:
        kill_in_mid_run(tiny.invert(build, limit=LIMIT, steps=STEPS, workers=workers), build, done)
        assert (build / "samples.parquet").read_bytes() != b""
    summary = run_pipeline(*tiny.invert(build, "--json", limit=LIMIT, steps=STEPS)).json
    assert summary["done"] == LIMIT
    assert 0 < summary["computed"] <= LIMIT - kills[-1] * 16
    assert differing(tree_digest(build, ARRAYS), undisturbed) == []
    assert run_pipeline("verify", "--build", build).code == 0


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
    assert differing(tree_digest(build, ARRAYS), undisturbed) == []


def made_then_killed(arguments: list[str], build: Path, output: str, count: int, stage: str) -> dict[str, str]:
    """Digests of what a command makes; then it is deleted, and made again by a run that is killed."""
    assert run_pipeline(*arguments).code == 0
    whole = tree_digest(build / output)
    shutil.rmtree(build / output)
    shutil.rmtree(build / ".ledger" / stage)
    kill_in_mid_run(arguments, build, count, stage)
    return whole


def test_killed_attacks_end_with_the_same_bytes(tmp_path: Path, finished_build: Path) -> None:
    build, classifier = tmp_path / "b", tmp_path / "c.toml"
    subprocess.run(["cp", "-r", finished_build, build], check=True)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = TruncatedVGG(10, width=4)
    write_classifier(tmp_path, "c", network, architecture="vgg5", num_classes=10, resolution=32, width=4)
    augment = [
        "augment", "--build", str(build), "--mode", "advmix", "--classifier", str(classifier), "--limit", "48",
        "--variants", "2", "--chunk-size", "4", "--workers", "0",
    ]  # fmt: skip
    whole = made_then_killed(augment, build, "variants/advmix.zarr", 3, "augment/advmix")
    assert differing(tree_digest(build / "variants" / "advmix.zarr"), whole) != []
    assert run_pipeline(*augment[:-1], "2").code == 0  # on two workers
    assert differing(tree_digest(build / "variants" / "advmix.zarr"), whole) == []


def test_killed_shards_end_with_the_same_bytes(tmp_path: Path, tiny: Tiny, finished_build: Path) -> None:
    build = tmp_path / "b"
    subprocess.run(["cp", "-r", finished_build, build], check=True)
    shard = [
        "shard", "--build", str(build), "--variants", "randmix,mix", "--samples-per-shard", "5", "--name", "s",
        "--workers", "0",
    ]  # fmt: skip
    whole = made_then_killed(shard, build, "shards/s", 2, "shard/s")
    assert not (build / "shards" / "s" / "manifest.json").exists()
    assert run_pipeline("verify", "--build", build).code == 1
    assert run_pipeline(*shard).code == 0
    assert differing(tree_digest(build / "shards" / "s"), whole) == []
