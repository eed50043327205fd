"""The release of OM-ImageNet's authors, written here as their loader expects it."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.datasets import dmat, walk
from pipeline.errors import DatasetError, SampleError
from tests.pipeline.datasets.samples import reader_of

COUNTS = {("train", 0): 3, ("train", 2): 2, ("test", 0): 1}


def write_set(folder: Path, size: int = 16) -> dict[str, np.ndarray]:
    """Files of random images and latents; return the arrays by file and name."""
    rng, arrays = np.random.default_rng(0), {}
    for (split, label), count in COUNTS.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / split / f"{label}.h5", "w") as file:
            file["images"] = rng.integers(0, 256, (count, 3, size, size)).astype(np.float32) / 127.5 - 1
            file["latents"] = rng.normal(size=(count, 4, 8)).astype(np.float32)
            arrays |= {f"{split}/{label}/{name}": file[name][:] for name in file}
    return arrays


def test_images_latents_and_labels_are_the_files(tmp_path: Path) -> None:
    arrays = write_set(tmp_path / "set")
    reader = reader_of(tmp_path / "set", format="dmat")
    assert reader.problem() is None
    table = reader.scan()
    assert table["id"].tolist()[2:5] == ["train-0-000002", "train-2-000000", "train-2-000001"]
    assert table["label"].tolist() == [0, 0, 0, 2, 2, 0]
    assert table["split"].tolist() == ["train"] * 5 + ["test"]
    assert reader.classes == ("0", "1", "2")
    source = table["source"][4]
    pixels = reader.load(source).pixels
    np.testing.assert_allclose(
        pixels.transpose(2, 0, 1) / np.float32(127.5) - 1, arrays["train/2/images"][1], atol=1e-6
    )
    np.testing.assert_array_equal(reader.latent(source), arrays["train/2/latents"][1])


def test_bad_rows_are_the_samples_fault(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    with h5py.File(tmp_path / "set" / "train" / "0.h5", "a") as file:
        file["images"][1, 0, 0, 0] = np.nan
    reader = reader_of(tmp_path / "set", format="dmat")
    with pytest.raises(SampleError, match="not finite"):
        reader.load("train/0.h5#1")
    assert reader.load("train/0.h5#2").pixels.shape == (16, 16, 3)
    other = reader_of(tmp_path / "set", format="dmat", resolution=32)
    with pytest.raises(SampleError, match="3x16x16, and the manifest says resolution = 32"):
        other.load("train/0.h5#0")


def test_files_that_are_something_else_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    reader = reader_of(folder, format="dmat")
    with pytest.raises(DatasetError, match=r"train/\[0-9\]\.h5, test/\[0-9\]\.h5 not found in"):
        reader.scan()
    write_set(folder)
    (folder / "train" / "5.h5").write_bytes(b"this is text")
    with pytest.raises(DatasetError, match=r"train/5\.h5 cannot be read as HDF5"):
        reader.scan()
    with h5py.File(folder / "train" / "5.h5", "w") as file:
        file["pictures"] = np.zeros((1, 3, 16, 16), np.float32)
    with pytest.raises(DatasetError, match="holds no array 'images' of floats; found are pictures"):
        reader_of(folder, format="dmat").scan()


def test_other_files_are_never_followed(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    with h5py.File(tmp_path / "set" / "train" / "1.h5", "w") as file:
        file["images"] = h5py.ExternalLink(str(tmp_path / "set" / "train" / "0.h5"), "/images")
    with pytest.raises(DatasetError, match="holds no array 'images'"):
        reader_of(tmp_path / "set", format="dmat").scan()
    (tmp_path / "secret").write_bytes(b"\0" * 4 * 3 * 16 * 16)
    with h5py.File(tmp_path / "set" / "train" / "3.h5", "w") as file:
        file.create_dataset("images", (1, 3, 16, 16), np.float32, external=[(str(tmp_path / "secret"), 0, 3072)])
    (tmp_path / "set" / "train" / "1.h5").unlink()
    with pytest.raises(DatasetError, match="refers to other files"):
        reader_of(tmp_path / "set", format="dmat").scan()


def test_what_is_not_a_class_is_named_and_missing_latents_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder)
    for name in ("train/10.h5", "train/a.h5", "val/0.h5", "0.h5", "README.md", "train/.DS_Store"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    with h5py.File(folder / "train" / "0.h5", "a") as file:
        del file["latents"]
        file["latents"] = np.zeros((1, 4, 8), np.float32)
    with h5py.File(folder / "test" / "0.h5", "a") as file:
        del file["latents"]
    reader = reader_of(folder, format="dmat")
    with pytest.raises(DatasetError, match=r"test/0.h5 has no 'latents': use --method lpips"):
        reader.latent("test/0.h5#0")
    table = reader.scan()
    assert dict(table.attrs["skipped"]) == {
        "0.h5": dmat.NOT_A_CLASS,
        "README.md": "not an HDF5 file (.h5)",
        "train/.DS_Store": walk.HIDDEN,
        "train/10.h5": dmat.NOT_A_CLASS,
        "train/a.h5": dmat.NOT_A_CLASS,
        "val/0.h5": dmat.NOT_A_CLASS,
    }
    assert table.attrs["notes"] == [
        "train/0.h5 has 3 images and 1 latents",
        "1 of the 3 files have no latents, the first is test/0.h5",
        "the split 'train' has no file for the classes '1'",
        "the split 'test' has no file for the classes '1', '2'",
    ]
    with pytest.raises(DatasetError, match=r"there is a file 2.h5, but 'classes' in the manifest names 2"):
        reader_of(folder, format="dmat", classes=["a", "b"]).scan()


@pytest.mark.parametrize(("scale", "shift", "words"), [(0.5, 0.5, "from 0 to 1"), (127.5, 127.5, "from 0 to 255")])
def test_images_of_another_range_are_refused(tmp_path: Path, scale: float, shift: float, words: str) -> None:
    write_set(tmp_path / "set")
    for path in (tmp_path / "set").glob("*/*.h5"):
        with h5py.File(path, "a") as file:
            file["images"][:] = file["images"][:] * scale + shift
            file["images"][0, :, 0, 0] = (shift - scale, shift + scale, shift)
    with pytest.raises(DatasetError, match=rf"{words}, and not from -1 to 1"):
        reader_of(tmp_path / "set", format="dmat").scan()


def test_values_that_are_cut_off_and_files_without_dark_pixels_are_told(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    with h5py.File(tmp_path / "set" / "train" / "0.h5", "a") as file:
        file["images"][:] = np.abs(file["images"][:])
        file["images"][0, 0, 0, 0] = 1.25
    reader = reader_of(tmp_path / "set", format="dmat")
    cut, bright = reader.scan().attrs["notes"][:2]
    assert cut == "the images have values from -1 to 1.25: what is beyond -1 and 1 is cut off"
    assert bright.startswith("the images in 'train/0.h5' have no values below 0")
    assert reader.load("train/0.h5#0").pixels[0, 0, 0] == 255
    dmat.open_file.cache_clear()
    with h5py.File(tmp_path / "set" / "train" / "0.h5", "a") as file:
        file["images"][0, 0, 0, 0] = 200
    with pytest.raises(SampleError, match="to 200, not from -1 to 1"):
        reader.load("train/0.h5#0")


def test_the_digest_is_of_the_image_and_its_latents(tmp_path: Path) -> None:
    arrays, file, source = write_set(tmp_path / "set"), tmp_path / "set" / "train" / "2.h5", "train/2.h5#1"
    reader = reader_of(tmp_path / "set", format="dmat")
    images, latents = (arrays[f"train/2/{name}"] for name in ("images", "latents"))

    def digest(images: np.ndarray, latents: np.ndarray, source: str = source) -> str:
        with h5py.File(tmp_path / "new.h5", "w") as new:
            new["images"], new["latents"] = images, latents
        (tmp_path / "new.h5").rename(file)
        found: str = reader.digest(source)
        assert found == reader.load(source).sha256
        return found

    found = [digest(images, latents), digest(images * 0.5, latents), digest(images, latents * 0.5)]
    assert len(set(found)) == 3
    assert digest(images, latents) == found[0]
    first = digest(images, latents, "train/2.h5#0")
    assert digest(images, latents[:1], "train/2.h5#0") == first
    assert digest(images, latents[:1]) not in found
    with pytest.raises(SampleError, match="cannot read row 1 of 'latents'"):
        reader.latent(source)
