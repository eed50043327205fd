"""Folders of classes: order, ids, and what happens to files that are not good images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.folder import Folder, FolderManifest
from pipeline.errors import DatasetError, SampleError
from tests.pipeline.datasets.samples import write_image


def reader(root: Path, **extra: object) -> Folder:
    content = {"name": "mine", "format": "folder", "resolution": 16, "root": str(root), **extra}
    return Folder(FolderManifest.model_validate(content))


def test_scan_is_ordered_by_split_class_and_name(tmp_path: Path) -> None:
    for name in (
        "train/dog/b.png",
        "train/cat/a.1.png",
        "train/cat/sub/c.png",
        "train/cat/a.png",
        "test/dog/z.JPG",
    ):
        write_image(tmp_path / name)
    samples = reader(tmp_path, splits=["train", "test"]).scan()
    assert samples["source"].tolist() == [
        "train/cat/a.1.png",
        "train/cat/a.png",
        "train/cat/sub/c.png",
        "train/dog/b.png",
        "test/dog/z.JPG",
    ]
    assert samples["label"].tolist() == [0, 0, 0, 1, 1]
    assert samples["id"].tolist() == [
        "train-cat-a_1",
        "train-cat-a",
        "train-cat-sub-c",
        "train-dog-b",
        "test-dog-z",
    ]


def test_a_tree_without_splits_is_for_training(tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "a.png")
    write_image(tmp_path / "cat" / "a.jpg")
    samples = reader(tmp_path).scan()
    assert samples["split"].tolist() == ["train", "train"]
    assert samples["id"].tolist() == ["train-cat-a", "train-cat-a_2"]
    assert reader(tmp_path).load("cat/a.png").pixels.shape == (16, 16, 3)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"the folder {tmp_path}/none is not there"):
        reader(tmp_path / "none").scan()


def test_an_empty_tree_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images"):
        reader(tmp_path).scan()
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetError, match="no images"):
        reader(tmp_path).scan()


def test_the_middle_square_is_taken_upright(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = (255, 0, 0)
    pixels[:10, 20:40] = (0, 255, 0)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    found = reader(tmp_path).load("a.png").pixels
    assert (found[3, 8] > (200, -1, -1)).all()  # red on top once it is upright
    assert (found[12, 8] > (-1, 200, -1)).all()


@pytest.mark.parametrize(
    ("damage", "words"),
    [("empty", "empty"), ("text", "not an image"), ("cut", "damaged"), ("gone", "cannot read")],
)
def test_a_bad_file_is_one_bad_sample(tmp_path: Path, damage: str, words: str) -> None:
    path = write_image(tmp_path / "cat" / "a.png")
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "cut": data[: len(data) // 2]}[damage])
    with pytest.raises(SampleError, match=words):
        reader(tmp_path).load("cat/a.png")


def test_a_misleading_suffix_does_not_matter(tmp_path: Path) -> None:
    png = write_image(tmp_path / "cat" / "a.png")
    png.rename(tmp_path / "cat" / "a.jpg")
    assert reader(tmp_path).load("cat/a.jpg").pixels.std() > 1
