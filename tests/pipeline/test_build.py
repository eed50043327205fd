"""A build belongs to one dataset and one process at a time."""

from pathlib import Path

import pytest

from pipeline.build import open_build, resolve_build
from pipeline.errors import BuildError
from pipeline.listing import create_build
from tests.conftest import write_manifest


def test_a_build_is_created_once(tmp_path: Path) -> None:
    build = create_build(tmp_path / "b", "color-digits")
    before = build.info_path.read_bytes()
    again = create_build(tmp_path / "b", "color-digits")
    assert again.info_path.read_bytes() == before
    samples = open_build(tmp_path / "b").samples()
    assert len(samples) == 1797
    assert set(samples["status"]) == {"pending"}
    assert {"id", "split", "label", "source", "sha256", "status", "error", "red"} <= set(samples.columns)


def test_another_dataset_is_refused_by_name(tmp_path: Path) -> None:
    create_build(tmp_path / "b", "color-digits")
    other = write_manifest(tmp_path / "o.toml", name="o", format="color-digits", resolution=32, sigma=0.2)
    with pytest.raises(BuildError, match=r"sigma: 0\.1 → 0\.2"):
        create_build(tmp_path / "b", str(other))
    assert create_build(tmp_path / "b", str(other), fresh=True).info()["dataset"]["sigma"] == 0.2


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    build = create_build(tmp_path / "b", "color-digits")
    with build.lock(), pytest.raises(BuildError, match="in use by process"), open_build(tmp_path / "b").lock():
        pass
    with build.lock():
        pass


def test_which_build_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BuildError, match="begin with `pipeline invert"):
        resolve_build(None, None)
    create_build(tmp_path / "builds" / "one", "color-digits")
    assert resolve_build(None, None).root.name == "one"
    create_build(tmp_path / "builds" / "two", "color-digits")
    with pytest.raises(BuildError, match="here are: one, two"):
        resolve_build(None, None)
    assert resolve_build("two", None).root.name == "two"
    with pytest.raises(BuildError, match="pipeline invert --dataset three"):
        resolve_build("three", None)


def test_a_damaged_build_toml_is_named(tmp_path: Path) -> None:
    build = create_build(tmp_path / "b", "color-digits")
    for damage in ("this is = = not toml", "", build.info_path.read_text() + " "):
        build.info_path.write_text(damage)
        with pytest.raises(BuildError, match=r"build.toml differs from what was written: .* --repair. restores it"):
            open_build(tmp_path / "b")
