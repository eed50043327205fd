"""Folders of classes: order, ids, and what happens to files that are not good images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.folder import Folder, FolderManifest, decode_square, sample_id
from pipeline.errors import DatasetError, SampleError


def make_image(path: Path, size: tuple[int, int] = (40, 40), mode: str = "RGB", seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def reader(root: Path, **extra: object) -> Folder:
    content = {"name": "mine", "format": "folder", "resolution": 16, "root": str(root), **extra}
    return Folder(FolderManifest.model_validate(content))


def test_scan_is_ordered_by_split_class_and_name(tmp_path: Path) -> None:
    for name in ("train/dog/b.png", "train/cat/a.1.png", "train/cat/a.png", "test/dog/z.jpg"):
        make_image(tmp_path / name)
    samples = reader(tmp_path, splits=["train", "test"]).scan()
    assert samples["source"].tolist() == [
        "train/cat/a.1.png",
        "train/cat/a.png",
        "train/dog/b.png",
        "test/dog/z.jpg",
    ]
    assert samples["label"].tolist() == [0, 0, 1, 1]
    assert samples["id"].tolist() == ["train-cat-a_1", "train-cat-a", "train-dog-b", "test-dog-z"]


def test_ids_stay_unique() -> None:
    used: set[str] = set()
    assert [sample_id(text, used) for text in ("a.b", "a b", "a/b")] == ["a_b", "a_b_2", "a-b"]


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"the folder {tmp_path}/none is not there"):
        reader(tmp_path / "none").scan()


def test_an_empty_tree_is_named(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetError, match="no images"):
        reader(tmp_path).scan()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1"])
def test_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = make_image(tmp_path / f"a.{'jpg' if mode == 'CMYK' else 'png'}", mode=mode)
    assert decode_square(path.read_bytes(), 16).shape == (16, 16, 3)


def test_the_middle_square_is_taken_upright(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = (255, 0, 0)
    pixels[:10, 20:40] = (0, 255, 0)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif)
    found = decode_square(path.read_bytes(), 10)
    assert (found[2, 5] > (200, -1, -1)).all()  # red on top once it is upright
    assert (found[8, 5] > (-1, 200, -1)).all()


@pytest.mark.parametrize(
    ("damage", "words"),
    [("empty", "empty"), ("text", "not an image"), ("cut", "damaged"), ("gone", "cannot read")],
)
def test_a_bad_file_is_one_bad_sample(tmp_path: Path, damage: str, words: str) -> None:
    path = make_image(tmp_path / "cat" / "a.png")
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "cut": data[: len(data) // 2]}[damage])
    with pytest.raises(SampleError, match=words):
        reader(tmp_path).load("cat/a.png")
