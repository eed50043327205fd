"""Manifests: what is declared loads, what is wrong is named."""

from pathlib import Path

import pytest

from pipeline.datasets import load_dataset
from pipeline.datasets.files import data_places
from pipeline.errors import ManifestError, PipelineError
from pipeline.generators.loading import find_generator
from pipeline.manifest import find_manifest, manifest_names, weights_folder
from pipeline.perceptual import find_perceptual
from tests.conftest import run_pipeline, write_manifest

GOOD = {"name": "mine", "format": "folder", "resolution": 32, "root": "images"}


def test_every_declared_manifest_is_valid() -> None:
    assert manifest_names("datasets")
    for name in manifest_names("datasets"):
        manifest, _ = load_dataset(name)
        assert manifest.name == name
        assert manifest.generator is None or find_generator(manifest.generator)
        assert manifest.perceptual is None or find_perceptual(manifest.perceptual)
    for name in manifest_names("generators"):
        assert find_generator(name)[0].name == name
    for name in manifest_names("perceptual"):
        assert find_perceptual(name)[0].name == name


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ManifestError, match="did you mean color-digits"):
        find_manifest("datasets", "colour-digit")


def test_a_name_cannot_leave_the_manifests() -> None:
    with pytest.raises(ManifestError, match="no dataset named"):
        find_manifest("datasets", "../generators/color-digits")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resolutoin": 32}, "unknown key 'resolutoin' .did you mean 'resolution'"),
        ({"resolution": "large"}, "key 'resolution' = 'large'.*images are delivered as"),
        ({"root": None}, "key 'root' is missing .folder of the tree"),
        ({"format": "zip"}, "key 'format' = 'zip'.*known are celeba, .*color-digits, .*folder"),
        ({"name": "a b"}, "key 'name' = 'a b'"),
        ({"root": ""}, "key 'root' = '': empty, give it a value or leave the key out .folder of the tree"),
        ({"generator": ""}, "key 'generator' = '': empty"),
        ({"root": "~nobody-of-that-name/images"}, "the home folder that ~ stands for is not known"),
    ],
)
def test_a_wrong_key_is_named_with_its_meaning(tmp_path: Path, change: dict[str, object], words: str) -> None:
    content = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(PipelineError, match=words):
        load_dataset(str(write_manifest(tmp_path / "m.toml", **content)))


def test_broken_toml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("name = 'x'\nformat = = 3")
    with pytest.raises(ManifestError, match=r"not valid TOML.*line 2"):
        load_dataset(str(path))


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no manifest at"):
        load_dataset(str(tmp_path / "m.toml"))


def test_root_is_relative_to_the_manifest(tmp_path: Path) -> None:
    manifest, _ = load_dataset(str(write_manifest(tmp_path / "m.toml", **GOOD)))
    assert manifest.model_dump()["root"] == str(tmp_path / "images")


def test_a_user_without_a_home_folder_has_the_present_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers whose user is a number: HOME is not set, and the number has no name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONMANIFOLD_WEIGHTS")
    monkeypatch.delenv("ONMANIFOLD_DATA", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert weights_folder() == tmp_path / "weights"
    assert data_places("celeba") == [tmp_path / "datasets" / "celeba"]
    assert find_generator("color-digits")[1].is_file()
    assert "Looked in" in run_pipeline("datasets").out


@pytest.mark.parametrize("value", ["", "relative", "~/there"])
def test_folders_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", value)
    monkeypatch.setenv("ONMANIFOLD_DATA", value)
    usual = tmp_path / "home" / ".local" / "share" / "onmanifold"
    folder = {"relative": tmp_path / "relative", "~/there": tmp_path / "home" / "there"}.get(value)
    assert weights_folder() == (folder or usual / "weights")
    assert data_places("celeba") == [(folder or usual / "datasets") / "celeba", tmp_path / "datasets" / "celeba"]


def test_a_manifest_as_windows_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'\xef\xbb\xbfname = "mine"\r\nformat = "folder"\r\nresolution = 32\r\nroot = "d"\r\n')
    assert load_dataset(str(path))[0].name == "mine"
    path.write_text('name = "mine"\nroot = "C:\\Users\\me"\n')
    with pytest.raises(ManifestError, match=r"not valid TOML.*line 2.*write paths with /, or in single quotes"):
        load_dataset(str(path))
