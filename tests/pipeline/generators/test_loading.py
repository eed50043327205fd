"""What is refused when a generator is loaded, and in which words."""

from pathlib import Path

import pytest

from pipeline.errors import ManifestError, WeightsError
from pipeline.generators import open_generator
from tests.conftest import Tiny, write_manifest


def manifest_of(tiny: Tiny, tmp_path: Path, **changes: object) -> str:
    weights = tiny.generator.with_suffix(".safetensors")
    import tomllib

    content = tomllib.loads(tiny.generator.read_text()) | {"weights": str(weights)} | changes
    return str(write_manifest(tmp_path / "g.toml", **content))


def test_fine_layers_come_from_the_manifest(tiny: Tiny) -> None:
    assert open_generator(str(tiny.generator)).fine_layers == (4, 5, 6, 7)


def test_a_changed_weights_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not the declared file"):
        open_generator(manifest_of(tiny, tmp_path, sha256="0" * 64))


def test_missing_weights_are_named(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights at .*nowhere\.safetensors"):
        open_generator(manifest_of(tiny, tmp_path, weights="nowhere.safetensors"))


def test_a_wrong_resolution_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="renders 32x32"):
        open_generator(manifest_of(tiny, tmp_path, resolution=64))


def test_fine_layers_must_exist(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="must name layers from 0 to 7"):
        open_generator(manifest_of(tiny, tmp_path, fine_layers=[6, 8]))


def test_an_unknown_family_is_named(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="known are stylegan1, stylegan2"):
        open_generator(manifest_of(tiny, tmp_path, family="stylegan9"))


def test_a_file_that_is_not_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        open_generator(str(path))
