"""Where datasets are looked for, and what is said of those that are not there."""

import os
from pathlib import Path

import pytest

from pipeline.datasets import load_dataset
from pipeline.errors import DatasetError, ManifestError
from pipeline.manifest import manifest_names
from tests.conftest import run_pipeline, write_manifest
from tests.pipeline.datasets.samples import reader_of, write_image

NEED_FILES = [name for name in manifest_names("datasets") if not name.startswith("color-digits")]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONMANIFOLD_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", NEED_FILES)
def test_what_is_missing_is_said_with_the_places_and_the_way_to_get_it(name: str, tmp_path: Path) -> None:
    manifest, reader = load_dataset(name)
    problem = reader.problem()
    assert problem is not None
    assert f"dataset '{name}'" in problem
    assert "download" in problem
    assert manifest.homepage in problem
    assert problem.count(f"{tmp_path}/data/") == 1
    assert problem.count(f"{tmp_path}/datasets/") == 1
    with pytest.raises(DatasetError, match="not found in"):
        reader.scan()


def test_the_data_directory_comes_before_the_working_directory(tmp_path: Path) -> None:
    for place in ("datasets", "data"):
        (tmp_path / place / "lsun-cat").mkdir(parents=True)
        manifest, _ = load_dataset("lsun-cat")
        assert manifest.model_dump()["root"] == str(tmp_path / place / "lsun-cat")


def test_a_manifest_may_name_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data" / "imagenet").mkdir(parents=True)
    manifest, reader = load_dataset("imagenet-mixed10")
    assert manifest.model_dump()["root"] == str(tmp_path / "data" / "imagenet")
    assert f"not found in {tmp_path}/data/imagenet;" in str(reader.problem())


def test_without_the_variable_the_home_directory_is_looked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONMANIFOLD_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home/.local/share/onmanifold/datasets/mnist").mkdir(parents=True)
    manifest, _ = load_dataset("color-mnist")
    assert manifest.model_dump()["root"] == str(tmp_path / "home/.local/share/onmanifold/datasets/mnist")


def test_a_root_of_ones_own_is_relative_to_the_manifest(tmp_path: Path) -> None:
    write_image(tmp_path / "mine" / "cat" / "a.webp")
    path = write_manifest(tmp_path / "m.toml", name="m", format="lsun", category="cat", resolution=16, root="mine")
    os.chdir("/")
    _, reader = load_dataset(str(path))
    assert reader.problem() is None
    assert len(reader.scan()) == 1


@pytest.mark.parametrize("crop", ["middle", [1, 2, 3], [0, 0, 0, 5], [-1, 0, 5, 5], [0, 0, 1.5, 2], 4])
def test_a_crop_that_is_none_is_named_in_one_sentence(tmp_path: Path, crop: object) -> None:
    with pytest.raises(ManifestError, match=r"key 'crop' = .*: not a crop .`center`") as error:
        reader_of(tmp_path / "x", format="folder", crop=crop)
    assert str(error.value).count("crop'") == 1


def test_a_label_where_there_is_only_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="key 'label' = 'Smiling': this dataset has one label only"):
        reader_of(tmp_path / "x", "Smiling", format="folder")
    with pytest.raises(ManifestError, match="this dataset has one label only"):
        load_dataset("color-digits", "Smiling")


def test_what_says_how_to_get_a_dataset_is_not_part_of_a_build() -> None:
    manifest, _ = load_dataset("celeba")
    assert "obtain" not in manifest.model_dump(mode="json", exclude_none=True)


def test_the_listing_fits_a_screen_and_one_dataset_can_be_asked_for(tmp_path: Path) -> None:
    listed = run_pipeline("datasets")
    assert listed.code == 0
    assert len(listed.out.splitlines()) <= 30
    assert max(map(len, listed.out.splitlines()[:-4])) <= 120
    for name in manifest_names("datasets"):
        assert name in listed.out
    one = run_pipeline("datasets", "celeba")
    assert "img_align_celeba.zip" in one.out
    unknown = run_pipeline("datasets", "celebra")
    assert unknown.code == 2
    assert "did you mean celeba" in unknown.err


@pytest.mark.parametrize(
    "layout", ["celeba", "celeba-hq", "imagenet-mixed10", "lsun", "dmat", "webdataset", "parquet"]
)
def test_a_root_that_cannot_be_read_is_one_sentence(tmp_path: Path, layout: str) -> None:
    (tmp_path / "set").symlink_to(tmp_path / "set")  # reading it fails for every user
    more = {"category": "cat"} if layout == "lsun" else {}
    with pytest.raises(DatasetError, match=r"set.* (cannot be read \(Too many levels|not found)") as error:
        reader_of(tmp_path / "set", format=layout, **more).scan()
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
@pytest.mark.parametrize(
    "layout", ["celeba", "celeba-hq", "imagenet-mixed10", "lsun", "dmat", "webdataset", "parquet"]
)
def test_a_root_without_permission_is_one_sentence(tmp_path: Path, layout: str) -> None:
    (tmp_path / "set").mkdir(mode=0)
    more = {"category": "cat"} if layout == "lsun" else {}
    with pytest.raises(DatasetError, match=r"cannot be read \(Permission denied\): make it readable"):
        reader_of(tmp_path / "set", format=layout, **more).scan()
