"""Names of any length and letters go the whole way from a tar to shards that every consumer reads."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.build import open_build
from stages.shard.naming import Naming
from tests.conftest import Tiny, run_pipeline, write_manifest

RED, BLUE = (220, 30, 30), (30, 30, 220)
LONG = "n" * 150
KEYS = [LONG + "1", LONG + "2", "Case", "case", "猫", "犬", "scan_0.5mm", "scan_0.7mm", "plain", "plain-mix-0"]


def picture(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def shards(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of ten pictures, red cats and blue dogs by turns, each with its own pixels and a variant."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "pets").mkdir()
    with tarfile.open(folder / "pets" / "a.tar", "w") as tar:
        for i, key in enumerate(KEYS):
            for suffix, data in (("png", picture((RED, BLUE)[i % 2])), ("cls", (b"cat", b"dog")[i % 2])):
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    manifest = write_manifest(folder / "pets.toml", name="pets", format="webdataset", resolution=32, root="pets")
    long = "x" * 100
    for arguments in (
        ["invert", "--dataset", manifest, *tiny.networks, "--steps", "1"],
        ["augment", "--mode", "mix", "--variants", "1", "--name", "mix"],
        ["augment", "--mode", "randmix", "--variants", "1", "--name", long],
        ["shard", "--variants", f"mix,{long}", "--originals", "--flagged", "--min-shards", "1"],
    ):
        done = run_pipeline(*arguments, "--build", folder / "b", "--workers", "0")
        assert done.code == 0, done.err
    (made,) = [path for path in (folder / "b" / "shards").iterdir() if path.is_dir()]
    return made


def is_named_right(original: Any, name: Any) -> bool:
    """Whether the picture is red and a cat, or blue and a dog."""
    red, _, blue = np.asarray(original).reshape(-1, 3).mean(axis=0)
    return ("cat" if red > blue else "dog") == name


def test_ids_are_short_and_apart(shards: Path) -> None:
    ids = open_build(shards.parents[1]).samples("id")["id"]
    assert ids.str.fullmatch("[A-Za-z0-9_-]{1,80}").all()
    assert ids.str.lower().is_unique
    assert ids.tolist()[6:] == ["train-scan_0_5mm", "train-scan_0_7mm", "train-plain", "train-plain-mix-0"]


def test_tarfile_and_webdataset_read_every_sample(shards: Path) -> None:
    import webdataset as wds

    (path,) = (shards / "wds").glob("*.tar")
    with tarfile.open(path) as tar:
        names = tar.getnames()
        assert not tar.pax_headers
    assert max(map(len, names)) <= 100
    assert Counter(name.partition(".")[2] for name in names) == dict.fromkeys(
        ("png", "cls", "json", "w.npy", "original.png"), 30
    )
    samples = list(wds.WebDataset(str(path), shardshuffle=False).decode("rgb8"))
    assert len({sample["__key__"].lower() for sample in samples}) == 30
    for sample in samples:
        assert sample["__key__"] == sample["json"]["id"]
        assert is_named_right(sample["original.png"], sample["json"]["class"])


def test_hugging_face_and_pandas_read_every_sample(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    table = pd.concat(map(pd.read_parquet, (shards / "parquet").glob("*.parquet")))
    assert table["id"].str.lower().is_unique
    assert len(table) == 30
    loaded: Any = datasets.load_dataset(str(shards / "parquet"), cache_dir=str(tmp_path))["train"]
    assert all(is_named_right(row["original"], loaded.features["label"].names[row["label"]]) for row in loaded)
    tars: Any = datasets.load_dataset(str(shards / "wds"), cache_dir=str(tmp_path))["train"]
    assert {row["__key__"] for row in tars} == set(table["id"])


def test_shards_of_shards_keep_labels_and_names_apart(shards: Path, tmp_path: Path, tiny: Tiny) -> None:
    manifest = write_manifest(
        tmp_path / "again.toml",
        name="again",
        format="webdataset",
        resolution=32,
        root=str(shards / "wds"),
        label="class",
    )
    for arguments in (
        ["invert", "--dataset", manifest, *tiny.networks, "--steps", "1", "--limit", "8"],
        ["shard", "--variants", "none", "--format", "webdataset"],
    ):
        done = run_pipeline(*arguments, "--build", tmp_path / "b", "--workers", "0")
        assert done.code == 0, done.err
    samples = open_build(tmp_path / "b").samples()
    right = 0
    for path in (tmp_path / "b" / "shards").glob("*/wds/*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    facts = json.load(tar.extractfile(member) or io.BytesIO())
                    (row,) = samples[samples["id"] == facts["id"]].to_dict("records")
                    right += facts["class"] == row["class"]
    assert right == 8


def test_names_that_could_be_others_are_told_apart() -> None:
    naming = Naming(["x", "x-y", "x-mix-1"], ["mix", "y-mix", "MIX"])
    assert naming.name("x", "", -1) == "x"
    assert naming.name("x", "mix", 0) == "x-mix-0"
    assert naming.name("x", "mix", 1).startswith("x-mix-1-")
    names = [naming.name("x", "y-mix", 0), naming.name("x-y", "mix", 0), naming.name("x-y", "MIX", 0)]
    assert len({name.lower() for name in names}) == 3
