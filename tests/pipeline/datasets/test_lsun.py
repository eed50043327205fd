"""LSUN: the official LMDB, read-only, and exported folders."""

import hashlib
import pickle
from pathlib import Path

import lmdb
import pytest

from pipeline.datasets.lsun import open_database
from pipeline.errors import DatasetError, SampleError
from tests.pipeline.datasets.samples import encoded, reader_of, smooth

COUNT = 20


def write_database(folder: Path) -> list[str]:
    """Images as LSUN has them: WebP, by the hash of their content."""
    folder.mkdir(parents=True)
    keys = []
    with lmdb.open(str(folder), map_size=1 << 24) as database, database.begin(write=True) as transaction:
        for seed in range(COUNT):
            data = encoded(smooth(40, 32, seed), "WEBP", lossless=True)
            keys.append(hashlib.sha1(data).hexdigest())
            transaction.put(keys[-1].encode(), data)
    return sorted(keys)


@pytest.mark.parametrize("place", ["cat_lmdb", "cat", "cat_train_lmdb", "."])
def test_the_official_database(tmp_path: Path, place: str) -> None:
    keys = write_database(tmp_path / "lsun" / place)
    (tmp_path / "lsun" / place / "lock.mdb").unlink()  # a read-only disk has none, and none may be made
    reader = reader_of(tmp_path / "lsun", format="lsun", category="cat")
    samples = reader.scan()
    assert samples["source"].tolist() == keys == samples["id"].tolist()
    assert set(samples["label"]) == {0}
    assert set(samples["split"]) == {"train"}
    assert reader.classes == ("cat",)
    assert len({reader.load(key).pixels.tobytes() for key in keys}) == COUNT
    assert not (tmp_path / "lsun" / place / "lock.mdb").exists()


def test_a_reader_travels_to_a_worker_after_it_has_been_used(tmp_path: Path) -> None:
    keys = write_database(tmp_path / "lsun" / "cat")
    reader = reader_of(tmp_path / "lsun", format="lsun", category="cat")
    before = reader.load(keys[0])
    assert pickle.loads(pickle.dumps(reader)).load(keys[0]).sha256 == before.sha256  # noqa: S301 - our own bytes


def test_exported_folders(tmp_path: Path) -> None:
    for name in ("a/b/abc.webp", "a/c/acd.webp", "x.jpg"):
        path = tmp_path / "lsun" / "car" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(smooth(40, 30), "WEBP"))
    reader = reader_of(tmp_path / "lsun", format="lsun", category="car", crop="letterbox")
    samples = reader.scan()
    assert samples["id"].tolist() == ["abc", "acd", "x"]
    pixels = reader.load(samples["source"][0]).pixels
    assert not pixels[:2].any()
    assert pixels[2:14].any()


def test_an_unknown_key_is_one_bad_sample(tmp_path: Path) -> None:
    write_database(tmp_path / "lsun" / "cat")
    with pytest.raises(SampleError, match="no such key"):
        reader_of(tmp_path / "lsun", format="lsun", category="cat").load("0000")


def test_a_damaged_or_empty_database_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "lsun" / "cat"
    folder.mkdir(parents=True)
    (folder / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(DatasetError, match=r"not an LMDB that can be read.*download"):
        reader_of(tmp_path / "lsun", format="lsun", category="cat").scan()
    (tmp_path / "lsun" / "dog").mkdir()
    with pytest.raises(DatasetError, match="no images in"):
        reader_of(tmp_path / "lsun", format="lsun", category="dog").scan()


def test_a_database_is_opened_once_in_a_process(tmp_path: Path) -> None:
    write_database(tmp_path / "cat")
    assert open_database(tmp_path / "cat") is open_database(tmp_path / "cat")
