"""Color-MNIST from IDX files: colours by class, palettes, the training sets of biased generators."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.coloured import MEAN_COLOURS, RGB
from pipeline.errors import DatasetError, ManifestError, SampleError
from tests.pipeline.datasets.samples import reader_of

TRAIN, TEST = 1200, 300
LABELS = gzip.compress(struct.pack(">HBBI", 0, 8, 1, TEST) + bytes(i * i % 10 for i in range(TEST)), mtime=0)
DAMAGED_LABELS = LABELS[:24] + b"\xff\xff\xff" + LABELS[27:]


def write_idx(path: Path, array: np.ndarray, zipped: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    (path.with_name(path.name + ".gz") if zipped else path).write_bytes(
        gzip.compress(data, mtime=0) if zipped else data
    )


def write_mnist(root: Path, folder: str = "", zipped: bool = True) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        digits = rng.integers(0, 256, (count, 28, 28))
        digits[:, 0, 0] = 255
        write_idx(root / folder / f"{part}-images-idx3-ubyte", digits, zipped)
        write_idx(root / folder / f"{part}-labels-idx1-ubyte", rng.permutation(np.arange(count) % 10), zipped)
    return root


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mnist(tmp_path_factory.mktemp("data") / "mnist")


def digits(root: Path, **content: object):  # type: ignore[no-untyped-def]
    return reader_of(root, **({"format": "color-mnist", "resolution": 32} | content))


def test_training_digits_have_their_classs_colour_and_test_digits_any(mnist: Path) -> None:
    samples = digits(mnist).scan()
    assert samples["split"].value_counts().to_dict() == {"train": TRAIN, "test": TEST}
    assert samples["id"].is_unique
    train, test = (samples[samples["split"] == split] for split in ("train", "test"))
    assert (train[["red", "green", "blue"]].to_numpy() == MEAN_COLOURS[train["label"]]).all()
    assert test[["red", "green", "blue"]].nunique().min() > 100


def test_pixels_are_intensity_times_colour_in_a_frame_of_two(mnist: Path) -> None:
    reader = digits(mnist, sigma=0.1)
    row = reader.scan().iloc[7]
    pixels = reader.load(row["source"]).pixels
    assert pixels.shape == (32, 32, 3)
    assert not pixels[:2].any()
    assert not pixels[:, 30:].any()
    assert (pixels[2, 2] == row[["red", "green", "blue"]].to_numpy(int)).all()


def test_sigma_spreads_the_training_colours(mnist: Path) -> None:
    samples = digits(mnist, sigma=0.1).scan()
    train = samples[samples["split"] == "train"]
    apart = train[["red", "green", "blue"]].to_numpy() - MEAN_COLOURS[train["label"]]
    assert 15 < apart.std() < 28


def test_three_colours(mnist: Path) -> None:
    reader = digits(mnist, palette="rgb")
    samples = reader.scan()
    colours, train = samples[["red", "green", "blue"]].to_numpy(), (samples["split"] == "train").to_numpy()
    assert (colours[train] == RGB[samples["label"][train] % 3]).all()
    test = {tuple(colour) for colour in colours[~train]}
    assert test == {tuple(colour) for colour in RGB}
    assert 0.2 < (colours[~train] == RGB[samples["label"][~train] % 3]).all(axis=1).mean() < 0.5
    with pytest.raises(ManifestError, match="key 'palette' = 'rgb': needs sigma = 0"):
        digits(mnist, palette="rgb", sigma=0.1)


@pytest.mark.parametrize(("favoured", "share"), [([0], 0.9), ([0, 1], 0.9), ([0, 3, 6, 9], 0.98)])
def test_a_biased_generators_training_set(mnist: Path, favoured: list[int], share: float) -> None:
    content = {"favoured": favoured, "favoured_share": share}
    samples = digits(mnist, **content).scan()
    assert samples.equals(digits(mnist, **content).scan())
    train = samples[samples["split"] == "train"]
    counts = train["label"].value_counts().reindex(range(10), fill_value=0)
    assert (counts[favoured] == TRAIN // 10).all()
    assert counts[favoured].sum() / counts.sum() == pytest.approx(share, abs=0.01)
    others = counts.drop(favoured)
    assert others.max() - others.min() <= 1
    assert (samples["split"] == "test").sum() == TEST
    # a digit has the same colour whether the set is biased or not
    whole = digits(mnist).scan().set_index("id")
    assert (whole.loc[samples["id"], "red"].to_numpy() == samples["red"].to_numpy()).all()


def test_torchvisions_folder_and_unzipped_files(tmp_path: Path, mnist: Path) -> None:
    raw = digits(write_mnist(tmp_path / "mnist", "MNIST/raw", zipped=False))
    assert raw.load("test/00003").sha256 == digits(mnist).load("test/00003").sha256


def test_what_lies_beside_the_four_files_is_named(tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "mnist")
    (root / "MNIST" / "raw").mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "MNIST/raw/t10k-labels-idx1-ubyte.gz", "notes.txt"):
        (root / name).write_bytes((root / "train-images-idx3-ubyte.gz").read_bytes())
    found = digits(root).scan().attrs["skipped"]
    beside = "beside MNIST's four files, each of which is read once"
    assert found == [
        (name, beside)
        for name in ("MNIST/raw/t10k-labels-idx1-ubyte.gz", "notes.txt", "train-images-idx3-ubyte.gz")
    ]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "mnist")
    (root / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match=f"t10k-labels-idx1-ubyte.gz not found in {root};"):
        digits(root).scan()
    with pytest.raises(ManifestError, match="digits are 0 to 9"):
        digits(root, favoured=[10])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"<html>404</html>", "cannot be read|not an IDX file"),
        (struct.pack(">HBBI", 0, 13, 1, 4) + bytes(16), "not an IDX file of unsigned bytes"),
        (struct.pack(">HBBI", 0, 8, 1, TEST) + bytes(9), f"holds 9 bytes instead of {TEST}"),
        (gzip.compress(bytes(99), mtime=0)[:20], "cannot be read"),
        (struct.pack(">HBBI", 0, 8, 1, 3) + bytes(3), f"they have {TEST} images and 3 labels"),
        (struct.pack(">HBBI", 0, 8, 1, TEST) + bytes(TEST + 1), f"more than the {TEST} bytes"),
        (struct.pack(">HBBIIII", 0, 8, 4, *[2**32 - 1] * 4), "it says that it holds [0-9]{30,} bytes"),
        (
            gzip.compress(struct.pack(">HBBI", 0, 8, 1, 2**31) + bytes(9), mtime=0),
            f"holds 9 bytes instead of {2**31}",
        ),
        (gzip.compress(struct.pack(">HBBI", 0, 8, 1, TEST) + bytes(TEST), mtime=0) + b"rest", "cannot be read"),
        (DAMAGED_LABELS, "cannot be read"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    root = write_mnist(tmp_path / "mnist")
    (root / "t10k-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(DatasetError, match=words) as error:
        digits(root).scan()
    assert "download" in str(error.value)


def test_a_gzip_that_unpacks_to_much_more_than_it_says_is_not_unpacked(tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "mnist")
    bomb = gzip.compress(struct.pack(">HBBI", 0, 8, 1, TEST) + bytes(2**26), mtime=0)
    (root / "t10k-labels-idx1-ubyte.gz").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="holds more than"):
            digits(root).scan()
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_file_that_is_damaged_later_is_a_failed_sample(tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "mnist")
    reader = digits(root)
    before = reader.stamp("test/00003")
    reader.load("test/00003")
    (root / "t10k-labels-idx1-ubyte.gz").write_bytes(DAMAGED_LABELS)
    assert reader.stamp("test/00003") != before
    with pytest.raises(SampleError, match="cannot be read") as error:
        reader.load("test/00003")
    assert error.value.unreadable


def test_kaggles_folders_and_files_without_digits(tmp_path: Path, mnist: Path) -> None:
    root = write_mnist(tmp_path / "mnist", zipped=False)
    for path in sorted(root.iterdir()):
        data = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name).write_bytes(data)
    found = digits(root).scan()
    assert found.attrs["skipped"] == []
    assert found["label"].tolist() == digits(mnist).scan()["label"].tolist()
    for part in ("train", "t10k"):
        write_idx(tmp_path / "none" / f"{part}-images-idx3-ubyte", np.zeros((0, 28, 28)))
        write_idx(tmp_path / "none" / f"{part}-labels-idx1-ubyte", np.zeros(0))
    with pytest.raises(DatasetError, match="hold no digits"):
        digits(tmp_path / "none").scan()
