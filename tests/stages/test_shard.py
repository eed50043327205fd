"""Shard sets: what they hold, and what is refused."""

import io
import json
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.build import open_build
from tests.conftest import run_pipeline


def shard(build: Path, *extra: str) -> pd.DataFrame:
    """Make a set named `set` and read its Parquet back."""
    done = run_pipeline("shard", "--build", build, "--name", "set", "--workers", "0", "--fresh", *extra)
    assert done.code == 0, done.err
    folder = build / "shards" / "set" / "parquet"
    return pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("*.parquet")))


@pytest.fixture(scope="module")
def build(finished_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to make shard sets in."""
    import shutil

    target = tmp_path_factory.mktemp("shard") / "b"
    shutil.copytree(finished_build, target)
    return target


def test_base_alone(build: Path) -> None:
    table = shard(build, "--variants", "none", "--base", "reconstruction", "--min-shards", "1")
    assert set(table["kind"]) == {"reconstruction"}
    assert len(table) == 48


def test_variants_alone_without_latents(build: Path) -> None:
    table = shard(build, "--variants", "mix", "--base", "none", "--no-latents")
    assert set(table["kind"]) == {"mix"}
    assert "w" not in table.columns
    assert not list((build / "shards" / "set" / "wds").glob("test-*"))


def test_one_format_only(build: Path) -> None:
    shard(build, "--variants", "mix", "--format", "parquet")
    assert not (build / "shards" / "set" / "wds").exists()


def test_the_order_is_shuffled_by_the_seed(build: Path) -> None:
    mix = ("--variants", "mix", "--format", "parquet")
    one = shard(build, *mix)["id"].tolist()
    again = shard(build, *mix)["id"].tolist()
    other = shard(build, *mix, "--seed", "1")["id"].tolist()
    assert one == again
    assert one != other
    assert sorted(one) == sorted(other)
    labels = [key.split("-")[1] for key in one if key.startswith("digit")]
    assert labels != sorted(labels)


def test_files_of_another_layout_are_removed(build: Path) -> None:
    shard(build, "--variants", "mix", "--samples-per-shard", "10")
    many = len(list((build / "shards" / "set" / "wds").glob("*.tar")))
    shard(build, "--variants", "mix", "--min-shards", "1")
    assert len(list((build / "shards" / "set" / "wds").glob("*.tar"))) == 2 < many
    assert run_pipeline("verify", "--build", build).code == 0


def test_the_manifest_names_the_settings_by_their_key(build: Path) -> None:
    shard(build, "--variants", "mix")
    manifest = json.loads((build / "shards" / "set" / "manifest.json").read_text())
    record = json.loads((build / ".ledger" / "shard" / "set" / "000000.json").read_text())
    assert manifest["build_key"] == record["key"]
    assert {entry["path"] for entry in manifest["others"]} >= {"README.md", "croissant.json", "wds/_info.json"}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ([], "which variants? name some with --variants; here are: mix, randmix"),
        (["--variants", "natra"], "no variant set named natra"),
        (["--variants", "mix", "--format", "zip"], "known formats are webdataset, parquet, dmat"),
        (["--variants", "none", "--base", "none"], "nothing to put into shards"),
        (["--variants", "mix", "--name", ".."], "cannot be a name"),
    ],
)
def test_bad_settings(finished_build: Path, extra: list[str], words: str) -> None:
    done = run_pipeline("shard", "--build", finished_build, "--workers", "0", *extra)
    assert done.code == 2
    assert words in done.err


def test_the_originals_and_one_file_a_class(build: Path) -> None:
    table = shard(build, "--variants", "mix", "--base", "reconstruction", "--originals",
                  "--format", "parquet,webdataset,dmat")  # fmt: skip
    samples = pd.read_parquet(build / "samples.parquet").set_index("id")
    reader = open_build(build).reader
    for _, row in table.iloc[::7].iterrows():
        pixels = np.asarray(Image.open(io.BytesIO(row["original"]["bytes"])))
        np.testing.assert_array_equal(pixels, reader.load(samples.loc[row["source"], "source"]).pixels)
    assert set(table["kind"]) == {"reconstruction", "mix"}
    folder = build / "shards" / "set" / "dmat"
    for split in ("train", "test"):
        of_split = table[table["source"].map(samples["split"]) == split]
        counts = {int(path.stem): len(h5py.File(path)["images"]) for path in (folder / split).glob("*.h5")}
        assert counts == of_split["label"].value_counts().to_dict()
    assert run_pipeline("verify", "--build", build).code == 0
    with tarfile.open(next((build / "shards" / "set" / "wds").glob("*.tar"))) as tar:
        first = tar.getnames()[:5]
    assert [name.split(".", 1)[1] for name in first] == ["png", "cls", "json", "w.npy", "original.png"]
