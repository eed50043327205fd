"""`build-om-imagenet`: an on-manifold set of any dataset, out to the authors' layout and in again."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pipeline.build import open_build
from pipeline.images import to_float
from pipeline.store import read_rows
from tests.conftest import Tiny, run_pipeline, write_manifest


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of two classes in two splits."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / "images" / split / name).mkdir(parents=True)
            for i in range(count):
                coarse = Image.fromarray(rng.integers(0, 255, (4, 4, 3)).astype(np.uint8))
                coarse.resize((32, 32)).save(folder / "images" / split / name / f"{i}.png")
    splits = ["train", "test"]
    return write_manifest(
        folder / "pets.toml", name="pets", format="folder", resolution=32, root="images", splits=splits
    )


@pytest.fixture(scope="module")
def built(pictures: Path, tiny: Tiny) -> Path:
    """The set made of them."""
    build = pictures.parent / "build"
    done = run_pipeline(
        "build-om-imagenet", "--dataset", pictures, "--build", build, *tiny.networks, "--steps", "3",
        "--format", "webdataset,dmat", "--workers", "0", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["train"], summary["test"], summary["failed"]) == (8, 4, 0)
    assert summary["identical_in_both"] == 0
    return build


def test_the_set_holds_w_and_its_rendering_and_the_image_and_the_label(built: Path) -> None:
    rows = read_rows(built / "latents.zarr", ["w", "image", "original", "label"], 0, 12)
    samples = open_build(built).samples()
    np.testing.assert_array_equal(rows["label"], samples["label"])
    folder = built / "shards" / "on-manifold" / "dmat"
    with h5py.File(folder / "test" / "1.h5") as file:
        chosen = ((samples["split"] == "test") & (samples["label"] == 1)).to_numpy()
        np.testing.assert_array_equal(file["latents"][:], rows["w"][chosen])
        images = to_float(rows["image"][chosen]).numpy()
        np.testing.assert_allclose(file["images"][:], images, atol=1.01 / 127.5)
    assert run_pipeline("verify", "--build", built).code == 0


def test_what_was_exported_is_taken_over_with_its_latents(built: Path, tiny: Tiny, tmp_path: Path) -> None:
    exported = built / "shards" / "on-manifold" / "dmat"
    manifest = write_manifest(
        tmp_path / "again.toml", name="again", format="dmat", resolution=32, root=str(exported)
    )
    again = tmp_path / "build"
    done = run_pipeline(
        "build-om-imagenet", "--dataset", manifest, "--build", again, *tiny.networks, "--format", "dmat",
        "--workers", "0", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["train"] == 8
    for split in ("train", "test"):
        for label in ("0.h5", "1.h5"):
            ours = again / "shards" / "on-manifold" / "dmat" / split / label
            with h5py.File(exported / split / label) as one, h5py.File(ours) as two:
                np.testing.assert_array_equal(one["latents"][:], two["latents"][:])
                np.testing.assert_array_equal(one["images"][:], two["images"][:])


def test_a_second_call_computes_nothing(built: Path, pictures: Path, tiny: Tiny) -> None:
    done = run_pipeline(
        "build-om-imagenet", "--dataset", pictures, "--build", built, *tiny.networks, "--steps", "3",
        "--format", "webdataset,dmat", "--workers", "0",
    )  # fmt: skip
    assert done.code == 0
    assert "computed           0" in done.err


def test_a_dry_run_says_what_it_takes_and_writes_nothing(tmp_path: Path, pictures: Path, tiny: Tiny) -> None:
    asked = ["build-om-imagenet", "--dataset", pictures, *tiny.networks, "--dry-run", "--steps", "100"]
    done = run_pipeline(*asked, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    assert plan["samples"] == {"train": 8, "test": 4}
    stages = {stage["stage"]: stage for stage in plan["stages"]}
    assert stages["invert"]["steps"] == 1200
    assert stages["invert"]["bytes"] == 12 * (8 * 16 * 4 + 24 + 2 * 32 * 32 * 3)
    assert stages["invert"]["hours"] > 0
    assert list(tmp_path.iterdir()) == []
    shown = run_pipeline(*asked, cwd=tmp_path)
    assert "8 train, 4 test" in shown.out
    assert "hours" in shown.out


def test_a_dry_run_plans_the_training_too(tmp_path: Path, pictures: Path, tiny: Tiny) -> None:
    done = run_pipeline(
        "build-om-imagenet", "--dataset", pictures, "--perceptual", tiny.perceptual, "--train", "--dry-run",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    trained, inverted, _ = json.loads(done.out)["stages"]
    assert trained["stage"] == "train-generator"
    assert trained["steps"] == 10_000
    assert trained["hours"] > inverted["hours"] > 0  # the latter with the network that would be trained
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path) -> None:
    monkeypatch.setenv("ONMANIFOLD_DATA", str(tmp_path))
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path))
    for extra in ([], ["--dry-run"]):
        done = run_pipeline("build-om-imagenet", *extra, cwd=tmp_path)
        assert done.code == 2
        assert "download ILSVRC2012_img_train.tar" in done.err
    done = run_pipeline("build-om-imagenet", "--dataset", pictures, cwd=tmp_path)
    assert done.code == 2
    assert "names no generator: pass --generator NAME, or --train" in done.err


def test_celeba_without_its_files_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONMANIFOLD_DATA", str(tmp_path))
    done = run_pipeline("invert", "--dataset", "celeba", cwd=tmp_path)
    assert done.code == 2
    assert "img_align_celeba.zip" in done.err
    assert not (tmp_path / "builds").exists()
