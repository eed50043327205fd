"""Parquet as Hugging Face writes it: class names from its metadata, images by row group."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets import parquet_file
from pipeline.datasets.base import sha256_hex
from pipeline.errors import DatasetError, ManifestError, SampleError
from tests.pipeline.datasets.samples import encoded, reader_of, smooth


def write_set(root: Path, count: int = 9) -> Path:
    """By the library itself."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog", "owl"]),
            "Smiling": datasets.Value("bool"),
            "breed": datasets.Value("string"),
        }
    )
    (root / "data").mkdir(parents=True)
    for split, seed in (("train", 0), ("validation", 50)):
        rows = {
            "image": [{"bytes": encoded(smooth(20, 18, seed + i)), "path": f"{i}.jpg"} for i in range(count)],
            "label": [i % 3 for i in range(count)],
            "Smiling": [i % 2 == 0 for i in range(count)],
            "breed": [f"b{i % 2}" for i in range(count)],
        }
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(str(root / "data" / f"{split}-00000-of-00001.parquet"), batch_size=4)
    return root


def test_rows_labels_names_and_pixels(tmp_path: Path) -> None:
    reader = reader_of(write_set(tmp_path / "hf"), format="parquet")
    samples = reader.scan()
    assert samples["split"].tolist() == ["train"] * 9 + ["val"] * 9
    assert samples["label"].tolist() == [0, 1, 2] * 6
    assert samples["id"].is_unique
    assert reader.classes == ("cat", "dog", "owl")
    for row in (0, 5, 13):
        data = encoded(smooth(20, 18, row if row < 9 else 41 + row))
        assert reader.load(samples["source"][row]).sha256 == reader.deliver(data).sha256


def test_another_column_as_the_label(tmp_path: Path) -> None:
    root = write_set(tmp_path / "hf")
    smiling = reader_of(root, "Smiling", format="parquet")
    assert smiling.scan()["label"].tolist()[:3] == [1, 0, 1]
    assert smiling.classes == ("not Smiling", "Smiling")
    assert reader_of(root, "breed", format="parquet").classes == ("b0", "b1")
    with pytest.raises(ManifestError, match="has no column 'smile', did you mean Smiling"):
        reader_of(root, "smile", format="parquet").scan()
    with pytest.raises(DatasetError, match="neither a number nor a name"):
        reader_of(root, "image", format="parquet").scan()


def test_ids_of_ones_own_and_plain_bytes(tmp_path: Path) -> None:
    root = tmp_path / "pq"
    root.mkdir()
    images = [encoded(smooth(20, 20, i)) for i in range(3)]
    pq.write_table(pa.table({"img": images, "label": [2, 0, 2], "id": ["a.b", "c", "d"]}), root / "all.parquet")
    reader = reader_of(root, format="parquet", image="img")
    assert reader.scan()["id"].tolist() == ["train-a_b", "train-c", "train-d"]
    assert reader.classes == ("0", "1", "2")
    assert reader.load(reader.scan()["source"][2]).pixels.shape == (16, 16, 3)


def test_images_beside_the_parquet_and_rows_without_any(tmp_path: Path) -> None:
    root = tmp_path / "pq"
    root.mkdir()
    (root / "there.png").write_bytes(encoded(smooth(20, 20), "PNG"))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"bytes": None, "path": "there.png"},
        {"bytes": None, "path": "gone.png"},
        {"bytes": None, "path": None},
    ]
    pq.write_table(pa.table({"image": pa.array(rows, kind), "label": [0, 0, 0]}), root / "a.parquet")
    reader = reader_of(root, format="parquet")
    first, second, third = reader.scan()["source"]
    assert reader.load(first).pixels.shape == (16, 16, 3)
    with pytest.raises(SampleError, match="cannot read the file: No such file"):
        reader.load(second)
    with pytest.raises(SampleError, match="the row has no image"):
        reader.load(third)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, -1], "runs from -1 to 0"),
        ([0, None], "missing in 1 samples"),
        ([0.5, 1.5], "neither a number nor a name"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: list[object], words: str) -> None:
    root = tmp_path / "pq"
    root.mkdir()
    pq.write_table(pa.table({"image": [b"x", b"y"], "label": labels}), root / "a.parquet")
    with pytest.raises(DatasetError, match=words):
        reader_of(root, format="parquet").scan()


def test_no_parquet_and_damaged_parquet(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"\*.parquet not found in"):
        reader_of(tmp_path / "none", format="parquet").scan()
    root = write_set(tmp_path / "hf")
    path = root / "data" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetError, match="is not a Parquet file that can be read"):
        reader_of(root, format="parquet").scan()


def write_file(
    path: Path, labels: list[Any], names: list[str] | None = None, seed: int = 0, **more: Any
) -> dict[str, str]:
    """A file with the metadata that Hugging Face writes; the class name of each image by its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [encoded(smooth(20, 20, seed + i), "PNG") for i in range(len(labels))]
    table = pa.table({"image": images, "label": labels} | more)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    said = [label if names is None or label is None else names[label] for label in labels]
    return {sha256_hex(image): str(name) for image, name in zip(images, said, strict=True)}


def parquet(root: Path, label: str | None = None, **content: Any) -> Any:
    return reader_of(root, label, format="parquet", **content)


def named(reader: Any) -> dict[str, str]:
    """The class name of each image by its digest, as the reader has it."""
    samples = reader.scan()
    return {
        reader.digest(source): reader.classes[label]
        for source, label in zip(samples["source"], samples["label"], strict=True)
    }


def test_files_whose_classes_are_in_another_order(tmp_path: Path) -> None:
    root = tmp_path / "pq"
    truth = write_file(root / "test.parquet", [0, 1, 2], ["dog", "cat", "owl"])
    truth |= write_file(root / "train.parquet", [0, 1, 2], ["cat", "emu", "dog"], seed=10)
    reader = parquet(root)
    assert named(reader) == truth
    assert reader.classes == ("dog", "cat", "owl", "emu")
    declared = parquet(root, classes=["emu", "owl", "cat", "dog", "ant"])
    assert named(declared) == truth
    assert declared.classes == ("emu", "owl", "cat", "dog", "ant")
    with pytest.raises(
        DatasetError, match="declare the classes dog, cat, owl, emu, which are not those of 'classes'"
    ):
        parquet(root, classes=["cat", "dog"]).scan()
    with pytest.raises(DatasetError, match="which are not those of 'classes'"):
        parquet(root, classes=["Hund", "Katze", "Eule", "Emu"]).scan()


def test_classes_may_be_called_otherwise_where_all_files_agree(tmp_path: Path) -> None:
    write_file(tmp_path / "pq" / "a.parquet", [0, 1, 1], ["dog", "cat"])
    reader = parquet(tmp_path / "pq", classes=["Hund", "Katze"])
    assert reader.scan()["label"].tolist() == [0, 1, 1]
    assert reader.classes == ("Hund", "Katze")
    with pytest.raises(DatasetError, match="not those of 'classes'"):
        parquet(tmp_path / "pq", classes=["cat", "Hund"]).scan()


def test_names_and_numbers_in_different_files(tmp_path: Path) -> None:
    root = tmp_path / "pq"
    truth = write_file(root / "a.parquet", [0, 1], ["dog", "cat"])
    truth |= write_file(root / "b.parquet", ["cat", "ant"], seed=5)
    with pytest.raises(DatasetError, match="has the class 'ant', which"):
        parquet(root).scan()
    write_file(root / "b.parquet", ["cat", "dog"], seed=5)
    assert named(parquet(root)) == write_file(root / "a.parquet", [0, 1], ["dog", "cat"]) | write_file(
        root / "b.parquet", ["cat", "dog"], seed=5
    )
    write_file(root / "b.parquet", [1, 0], seed=5)
    with pytest.raises(DatasetError, match=r"names in some files and numbers in others \(b.parquet"):
        parquet(root).scan()


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([0, 1, 2], ["dog", "cat"], "declares 2 classes of 'label' and has the label 2"),
        ([0, -1, 1], ["dog", "cat"], "missing in 1 samples"),
        ([0, None, 1], ["dog", "cat"], "missing in 1 samples"),
        ([0, -2, 1], ["dog", "cat"], "declares 2 classes"),
        ([2**40, 0, 1], None, "no number of a class"),
        ([0.0, float("nan"), 1.0], None, "missing in 1 samples"),
        ([[0], [1], [2]], None, "neither a number nor a name .lists"),
        ([b"cat", b"dog", b"cat"], None, "neither a number nor a name"),
        (["x" * 300, "y", "z"], None, "neither a number nor a name .texts of more than 200"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, labels: list[Any], names: list[str] | None, words: str) -> None:
    root = tmp_path / "pq"
    root.mkdir()
    table = pa.table({"image": [b"x", b"y", b"z"], "label": labels})
    if names:
        metadata = {"info": {"features": {"label": {"names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, root / "a.parquet")
    with pytest.raises(DatasetError, match=words):
        parquet(root).scan()


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b"), [1, 0, 1]),
        (pa.array(["b", "a", "b"], pa.large_string()), ("a", "b"), [1, 0, 1]),
        (pa.array([1, 0, 1], pa.uint64()), ("0", "1"), [1, 0, 1]),
        (pa.array([1, 0, 1], pa.int8()), ("0", "1"), [1, 0, 1]),
        (pa.array([1.0, 0.0, 1.0]), ("0", "1"), [1, 0, 1]),
        (pa.array([True, False, True]), ("not label", "label"), [1, 0, 1]),
    ],
)
def test_types_of_labels(tmp_path: Path, labels: Any, classes: tuple[str, ...], codes: list[int]) -> None:
    write_file(tmp_path / "pq" / "a.parquet", labels)
    reader = parquet(tmp_path / "pq")
    assert reader.scan()["label"].tolist() == codes
    assert reader.classes == classes


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
IMAGE = encoded(smooth(20, 20), "PNG")


@pytest.mark.parametrize(
    "images",
    [
        pa.array([IMAGE], pa.binary()),
        pa.array([IMAGE], pa.large_binary()),
        pa.array([IMAGE], pa.binary()).dictionary_encode(),
        pa.array([{"bytes": IMAGE, "path": None}], STRUCT),
        pa.array([{"bytes": None, "path": "i/0.png"}], STRUCT),
        pa.array([{"bytes": None, "path": "data/i/0.png"}], STRUCT),
        pa.array([{"path": "i/../i/0.png"}], pa.struct([("path", pa.string())])),
        pa.array([{"bytes": IMAGE}], pa.struct([("bytes", pa.large_binary())])),
        pa.array(["i/0.png"]),
        pa.array(["i/0.png"]).dictionary_encode(),
    ],
    ids=str,
)
def test_types_of_images(tmp_path: Path, images: Any) -> None:
    root = tmp_path / "pq"
    (root / "data" / "i").mkdir(parents=True)
    (root / "data" / "i" / "0.png").write_bytes(IMAGE)
    pq.write_table(pa.table({"image": images, "label": [0]}), root / "data" / "a.parquet")
    reader = parquet(root)
    (source,) = reader.scan()["source"]
    assert source == "data/a.parquet#0"
    assert reader.digest(source) == sha256_hex(IMAGE)
    before = reader.stamp(source)
    (root / "data" / "i" / "0.png").write_bytes(IMAGE + b"more")
    assert (reader.stamp(source) != before) == (reader.digest(source) != sha256_hex(IMAGE))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([[IMAGE]], "holds list<.*not one image's bytes or path"),
        ([[{"bytes": IMAGE, "path": None}]], "holds list<.*not one image"),
        ([3], "holds int64, not one image"),
        ([{"height": 3}], "holds struct<height: int64>, not one image"),
    ],
)
def test_columns_that_hold_no_images(tmp_path: Path, images: list[Any], words: str) -> None:
    (tmp_path / "pq").mkdir()
    pq.write_table(pa.table({"image": images, "label": [0]}), tmp_path / "pq" / "a.parquet")
    with pytest.raises(DatasetError, match=words):
        parquet(tmp_path / "pq").scan()


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname", "i/../../secret.png", "\0"])
def test_a_path_that_leads_out_of_the_folder_is_a_failed_sample(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.png").write_bytes(IMAGE)
    (tmp_path / "pq").mkdir()
    pq.write_table(pa.table({"image": [path], "label": [0]}), tmp_path / "pq" / "a.parquet")
    with pytest.raises(SampleError, match="leads out of the dataset's folder"):
        parquet(tmp_path / "pq").read("a.parquet#0")


def test_other_columns_are_attributes(tmp_path: Path) -> None:
    root = tmp_path / "pq"
    write_set(root)
    extra = {"status": ["x", "y"], "n": [1, 2], "caption": ["long " * 60] * 2, "score": [0.5, 1.5],
             "box": [[1], [2]], "Smiling": [True, None]}  # fmt: skip
    write_file(root / "more" / "test.parquet", [1, 0], ["owl", "cat"], seed=99, **extra)
    samples = parquet(root).scan()
    assert samples["split"].tolist() == ["train"] * 9 + ["val"] * 9 + ["test"] * 2
    assert samples["breed"].tolist()[:3] == ["b0", "b1", "b0"]
    assert samples["Smiling"].tolist()[:2] == [True, False]
    assert samples["Smiling"].isna().sum() == 1
    assert samples["n"].tolist()[-2:] == [1, 2]
    assert samples["n"].isna().sum() == 18
    assert samples["status_"].tolist()[-2:] == ["x", "y"]
    assert list(samples.columns[:4]) == ["id", "split", "label", "source"]
    assert set(samples.columns[4:]) == {"Smiling", "breed", "n", "status_"}
    lacking, note = samples.attrs["notes"]
    assert lacking == "the split 'test' has no images of some classes: 'dog'"
    assert (
        "box (lists or objects), caption (texts of more than 200 characters), score (numbers with fractions)"
        in note
    )
    by_breed = parquet(write_set(tmp_path / "two"), "breed").scan()
    assert by_breed["label_"].tolist() == ["cat", "dog", "owl"] * 6
    assert by_breed.attrs["label_values"] == {"label_": {"cat": "cat", "dog": "dog", "owl": "owl"}}
    samples.to_parquet(tmp_path / "samples.parquet")


def test_columns_called_like_the_builds_own_keep_their_names_apart(tmp_path: Path) -> None:
    write_file(tmp_path / "pq" / "a.parquet", [0, 1], ["cat", "dog"], breed=["x", "y"], label_=["p", "q"])
    reader = parquet(tmp_path / "pq", "breed")
    samples = reader.scan()
    assert samples["label_"].tolist() == ["p", "q"]
    assert samples["label__"].tolist() == ["cat", "dog"]
    assert samples.attrs["label_values"] == {"label__": {"cat": "cat", "dog": "dog"}}
    assert reader.classes == ("x", "y")


def test_ids_of_rows_do_not_hang_on_other_files(tmp_path: Path) -> None:
    root = tmp_path / "pq"
    write_file(root / "data" / "train-00001-of-00002.parquet", [0, 1])
    before = parquet(root).scan()["id"].tolist()
    assert before == [f"data-train-00001-of-00002-00000{row}" for row in range(2)]
    write_file(root / "data" / "train-00000-of-00002.parquet", [0, 1])
    assert parquet(root).scan()["id"].tolist()[2:] == before
    write_file(root / "data" / "train-00000-of-00002.parquet", [0, 1], id=["a", None])
    write_file(root / "data" / "train-00001-of-00002.parquet", [0, 1], id=["a", "b"])
    ids = parquet(root).scan()["id"]
    assert ids[1] == "data-train-00000-of-00002-000001"
    assert ids[3] == "train-b"
    assert ids.str.fullmatch("train-a-[0-9a-f]{12}").tolist() == [True, False, True, False]


def test_row_groups_are_read_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "HELD_BYTES", 2**20)
    root = tmp_path / "pq"
    root.mkdir()
    rng = np.random.default_rng(0)
    images = [rng.bytes(50_000) for _ in range(400)]
    table = pa.table({"image": images, "label": [0] * 400})
    pq.write_table(table, root / "a.parquet", row_group_size=300, use_dictionary=False, write_batch_size=8)
    reader = parquet(root)
    sources = reader.scan()["source"]
    before = pa.total_allocated_bytes()
    for row in [0, 1, 5, 3, 21, 20, 22, 299, 300, 399, 2, 310]:
        assert reader.read(sources[row]) == images[row]
        assert pa.total_allocated_bytes() - before < 2**23
    with pytest.raises(SampleError, match="no row 400"):
        reader.read("a.parquet#400")
    assert reader.key("a.parquet#1/5") == "a.parquet#305"
    with pytest.raises(SampleError, match="not the number of a row"):
        reader.read("a.parquet#1/5")


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    root = tmp_path / "pq"
    write_file(root / "a.parquet", [0, 1, 0])
    reader = parquet(root)
    reader.read("a.parquet#2")
    images = write_file(root / "a.parquet", [0, 1], seed=50)
    assert reader.digest("a.parquet#1") == list(images)[1]
    with pytest.raises(SampleError, match="has no row 2 any more") as error:
        reader.read("a.parquet#2")
    assert error.value.unreadable


def test_damage_anywhere_is_named_or_another_picture(tmp_path: Path) -> None:
    root = tmp_path / "pq"
    truth = write_file(root / "a.parquet", [0, 1, 2, 1], ["cat", "dog", "owl"], breed=["x", "y", "x", "y"])
    data = (root / "a.parquet").read_bytes()
    rng = random.Random(0)
    outcomes = Counter[str]()
    for i in range(120):
        at = rng.randrange(len(data)) if i % 3 else rng.randrange(len(data) - 1500, len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        (root / "a.parquet").write_bytes(data[:at] if i % 2 else flipped)
        reader = parquet(root)
        try:
            samples = reader.scan()
            found = [reader.digest(source) for source in samples["source"]]
        except (DatasetError, ManifestError, SampleError):
            outcomes["named"] += 1
            continue
        outcomes["same" if found == list(truth) else "another picture"] += 1
        assert len(samples) == 4
    assert outcomes["named"] > 60


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"<html>404</html>", b"PAR1" + bytes(100) + b"PARE", b"PAR1" + b"\xff" * 100 + b"PAR1"]
)
def test_what_is_not_parquet(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "pq").mkdir()
    (tmp_path / "pq" / "a.parquet").write_bytes(data)
    with pytest.raises(DatasetError, match=r"a.parquet is not a Parquet file that can be read.*download") as error:
        parquet(tmp_path / "pq").scan()
    assert "\n" not in str(error.value)


def test_no_rows_and_files_beside(tmp_path: Path) -> None:
    root = tmp_path / "pq"
    write_file(root / "empty.parquet", pa.array([], pa.int64()))
    with pytest.raises(DatasetError, match="no rows in the Parquet files"):
        parquet(root).scan()
    write_file(root / "some.parquet", [0, 1])
    for name in ("README.md", "dataset_infos.json", "x.arrow"):
        (root / name).write_text("x")
    samples = parquet(root).scan()
    assert samples["label"].tolist() == [0, 1]
    assert samples.attrs["skipped"] == [
        *((name, "not a Parquet file") for name in ("README.md", "dataset_infos.json", "x.arrow")),
        ("empty.parquet", "a Parquet file without rows"),
    ]


def test_our_own_shards_are_a_dataset(tmp_path: Path, finished_build: Path) -> None:
    (folder,) = finished_build.glob("shards/*/parquet")
    reader = reader_of(tmp_path / "x", root=str(folder), format="parquet", resolution=32)
    samples = reader.scan()
    assert len(reader.classes) == 10
    assert samples["id"].is_unique
    assert set(samples["kind"]) == {"original", "randmix", "mix"}
    assert reader.load(samples["source"].iloc[-1]).pixels.shape == (32, 32, 3)


def test_a_column_of_splits_is_told_and_not_heeded(tmp_path: Path) -> None:
    write_file(tmp_path / "pq" / "all.parquet", [0, 0, 0], split=["train", "test", "validation"])
    samples = parquet(tmp_path / "pq").scan()
    assert samples["split"].tolist() == ["train"] * 3
    assert samples["split_"].tolist() == ["train", "test", "validation"]
    (note,) = samples.attrs["notes"]
    assert note.startswith("2 samples are called 'test', 'validation' by 'split_', but taken as 'train'")


def test_text_that_is_no_path_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "pq").mkdir()
    base64 = "iVBORw0KGgoAAAANSUhEUg" + "A" * 5000
    texts = [
        "https://example.org/a.png",
        "s3://bucket/a.png",
        base64,
        "data:image/png;base64," + base64,
        "x" * 5000,
    ]
    table = pa.table({"image": texts, "label": [0] * 5})
    pq.write_table(table, tmp_path / "pq" / "a.parquet")
    reader = parquet(tmp_path / "pq")
    for row, words in enumerate(["only an address", "only an address", *["decode it from base64"] * 3]):
        with pytest.raises(SampleError, match=words):
            reader.load(f"a.parquet#{row}")


def test_a_cache_of_the_library_is_told_how_to_become_parquet(tmp_path: Path) -> None:
    (tmp_path / "pq").mkdir()
    (tmp_path / "pq" / "data-00000-of-00001.arrow").write_bytes(b"ARROW1")
    with pytest.raises(DatasetError, match="write the dataset with `to_parquet`"):
        parquet(tmp_path / "pq").scan()


def test_a_file_that_is_linked_twice_is_told(tmp_path: Path) -> None:
    write_file(tmp_path / "pq" / "blobs" / "a.bin", [0, 1])
    for revision in ("r1", "r2"):
        (tmp_path / "pq" / revision).mkdir()
        (tmp_path / "pq" / revision / "train.parquet").symlink_to("../blobs/a.bin")
    samples = parquet(tmp_path / "pq").scan()
    assert samples["label"].tolist() == [0, 1, 0, 1]
    assert samples.attrs["notes"][0].endswith("r2/train.parquet is the first")


def test_texts_of_every_kind_are_labels(tmp_path: Path) -> None:
    kinds = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
    for i, kind in enumerate(kinds):
        write_file(tmp_path / "pq" / f"{i}.parquet", pa.array(["owl", "cat"]).cast(kind))
    reader = parquet(tmp_path / "pq")
    assert reader.scan()["label"].tolist() == [1, 0] * 4
    assert reader.classes == ("cat", "owl")


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([0, 1], ["cat", "cat"], "two classes of 'label' that are both called 'cat'"),
        (["cat", " "], None, r"missing in 1 samples \(a.parquet#1 is the first"),
    ],
)
def test_names_that_are_none(tmp_path: Path, labels: list[Any], names: list[str] | None, words: str) -> None:
    (tmp_path / "pq").mkdir()
    write_file(tmp_path / "pq" / "a.parquet", pa.array(labels) if names is None else labels, names)
    with pytest.raises(DatasetError, match=words):
        parquet(tmp_path / "pq").scan()


def test_bytes_that_are_a_list_of_numbers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pq").mkdir()
    images = pa.array([{"bytes": [1, 2], "path": "a.png"}])
    pq.write_table(pa.table({"image": images, "label": [0]}), tmp_path / "pq" / "a.parquet")
    with pytest.raises(DatasetError, match="not one image's bytes or path"):
        parquet(tmp_path / "pq").scan()
