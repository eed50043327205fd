"""WebDataset tars: found again at their offsets, labels from .cls or .json, damage named."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DatasetError, ManifestError, SampleError
from tests.pipeline.datasets.samples import encoded, reader_of, smooth


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def samples_of(start: int, count: int, **annotation: Any) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for i in range(start, start + count):
        kind = ("PNG", "JPEG", "WEBP")[i % 3]
        key = f"{i:05d}"
        members[f"{key}.{kind.lower().replace('jpeg', 'jpg')}"] = encoded(smooth(20, 20, i), kind)
        members[f"{key}.cls"] = f"{i % 4}\n".encode()
        members[f"{key}.json"] = json.dumps(
            {"shape": ["round", "flat"][i % 2], "even": i % 2 == 0, "n": i}
        ).encode()
        members[f"{key}.w.npy"] = b"x" * 1500
    return members


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    root = tmp_path / "wds"
    write_tar(root / "train-000000.tar", samples_of(0, 6))
    write_tar(root / "train-000001.tar", samples_of(6, 4))
    write_tar(root / "validation-000000.tar", samples_of(0, 3))
    return root


def test_samples_in_the_order_of_the_tars(tars: Path) -> None:
    reader = reader_of(tars, format="webdataset")
    samples = reader.scan()
    assert samples["id"].tolist() == [f"train-{i:05d}" for i in range(10)] + [f"val-{i:05d}" for i in range(3)]
    assert samples["label"].tolist() == [i % 4 for i in range(10)] + [0, 1, 2]
    assert samples["label"].dtype == "int64"
    assert reader.classes == ("0", "1", "2", "3")
    for i in (0, 4, 9):
        expected = reader_of(tars, format="webdataset").deliver(samples_of(i, 1)[next(iter(samples_of(i, 1)))])
        assert reader.load(samples["source"][i]).sha256 == expected.sha256


def test_names_as_classes(tmp_path: Path) -> None:
    root = tmp_path / "wds"
    image = encoded(smooth(20, 20))
    write_tar(root / "a.tar", {"x/1.jpg": image, "x/1.cls": b"dog", "y/1.jpg": image, "y/1.cls": b"cat"})
    reader = reader_of(root, format="webdataset")
    assert reader.classes == ("cat", "dog")
    assert reader.scan()["label"].tolist() == [1, 0]
    assert reader.scan()["id"].tolist() == ["train-x-1", "train-y-1"]
    declared = reader_of(root, format="webdataset", classes=["dog", "cat"])
    assert declared.scan()["label"].tolist() == [0, 1]
    with pytest.raises(DatasetError, match="has the class 'cat', which 'classes' in the manifest does not list"):
        reader_of(root, format="webdataset", classes=["dog"]).scan()


def test_any_key_of_the_json_may_be_the_label(tars: Path) -> None:
    assert reader_of(tars, "shape", format="webdataset").classes == ("flat", "round")
    even = reader_of(tars, "even", format="webdataset")
    assert even.classes == ("not even", "even")
    assert even.scan()["label"].tolist()[:3] == [1, 0, 1]
    with pytest.raises(ManifestError, match=r"no .json has the key 'shap', did you mean shape"):
        reader_of(tars, "shap", format="webdataset").scan()


def test_without_labels_the_keys_there_are_are_named(tmp_path: Path) -> None:
    root = tmp_path / "wds"
    write_tar(root / "a.tar", {"1.jpg": encoded(smooth(20, 20)), "1.json": b'{"class": 3}'})
    with pytest.raises(ManifestError, match=r"the samples have no .cls; name the key.*class"):
        reader_of(root, format="webdataset").scan()
    assert reader_of(root, "class", format="webdataset").scan()["label"].tolist() == [3]


def test_some_samples_without_a_label(tars: Path) -> None:
    write_tar(tars / "train-000002.tar", {"9.jpg": encoded(smooth(20, 20))})
    with pytest.raises(DatasetError, match="the label 'cls' is missing in 1 samples"):
        reader_of(tars, format="webdataset").scan()


@pytest.mark.parametrize("damage", ["cut", "text", "zipped", "json"])
def test_a_damaged_tar_is_one_sentence(tars: Path, damage: str) -> None:
    path = tars / "train-000001.tar"
    data = path.read_bytes()
    if damage == "json":
        write_tar(path, {"1.jpg": b"x", "1.json": b"{"})
    else:
        path.write_bytes(
            {"cut": data[: len(data) // 2], "text": b"hello" * 300, "zipped": b"\x1f\x8b" + data}[damage]
        )
    with pytest.raises(DatasetError, match=rf"{path} is damaged or no plain tar") as error:
        reader_of(tars, format="webdataset").scan()
    assert "\n" not in str(error.value)


def test_no_tars_and_tars_without_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"\*.tar .not compressed. not found in"):
        reader_of(tmp_path / "none", format="webdataset").scan()
    write_tar(tmp_path / "wds" / "a.tar", {"1.txt": b"x"})
    with pytest.raises(DatasetError, match="no images in the tar files"):
        reader_of(tmp_path / "wds", format="webdataset").scan()


def test_a_tar_that_changed_is_a_bad_sample(tars: Path) -> None:
    reader = reader_of(tars, format="webdataset")
    source = reader.scan()["source"][9]
    (tars / "train-000001.tar").write_bytes(b"short")
    with pytest.raises(SampleError, match="shorter than when it was scanned"):
        reader.load(source)
    (tars / "train-000001.tar").unlink()
    with pytest.raises(SampleError, match=r"cannot read train-000001.tar"):
        reader.load(source)


def test_our_own_shards_are_a_dataset(tmp_path: Path, finished_build: Path) -> None:
    (shards,) = [path.parent for path in finished_build.glob("shards/*/wds")]
    reader = reader_of(tmp_path / "x", root=str(shards / "wds"), format="webdataset", resolution=32)
    samples = reader.scan()
    assert len(samples) > 48
    assert reader.load(samples["source"].iloc[-1]).pixels.shape == (32, 32, 3)
