"""Parquet as Hugging Face writes it: class names from its metadata, images by row group."""

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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


def test_our_own_shards_are_a_dataset(tmp_path: Path, finished_build: Path) -> None:
    (folder,) = finished_build.glob("shards/*/parquet")
    reader = reader_of(tmp_path / "x", root=str(folder), format="parquet", resolution=32)
    samples = reader.scan()
    assert len(reader.classes) == 10
    assert samples["id"].is_unique
    assert reader.load(samples["source"].iloc[-1]).pixels.shape == (32, 32, 3)
