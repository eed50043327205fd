"""color-digits: the same bytes for ever, biased colours for training, uniform ones for test."""

import hashlib

import numpy as np
import pytest

from pipeline.datasets import load_dataset
from pipeline.datasets.color_digits import upscale_x4
from pipeline.datasets.coloured import MEAN_COLOURS, RGB
from pipeline.errors import ManifestError
from tests.conftest import write_manifest

PIXELS_SHA256 = "a1a6973be1665873cd50dedd1a3343549a5e7ad1e2c54cb0cfb5fe124c416e65"


def test_the_bytes_never_change() -> None:
    _, reader = load_dataset("color-digits")
    digest = hashlib.sha256()
    for source in reader.scan()["source"]:
        digest.update(reader.load(source).pixels.tobytes())
    assert digest.hexdigest() == PIXELS_SHA256


def test_split_and_classes() -> None:
    _, reader = load_dataset("color-digits")
    samples = reader.scan()
    assert samples["split"].value_counts().to_dict() == {"train": 1400, "test": 397}
    assert samples["id"].is_unique
    assert not samples["id"].str.contains(".", regex=False).any()
    assert set(samples["label"]) == set(range(10))
    assert len(reader.classes) == 10
    assert samples[samples["split"] == "test"]["label"].value_counts().min() >= 25


def test_training_colours_are_biased_and_test_colours_are_not() -> None:
    _, reader = load_dataset("color-digits")
    samples = reader.scan()
    colours, labels = samples[["red", "green", "blue"]].to_numpy(), samples["label"].to_numpy()
    train = (samples["split"] == "train").to_numpy()
    distance = np.linalg.norm(colours - MEAN_COLOURS[labels], axis=1)
    assert distance[train].mean() < 60 < distance[~train].mean()
    assert colours[~train].mean() == pytest.approx(127.5, abs=10)
    assert colours[~train].std() == pytest.approx(255 / 12**0.5, abs=5)


def test_sigma_is_a_manifest_key(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "exact.toml"
    content = {"name": "exact", "format": "color-digits", "resolution": 32, "sigma": 0.0}
    _, reader = load_dataset(str(write_manifest(path, **content)))
    samples = reader.scan()
    train = samples[samples["split"] == "train"]
    assert (train[["red", "green", "blue"]].to_numpy() == MEAN_COLOURS[train["label"]]).all()
    with pytest.raises(ManifestError, match=r"sigma.*standard deviation of the training colours"):
        load_dataset(str(write_manifest(path, **(content | {"sigma": -1.0}))))


def test_enlarging_interpolates() -> None:
    digit = np.random.default_rng(0).integers(0, 17, (8, 8))
    large = upscale_x4(digit)
    assert large.min() >= 0
    assert large.max() <= 255
    means = large.reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.corrcoef(means.ravel(), digit.ravel())[0, 1] > 0.95
    assert (upscale_x4(np.full((8, 8), 16)) == 255).all()
    assert (upscale_x4(np.full((8, 8), 4)) == 64).all()


def test_three_colours() -> None:
    samples = load_dataset("color-digits-rgb")[1].scan()
    colours, train = samples[["red", "green", "blue"]].to_numpy(), (samples["split"] == "train").to_numpy()
    own = RGB[samples["label"] % 3]
    assert (colours[train] == own[train]).all()
    assert {tuple(colour) for colour in colours[~train]} == {tuple(colour) for colour in RGB}
    assert 0.2 < (colours[~train] == own[~train]).all(axis=1).mean() < 0.5


def test_colours_that_mean_nothing() -> None:
    biased, samples = (load_dataset(name)[1].scan() for name in ("color-digits", "color-digits-uniform"))
    colours, train = samples[["red", "green", "blue"]], samples["split"] == "train"
    by_class = colours[train].groupby(samples["label"]).mean()
    assert by_class.sub(127.5).abs().max().max() < 30
    assert colours[~train].equals(biased[["red", "green", "blue"]][~train])


@pytest.mark.parametrize(
    ("name", "unbiased", "favoured", "share"),
    [
        ("color-digits-less-biased", "color-digits", [0, 1], 0.9),
        ("color-digits-more-biased", "color-digits", [0], 0.9),
        ("color-digits-rgb-90", "color-digits-rgb", [0, 3, 6, 9], 0.9),
        ("color-digits-rgb-99", "color-digits-rgb", [0, 3, 6, 9], 0.99),
    ],
)
def test_a_biased_generators_training_set_and_the_same_test_digits(
    name: str, unbiased: str, favoured: list[int], share: float
) -> None:
    (whole, everything), (biased, some) = (
        (reader.scan(), reader) for _, reader in (load_dataset(unbiased), load_dataset(name))
    )
    train, all_train = (table[table["split"] == "train"] for table in (biased, whole))
    counts = train["label"].value_counts()
    assert counts[favoured].sum() / len(train) == pytest.approx(share, abs=0.01)
    assert (counts[favoured] == all_train["label"].value_counts()[favoured]).all()
    assert biased[biased["split"] == "test"]["id"].tolist() == whole[whole["split"] == "test"]["id"].tolist()
    source = train["source"].iloc[-1]
    assert (some.load(source).pixels == everything.load(source).pixels).all()
