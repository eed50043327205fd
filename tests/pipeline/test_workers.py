"""Workers that cannot do the work are named before they are given any."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from PIL import Image

from pipeline.build import Build, open_build
from pipeline.cluster import scheduler_cluster
from pipeline.errors import PipelineError
from pipeline.execute import Execution, on_a_worker, workers_at_work
from pipeline.listing import create_build
from pipeline.run import run_stage
from pipeline.workers import EndedError, Lease, leases, software, take_up
from tests.conftest import Tiny, write_manifest
from tests.pipeline.dask_processes import ROOT, WITHOUT, Running, scheduler_of, worker_of
from tests.pipeline.errands import Shade, add

WAIT = "ONMANIFOLD_WAIT"


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a second for what a user's run waits 45 seconds for."""
    monkeypatch.setenv(WAIT, "1")


def refusal(scheduler: Running, build: Build | None = None) -> str:
    with pytest.raises(PipelineError) as refused, scheduler_cluster(scheduler.address, build):
        pass
    return str(refused.value)


def test_work_is_done_where_the_scheduler_lacks_onmanifold() -> None:
    with scheduler_of(workers=0, before=WITHOUT) as scheduler, worker_of(scheduler):
        assert on_a_worker(Execution(scheduler=scheduler.address), add, 1, 2) == 3
        assert workers_at_work(Execution(scheduler=scheduler.address), 5) == 1


@pytest.mark.usefixtures("patience")
def test_no_workers(capsys: pytest.CaptureFixture[str]) -> None:
    with scheduler_of(workers=0) as scheduler:
        assert "has no workers, and none came within 1 s" in refusal(scheduler)
        assert f"Note: no worker is there at --scheduler {scheduler.address}; waiting" in capsys.readouterr().err


def test_workers_that_come_late_are_waited_for() -> None:
    with scheduler_of(workers=0) as scheduler, worker_of(scheduler, before="import time; time.sleep(1)"):
        assert on_a_worker(Execution(scheduler=scheduler.address), add, 1, 2) == 3


def test_a_wait_that_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("soon", "0", "-1", "nan"):
        monkeypatch.setenv(WAIT, text)
        with pytest.raises(PipelineError, match=f"{WAIT}={text} is not a number of seconds"):
            on_a_worker(Execution(scheduler="127.0.0.1:1"), add, 1, 2)


def test_workers_lack_onmanifold() -> None:
    with scheduler_of(workers=2, before=WITHOUT) as scheduler:
        told = refusal(scheduler)
    assert told.startswith("worker tcp://")
    assert "(and 1 more have such problems): it lacks onmanifold, or has another version of it" in told


def claim(folder: Path, package: str, version: str) -> Path:
    """Have a package claim to have some version, in a folder for the path."""
    info = folder / f"{package}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return info.parent


@pytest.mark.parametrize("package", ["torch", "distributed"])
def test_workers_have_another_version(tmp_path: Path, package: str) -> None:
    path = claim(tmp_path, package, "0.0.7+cu126")
    ours = software()[package]
    with scheduler_of(workers=0) as scheduler, worker_of(scheduler, first_on_path=path) as worker:
        told = refusal(scheduler)
    assert told.startswith(
        f"worker {worker.address}: it has {package} 0.0.7 (here {ours}): install the same on all"
    )


def test_how_a_version_was_built_does_not_matter(tmp_path: Path) -> None:
    path = claim(tmp_path, "torch", software()["torch"] + "+cu126")
    with scheduler_of(first_on_path=path) as scheduler:
        assert on_a_worker(Execution(scheduler=scheduler.address), add, 1, 2) == 3


def test_the_scheduler_has_another_version(tmp_path: Path) -> None:
    with scheduler_of(first_on_path=claim(tmp_path, "distributed", "2024.8.0")) as scheduler:
        assert f"--scheduler {scheduler.address} has distributed 2024.8.0 (here" in refusal(scheduler)


def test_workers_have_another_state_of_the_source(tmp_path: Path) -> None:
    for part in ("pipeline", "stages"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    with scheduler_of(first_on_path=tmp_path) as scheduler:
        assert on_a_worker(Execution(scheduler=scheduler.address), add, 1, 2) == 3  # a copy will do
    with (tmp_path / "pipeline" / "seeds.py").open("a") as file:
        file.write("# changed\n")
    claim(tmp_path, "onmanifold", "0.0.7")
    with scheduler_of(first_on_path=tmp_path) as scheduler:
        assert f"it has another onmanifold, 0.0.7 (here {software()['onmanifold']})" in refusal(scheduler)


def test_another_python() -> None:
    with scheduler_of(before="import platform; platform.python_version = lambda: '3.8.20'") as scheduler:
        assert "runs Python 3.8.20 (here 3." in refusal(scheduler)


@pytest.mark.usefixtures("patience")
def test_a_worker_that_does_not_answer() -> None:
    with scheduler_of(workers=1) as scheduler, worker_of(scheduler) as frozen:
        frozen.freeze()
        assert refusal(scheduler).startswith(f"worker {frozen.address}: does not answer")


# --- the build ------------------------------------------------------------------------------------------------


@pytest.fixture
def own_view(tmp_path: Path, finished_build: Path) -> Iterator[Build]:
    """A build whose path leads each process to what is in its own working folder; this one's has the build."""
    shutil.copytree(finished_build, tmp_path / "driver" / "b")
    (tmp_path / "worker").mkdir()
    with chdir(tmp_path / "driver"):
        yield Build(Path("/proc/self/cwd/b"))


def test_workers_do_not_see_the_build(tmp_path: Path, own_view: Build) -> None:
    with scheduler_of(cwd=tmp_path / "worker") as scheduler:
        assert f"{own_view.root} is not there for it: mount the folder" in refusal(scheduler, own_view)
        (tmp_path / "worker" / "b").mkdir()
        assert f"{own_view.root} is another folder for it: mount the folder" in refusal(scheduler, own_view)
        assert on_a_worker(Execution(scheduler=scheduler.address), add, 1, 2) == 3  # this needs no build
    assert not leases(own_view).exists()


def test_workers_may_not_write(tmp_path: Path, finished_build: Path, copy_of: Callable[[Path], Path]) -> None:
    build = open_build(copy_of(finished_build))
    no_files = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    with scheduler_of(after=no_files) as scheduler:
        assert f"it may not write to {build.root} (File too large)" in refusal(scheduler, build)


def test_workers_write_elsewhere(finished_build: Path, copy_of: Callable[[Path], Path]) -> None:
    build = open_build(copy_of(finished_build))
    with scheduler_of() as scheduler, scheduler_cluster(scheduler.address, build) as cluster:
        assert cluster.lease is not None
        assert len(cluster.proofs) == 1
        cluster.wait = 0.5
        with pytest.raises(PipelineError, match=f"writes to another folder that it knows as {build.root}: mount"):
            cluster.believe("what is not there")


@pytest.fixture
def inverted(tmp_path: Path, tiny: Tiny) -> Build:
    """A build of a red and a blue picture."""
    for name in ("red", "blue"):
        path = tmp_path / "images" / "train" / name / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (32, 32), name).save(path)
    manifest = write_manifest(
        tmp_path / "colours.toml", name="colours", format="folder", resolution=32, root="images", splits=["train"]
    )
    return create_build(tmp_path / "b", str(manifest))


def test_workers_do_not_see_the_images(tmp_path: Path, inverted: Build) -> None:
    lease = Lease.begin(inverted, images=True)
    assert take_up(lease) == take_up(lease)
    Image.new("RGB", (32, 32), "green").save(tmp_path / "images" / "train" / "blue" / "blue.png")
    take_up.cache_clear()
    with pytest.raises(PipelineError, match=r"blue\.png of the dataset is another image for it: mount the dataset"):
        take_up(lease)
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(PipelineError, match=r"it cannot read the images \(.*blue\.png: .*\): mount the dataset"):
        take_up(lease)
    lease.end()
    with pytest.raises(EndedError):
        lease.check()
    assert Lease.begin(inverted, images=True).sample is None  # where the driver cannot read them, nobody has to


def test_other_weights_on_workers(inverted: Build) -> None:
    with (
        scheduler_of(before="import os; os.environ['SHADE'] = 'dark'") as scheduler,
        inverted.lock(),
        pytest.raises(PipelineError, match="shade would be done with other weights there than on the driver's"),
    ):
        run_stage(Shade(), inverted, Execution(scheduler=scheduler.address))
    assert not (inverted.root / "shade.txt").exists()
    with scheduler_of() as scheduler, inverted.lock():
        assert run_stage(Shade(), inverted, Execution(scheduler=scheduler.address))["done"] == 1
    assert (inverted.root / "shade.txt").read_text() == "light"
