"""Many samples at once, the split in a path, ids."""

from pathlib import Path

import pytest

from pipeline.datasets.base import LoadedImage
from pipeline.datasets.reading import read_all
from pipeline.datasets.split_names import split_of
from pipeline.errors import SampleError
from tests.pipeline.datasets.samples import reader_of, write_image


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_keep_the_order_and_the_failures(tmp_path: Path, threads: int) -> None:
    root = tmp_path / "images"
    for seed in range(12):
        write_image(root / "cat" / f"{seed:02d}.jpg", seed=seed)
    (root / "cat" / "05.jpg").write_bytes(b"")
    reader = reader_of(root, format="folder")
    found = list(read_all(reader, reader.scan()["source"].tolist(), threads))
    assert isinstance(found[5], SampleError)
    assert str(found[5]) == "the file is empty"
    for seed, image in enumerate(found):
        if seed != 5:
            assert isinstance(image, LoadedImage)
            assert image.sha256 == reader.load(f"cat/{seed:02d}.jpg").sha256


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-000000.tar", "train"),
        ("data/validation-00000-of-00002.parquet", "val"),
        ("test/shard_3.tar", "test"),
        ("val/train-0.tar", "train"),
        ("training_set.tar", "train"),
        ("latest-0.tar", "train"),
        ("contest/test.tar", "test"),
        ("0001.tar", "train"),
    ],
)
def test_the_split_is_in_the_path(path: str, split: str) -> None:
    assert split_of(path) == split
