"""Folders of classes: order, ids, and what happens to files that are not good images."""

import errno
import hashlib
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import class_folders, walk
from pipeline.datasets.folder import Folder, FolderManifest
from pipeline.datasets.formats import IMAGE_SUFFIXES
from pipeline.errors import DatasetError, ManifestError, SampleError
from tests.pipeline.datasets.samples import reader_of, write_image


def reader(root: Path, **extra: object) -> Folder:
    content = {"name": "mine", "format": "folder", "resolution": 16, "root": str(root), **extra}
    return Folder(FolderManifest.model_validate(content))


def digest_of(source: str) -> str:
    """What tells two ids of the same name apart."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


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
    assert samples["id"].tolist() == [f"train-cat-a-{digest_of(f'cat/a.{suffix}')}" for suffix in ("jpg", "png")]
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


def touch(root: Path, *names: str) -> Path:
    """Empty files: a scan does not open them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_what_is_not_taken_is_named_and_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.tif", "cat/b.GIF", "dog/deep/c.jfif", "dog/d.avif", "dog/e.jp2", "ape/f.bmp")
    touch(tmp_path, ".ipynb_checkpoints/x.png", "__MACOSX/cat/._a.tif", "cat/._a.tif", "cat/Thumbs.db", "loose.png")
    touch(tmp_path, "cat/a.heic", "ape/labels.csv")
    found = reader(tmp_path)
    samples = found.scan()
    assert found.classes == ("ape", "cat", "dog")
    assert samples["source"].tolist() == [
        "ape/f.bmp",
        "cat/a.tif",
        "cat/b.GIF",
        "dog/d.avif",
        "dog/deep/c.jfif",
        "dog/e.jp2",
    ]
    assert samples["label"].tolist() == [0, 1, 1, 2, 2, 2]
    assert dict(samples.attrs["skipped"]) == {
        ".ipynb_checkpoints/x.png": walk.HIDDEN,
        "__MACOSX/cat/._a.tif": walk.SYSTEM,
        "ape/labels.csv": walk.OTHER_SUFFIX,
        "cat/._a.tif": walk.HIDDEN,
        "cat/Thumbs.db": walk.SYSTEM,
        "cat/a.heic": "a kind of picture that is not read (.heic)",
        "loose.png": class_folders.LOOSE,
    }
    assert samples.attrs["notes"] == []


def test_empty_folders_number_nothing_unless_they_are_declared(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.png", "d/2.png", "c/readme.txt")
    (tmp_path / "a").mkdir()
    found = reader(tmp_path)
    samples = found.scan()
    assert found.classes == ("b", "d")
    assert samples["label"].tolist() == [0, 1]
    assert [note.partition(";")[0] for note in samples.attrs["notes"]] == [
        "folders without images, which are no classes: 'a', 'c'"
    ]
    declared = reader(tmp_path, classes=["a", "b", "d"])
    samples = declared.scan()
    assert declared.classes == ("a", "b", "d")
    assert samples["label"].tolist() == [1, 2]
    assert samples.attrs["notes"] == ["declared classes without images, which keep their numbers: 'a'"]
    assert samples.attrs["skipped"] == [("c/readme.txt", walk.OTHER_SUFFIX)]


def test_folders_beside_the_declared_classes_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "animals/cat/a.png", "animals/dog/b.png", "things/c.png", "d.png")
    samples = reader(tmp_path, classes=["things", "animals/dog"]).scan()
    assert samples["source"].tolist() == ["things/c.png", "animals/dog/b.png"]
    assert samples["label"].tolist() == [0, 1]
    assert samples.attrs["skipped"] == [
        ("animals/cat/a.png", class_folders.NO_CLASS),
        ("d.png", class_folders.LOOSE),
    ]


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["train/cat/a.png", "test/cat/b.png"], 'splits = ["train", "test"]'),
        (["Training/cat/a.png", "Testing/cat/b.png", "README.md"], 'splits = ["Training", "Testing"]'),
        (["train2017/cat/a.png", "val2017/cat/b.png"], 'splits = ["train2017", "val2017"]'),
        (["training_set/cat/a.png", "test_set/cat/b.png"], 'splits = ["training_set", "test_set"]'),
        (["seg_train/sea/a.png", "seg_test/sea/b.png", "seg_pred/c.png"], 'splits = ["seg_train", "seg_test"]'),
        (["dev/cat/a.png", "holdout/cat/b.png", "other/c.png"], 'splits = ["dev", "holdout"]'),
        (["train/cat/a.png"], 'splits = ["train"]'),
        (["train/a.png"], 'splits = ["train"]'),
        (["train/cat/a.png", "cat/b.png"], 'splits = ["train"]'),
        (["data/train/cat/a.png", "data/val/cat/b.png"], 'splits = ["train", "val"]'),
        (
            ["bottle/train/good/a.png", "bottle/test/bad/b.png", "nut/train/good/c.png"],
            'splits = ["train", "test"]',
        ),
    ],
)
def test_forgotten_splits_are_an_error_with_the_line_to_add(tmp_path: Path, names: list[str], line: str) -> None:
    with pytest.raises(DatasetError, match="look like splits") as error:
        reader(touch(tmp_path, *names)).scan()
    assert line in str(error.value)


def test_a_split_within_a_split_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "train/train/cat/a.png", "test/test/cat/b.png")
    with pytest.raises(DatasetError, match=r'add splits = \["train/train"\]'):
        reader(tmp_path, splits=["train", "test"]).scan()
    samples = reader(tmp_path, splits=["train/train", "test/test"]).scan()
    assert samples["split"].tolist() == ["train", "test"]
    assert samples["source"].tolist() == ["train/train/cat/a.png", "test/test/cat/b.png"]


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    touch(tmp_path, "bus/a.png", "train/b.png", "bullet_train/c.png", "test_tubes/d.png")
    found = reader(tmp_path)
    samples = found.scan()
    assert found.classes == ("bullet_train", "bus", "test_tubes", "train")
    assert samples["split"].tolist() == ["train"] * 4
    assert samples.attrs["notes"] == ["called like splits, and taken as classes: 'train'"]
    touch(tmp_path, "test/e.png")
    declared = reader(tmp_path, classes=["test", "train"]).scan()
    assert declared["source"].tolist() == ["test/e.png", "train/b.png"]
    assert declared.attrs["notes"] == []


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("Test", "test"),
        ("Training", "train"),
        ("validation", "val"),
        ("dev", "val"),
        ("val2017", "val"),
        ("eval", "test"),
        ("holdout", "test"),
        ("extra", "extra"),
        ("test_ood", "test_ood"),
    ],
)
def test_splits_get_the_names_that_stages_know(tmp_path: Path, folder: str, split: str) -> None:
    samples = reader(touch(tmp_path, f"{folder}/cat/a.png"), splits=[folder]).scan()
    assert samples["split"].tolist() == [split]
    assert samples["id"].tolist() == [f"{split}-cat-a"]
    assert samples["source"].tolist() == [f"{folder}/cat/a.png"]


def test_splits_that_are_left_out_or_lack_something_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "test/d.png", "extra/cat/e.png", "f.png")
    (tmp_path / "test" / "cat").mkdir()
    samples = reader(tmp_path, splits=["train", "val"]).scan()
    assert samples["split"].tolist() == ["train", "train", "val"]
    assert samples.attrs["notes"] == [
        "called like splits, and not among the 'splits' of the manifest: 'test'",
        "the split 'val' has no images of some classes: 'dog'",
    ]
    assert samples.attrs["skipped"] == [
        ("extra/cat/e.png", class_folders.NO_SPLIT),
        ("f.png", class_folders.LOOSE),
        ("test/d.png", class_folders.NO_SPLIT),
    ]
    samples = reader(tmp_path, splits=["train", "val", "test"]).scan()
    assert "the split 'test' has no images in class folders" in samples.attrs["notes"]
    assert ("test/d.png", class_folders.LOOSE) in samples.attrs["skipped"]


def test_two_folders_of_one_split_are_told_and_keep_all_images(tmp_path: Path) -> None:
    touch(tmp_path, "val/cat/a.png", "dev/cat/a.png")
    samples = reader(tmp_path, splits=["val", "dev"]).scan()
    assert samples["split"].tolist() == ["val", "val"]
    assert samples["id"].tolist() == [f"val-cat-a-{digest_of(f'{name}/cat/a.png')}" for name in ("val", "dev")]
    assert samples.attrs["notes"] == ["the split 'val' is made of several folders: 'dev', 'val'"]


def test_a_missing_split_gets_the_name_that_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/a.png", "Validation/cat/b.png")
    with pytest.raises(DatasetError, match=r"/val is not there, but 'Validation' is;"):
        reader(tmp_path, splits=["train", "val"]).scan()
    with pytest.raises(
        DatasetError, match=r'/cat is not there, but .*: if these are splits, add splits = \["train"'
    ):
        reader(tmp_path, classes=["cat"]).scan()
    with pytest.raises(DatasetError, match=r"train/Cat is not there, but 'cat' is;"):
        reader(tmp_path, splits=["train"], classes=["Cat"]).scan()


@pytest.mark.parametrize("splits", [["../other"], ["/train"], [""], ["train", "train/"], ["."]])
def test_splits_are_folders_below_the_root(tmp_path: Path, splits: list[str]) -> None:
    with pytest.raises(
        ManifestError, match=r"key 'splits' = .*(is not a folder below the root|a name occurs twice)"
    ):
        reader_of(tmp_path, format="folder", splits=splits)


def test_classes_that_hardly_differ_are_told(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    touch(tmp_path, "Cat/a.png", "cat/b.png", "dog/c.png", *(f"{name}/d.png" for name in names))
    found = reader(tmp_path)
    notes = found.scan().attrs["notes"]
    assert len(found.classes) == 5
    assert len(notes) == 2
    assert notes[0].startswith("the classes 'Cat', 'cat' differ only in case")
    assert notes[1].count("caf") == 2


def test_a_class_may_be_a_link_and_is_read_once(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "dog/b.png")
    touch(tmp_path, "elsewhere/cats/a.png")
    (root / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    (root / "dog" / "back").symlink_to(root)
    found = reader(root)
    samples = found.scan()
    assert found.classes == ("cat", "dog")
    assert samples["source"].tolist() == ["cat/a.png", "dog/b.png"]
    assert samples.attrs["skipped"] == [("dog/back", walk.ABOVE)]
    assert samples.attrs["notes"] == []


def test_a_class_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "cat/a.png", "dog/b.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("/cat"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"/cat cannot be read, or is a link to nothing, and may be a class"):
        reader(tmp_path).scan()
    samples = reader(tmp_path, classes=["dog"]).scan()
    assert samples.attrs["skipped"] == [("cat", f"{walk.UNREADABLE} (Permission denied)")]


def test_images_in_no_class_folder_are_the_reason_given(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"2 files are not taken, the first is a.png \(a picture beside the class"
    ):
        reader(touch(tmp_path, "a.png", "b.png", "c.txt")).scan()
    with pytest.raises(
        DatasetError, match=r"the first is cat/a.heic \(a kind of picture that is not read \(.heic\)\)"
    ):
        reader(touch(tmp_path / "x", "cat/a.heic")).scan()


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".pbm", ".pgm"}))
def test_every_suffix_that_is_taken_is_read(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "cat").mkdir()
    picture = Image.new("RGB", (32, 32), (200, 40, 90))
    picture.save(tmp_path / "cat" / f"a{suffix}")
    found = reader(tmp_path)
    pixels = found.load(found.scan()["source"][0]).pixels
    assert np.abs(pixels.astype(int) - (200, 40, 90)).max() <= 8


def test_links_to_nothing_shift_no_label(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "dog/b.png")
    (root / "ape").mkdir()
    (root / "ape" / "a.png").symlink_to(tmp_path / "away.png")
    found = reader(root)
    assert found.scan()["label"].tolist() == [0, 1]
    assert found.classes == ("ape", "dog")
    with pytest.raises(SampleError, match="cannot read the file") as error:
        found.load("ape/a.png")
    assert error.value.unreadable
    (root / "cat").symlink_to(tmp_path / "away")
    with pytest.raises(DatasetError, match=r"/cat cannot be read, or is a link to nothing, and may be a class"):
        reader(root).scan()


def test_splits_and_classes_may_be_links_to_folders_beside_them(tmp_path: Path) -> None:
    touch(tmp_path, "v2/train/cat_old/a.png", "v2/train/dog/b.png", "test/dog/c.png")
    (tmp_path / "train").symlink_to("v2/train")
    (tmp_path / "v2" / "train" / "cat").symlink_to("cat_old")
    samples = reader(tmp_path, splits=["train", "test"], classes=["dog"]).scan()
    assert samples["source"].tolist() == ["train/dog/b.png", "test/dog/c.png"]
    (tmp_path / "test" / "cat").mkdir()
    samples = reader(tmp_path, splits=["train", "test"], classes=["cat", "dog"]).scan()
    assert samples[["source", "label"]].values.tolist() == [
        ["train/cat/a.png", 0],
        ["train/dog/b.png", 1],
        ["test/dog/c.png", 1],
    ]


def test_classes_in_a_folder_around_them_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "pets/cat/a.png", "pets/dog/b.png")
    found = reader(tmp_path)
    assert found.scan()["label"].tolist() == [0, 0]
    (note,) = found.scan().attrs["notes"]
    assert note.startswith("all images of the class 'pets' lie in folders of its own ('cat', 'dog')")
    assert reader(tmp_path, classes=["pets"]).scan().attrs["notes"] == []
    touch(tmp_path, "pets/c.png")
    assert reader(tmp_path).scan().attrs["notes"] == []


def test_numbers_are_told_that_they_are_numbered_as_texts(tmp_path: Path) -> None:
    touch(tmp_path, "9/a.png", "10/b.png")
    found = reader(tmp_path)
    assert found.scan()[["source", "label"]].values.tolist() == [["10/b.png", 0], ["9/a.png", 1]]
    assert "'9' has the label 1" in found.scan().attrs["notes"][0]


def test_domains_of_splits_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}{domain}/a.png" for split in ("train", "test") for domain in "AB"))
    with pytest.raises(DatasetError, match=r'splits = \["trainA", "trainB", "testA", "testB"\]'):
        reader(tmp_path).scan()
