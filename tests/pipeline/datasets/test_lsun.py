"""LSUN: the official LMDB, read-only, and exported folders."""

import hashlib
import pickle
import random
from collections import Counter
from pathlib import Path
from typing import Any

import lmdb
import pytest

from pipeline.datasets import lsun, walk
from pipeline.datasets.base import sha256_hex
from pipeline.datasets.lmdb_file import Database
from pipeline.datasets.spelling import unspelled
from pipeline.errors import DatasetError, SampleError
from tests.pipeline.datasets.samples import encoded, reader_of, smooth

COUNT = 20
ODD_KEYS = [
    b"\xff\xfe",
    b"a\\xff",
    b"a\xff",
    b"\0\0\0\1",
    "é".encode(),
    b"A",
    b"a",
    b"nul",
    b"a" * 400,
    b"x\ny",
    b"1.0",
]


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


def opened(folder: Path) -> lmdb.Environment:
    folder.mkdir(parents=True)
    return lmdb.open(str(folder), map_size=1 << 24, max_dbs=2)


@pytest.fixture
def database(tmp_path: Path) -> tuple[Path, list[str]]:
    keys = write_database(tmp_path / "lsun" / "cat")
    return tmp_path / "lsun" / "cat" / "data.mdb", keys


def reader_beside(path: Path) -> Any:
    return reader_of(path.parent.parent, format="lsun", category="cat", resolution=16)


@pytest.mark.parametrize("left", [0, 1, 100, 4096, 5000, 8192, 9000, -4096, -1])
def test_a_cut_database_is_one_sentence(database: tuple[Path, list[str]], left: int) -> None:
    path, _ = database
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DatasetError, match=r"not an LMDB that can be read: it (is cut|has not).*download") as error:
        reader_beside(path).scan()
    assert "\n" not in str(error.value)


def test_a_database_that_is_zeros_from_somewhere_on(database: tuple[Path, list[str]]) -> None:
    path, keys = database
    whole = path.read_bytes()
    for start in range(0, len(whole), 4096):
        path.write_bytes(whole[:start] + bytes(len(whole) - start))
        reader = reader_beside(path)
        try:
            found = reader.scan()["source"].tolist()
        except DatasetError as error:
            assert "download" in str(error)  # noqa: PT017
            continue
        assert found == keys
        with pytest.raises(SampleError):
            [reader.load(key) for key in keys]


def test_every_flip_in_the_headers_and_the_tree_is_named_or_without_effect(
    database: tuple[Path, list[str]],
) -> None:
    path, keys = database
    whole = path.read_bytes()
    before = {key: reader_beside(path).digest(key) for key in keys}
    rng = random.Random(0)
    outcomes = Counter[str]()
    for _ in range(40):
        at = rng.choice([rng.randrange(168), 4096 + rng.randrange(168), rng.randrange(8192, len(whole))])
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        reader = reader_beside(path)
        try:
            found = reader.scan()["source"].tolist()
            same = {key: reader.digest(key) for key in found} == before
            outcomes["same" if same else "other bytes"] += 1
            assert len(found) == COUNT
        except (DatasetError, SampleError):
            outcomes["named"] += 1
    assert min(outcomes[kind] for kind in ("same", "other bytes", "named")) > 0


def test_keys_that_are_no_text_are_kept(tmp_path: Path) -> None:
    images = {key: encoded(smooth(20, 20, i)) for i, key in enumerate(ODD_KEYS)}
    with opened(tmp_path / "lsun" / "cat") as file, file.begin(write=True) as transaction:
        for key, data in images.items():
            transaction.put(key, data)
    reader = reader_of(tmp_path / "lsun", format="lsun", category="cat")
    samples = reader.scan()
    assert samples["source"].map(unspelled).tolist() == sorted(ODD_KEYS)
    assert samples["id"].str.lower().is_unique
    assert samples["id"].str.fullmatch(r"[A-Za-z0-9_-]{1,80}").all()
    for source in samples["source"]:
        assert reader.digest(source) == sha256_hex(images[unspelled(source)])


def test_more_keys_than_fit_into_a_page_and_small_values(tmp_path: Path) -> None:
    folder = tmp_path / "lsun" / "cat"
    with opened(folder) as file, file.begin(write=True) as transaction:
        for i in range(3000):
            transaction.put(b"%07d" % (i * 7), b"v" * (i % 50))
        for i in range(0, 3000, 3):
            transaction.delete(b"%07d" % (i * 7))
    with Database(folder / "data.mdb") as found:
        assert list(found.keys()) == [b"%07d" % (i * 7) for i in range(3000) if i % 3]
        assert found.depth == 2
        node = found.find(b"0000007")
        assert node is not None
        assert found.value(node) == b"v"
        assert [found.find(key) for key in (b"", b"0000000", b"0000008", b"9")] == [None] * 4


def test_another_layout_of_an_lmdb_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lsun" / "cat"
    with opened(folder) as file, file.begin(write=True) as transaction:
        transaction.put(b"a", b"1", db=file.open_db(b"inside", transaction, dupsort=True))
    reader = reader_of(tmp_path / "lsun", format="lsun", category="cat")
    with pytest.raises(DatasetError, match="it holds named databases, not an image for each key"):
        reader.scan()
    data = bytearray((folder / "data.mdb").read_bytes())
    for page in (0, 4096):
        data[page + 92] = 4  # MDB_DUPSORT of the main database, which this library sets for named ones only
    (folder / "data.mdb").write_bytes(data)
    with pytest.raises(DatasetError, match="sorted in another way or have several values"):
        reader.scan()


def test_an_empty_database_a_link_to_one_and_values_that_are_no_pictures(tmp_path: Path) -> None:
    with opened(tmp_path / "lsun" / "cat") as file, file.begin(write=True) as transaction:
        transaction.put(b"num-samples", b"1")
        transaction.delete(b"num-samples")
    reader = reader_of(tmp_path / "lsun", format="lsun", category="cat")
    with pytest.raises(DatasetError, match="no images in"):
        reader.scan()
    with opened(tmp_path / "far") as file, file.begin(write=True) as transaction:
        transaction.put(b"num-samples", b"1")
    (tmp_path / "lsun" / "cat" / "data.mdb").unlink()
    (tmp_path / "lsun" / "cat" / "data.mdb").symlink_to(tmp_path / "far" / "data.mdb")
    assert reader.scan()["source"].tolist() == ["num-samples"]
    with pytest.raises(SampleError, match="not an image"):
        reader.load("num-samples")
    assert reader.stamp("num-samples").startswith(str((tmp_path / "far" / "data.mdb").stat().st_size))


def test_a_database_that_has_gone_is_worth_another_try(database: tuple[Path, list[str]]) -> None:
    path, keys = database
    reader = reader_beside(path)
    reader.scan()
    path.unlink()
    with pytest.raises(SampleError) as error:
        reader.read(keys[0])
    assert error.value.unreadable


def test_files_beside_the_images_are_named(tmp_path: Path) -> None:
    root = tmp_path / "lsun"
    for name in ("car/a/b.webp", "car/a/c.heic", "car/.d.webp", "dog/e.webp", "car.zip"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    exported = reader_of(root, format="lsun", category="car")
    samples = exported.scan()
    assert samples["source"].tolist() == ["car/a/b.webp"]
    assert samples.attrs["skipped"] == [
        ("car.zip", lsun.OTHER_CATEGORY),
        ("car/.d.webp", walk.HIDDEN),
        ("car/a/c.heic", "a kind of picture that is not read (.heic)"),
        ("dog/", lsun.OTHER_CATEGORY),
    ]
    write_database(root / "car_lmdb")
    (root / "car_lmdb" / "x.webp").touch()
    samples = reader_of(root, format="lsun", category="car").scan()
    assert len(samples) == COUNT
    assert samples.attrs["skipped"] == [
        (name, lsun.BESIDE_DATABASE) for name in ("car.zip", "car/", "car_lmdb/x.webp", "dog/")
    ]
    with pytest.raises(DatasetError, match="'classes' in the manifest names 2"):
        reader_of(root, format="lsun", category="car", classes=["a", "b"]).scan()
