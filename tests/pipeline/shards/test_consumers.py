"""Shards are read by other people's libraries, unmodified, and agree with the build."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.build import Build, open_build
from pipeline.store import open_group


@pytest.fixture(scope="module")
def build(finished_build: Path) -> Build:
    return open_build(finished_build)


@pytest.fixture(scope="module")
def shards(build: Build) -> Path:
    return build.shards_path("randmix-mix")


def expected_counts(build: Build) -> dict[str, int]:
    """Originals of both splits, and three variants of each inverted training digit."""
    samples = build.samples()
    inverted = samples[samples["status"] == "ok"]
    train = int((inverted["split"] == "train").sum())
    return {"train": train * 4, "test": len(inverted) - train}


def test_manifest_counts_every_sample(build: Build, shards: Path) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())
    for folder in ("wds", "parquet"):
        counts = {"train": 0, "test": 0}
        for entry in manifest["shards"]:
            if entry["path"].startswith(folder):
                counts[entry["split"]] += entry["samples"]
        assert counts == expected_counts(build)


def test_webdataset_reads_the_tars(build: Build, shards: Path) -> None:
    import webdataset as wds

    for split, count in expected_counts(build).items():
        urls = sorted(str(path) for path in (shards / "wds").glob(f"{split}-*.tar"))
        samples = list(wds.WebDataset(urls, shardshuffle=False).decode("rgb8"))
        assert len(samples) == count
        for sample in samples:
            assert sample["png"].shape == (32, 32, 3)
            assert sample["w.npy"].shape == (8, 16)
            assert sample["cls"] == sample["json"]["label"]
            assert sample["__key__"] == sample["json"]["id"]


def test_plain_tarfile_sees_adjacent_members_in_order(shards: Path) -> None:
    with tarfile.open(shards / "wds" / "train-000000.tar") as tar:
        names = tar.getnames()
        assert all(member.mtime == 0 and member.uid == 0 for member in tar)
    keys = [name.partition(".")[0] for name in names]
    assert [name.partition(".")[2] for name in names] == ["png", "cls", "json", "w.npy"] * (len(names) // 4)
    assert keys == [key for key in dict.fromkeys(keys) for _ in range(4)]


def test_every_json_has_the_same_keys_and_types(shards: Path) -> None:
    shapes = set()
    for path in (shards / "wds").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    facts = json.load(tar.extractfile(member) or io.BytesIO())
                    shapes.add(tuple((key, type(value).__name__) for key, value in facts.items()))
    assert len(shapes) == 1
    assert "NoneType" not in str(shapes)


def test_pyarrow_and_pandas_read_the_parquet(build: Build, shards: Path) -> None:
    for split, count in expected_counts(build).items():
        table = pd.concat(pd.read_parquet(path) for path in sorted((shards / "parquet").glob(f"{split}-*")))
        assert len(table) == count
        assert table["id"].is_unique
    schema = pq.read_schema(next((shards / "parquet").glob("*.parquet")))
    assert [str(schema.field(name).type) for name in ("image", "label", "id")] == [
        "struct<bytes: binary, path: string>",
        "int64",
        "string",
    ]


@pytest.mark.parametrize("folder", ["parquet", "wds"])
def test_hugging_face_reads_both_formats(
    build: Build, shards: Path, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    loaded: Any = datasets.load_dataset(str(shards / folder), cache_dir=str(tmp_path))
    assert {split: len(loaded[split]) for split in loaded} == expected_counts(build)
    sample = loaded["train"][0]
    image, label = ("image", "label") if folder == "parquet" else ("png", "cls")
    assert sample[image].size == (32, 32)
    if folder == "parquet":
        assert loaded["train"].features["label"].names == list("0123456789")
        assert np.array(sample["w"]).shape == (8, 16)
    assert 0 <= int(sample[label]) < 10


def test_the_dataset_card_names_every_split(shards: Path) -> None:
    import yaml

    header = yaml.safe_load((shards / "README.md").read_text().split("---")[1])
    splits = {entry["split"] for entry in header["configs"][0]["data_files"]}
    assert splits == {"train", "test"}
    names = header["dataset_info"]["features"][1]["dtype"]["class_label"]["names"]
    assert names == {str(i): str(i) for i in range(10)}


def test_croissant_validates_and_reads_records(shards: Path) -> None:
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=str(shards / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    record = next(iter(dataset.records("samples")))
    assert record["samples/image"].size == (32, 32)
    assert np.array(record["samples/w"]).size == 8 * 16


def test_timm_and_open_clip_indexes_agree_with_the_tars(build: Build, shards: Path) -> None:
    info = json.loads((shards / "wds" / "_info.json").read_text())["splits"]
    sizes = json.loads((shards / "wds" / "sizes.json").read_text())
    for split, count in expected_counts(build).items():
        assert info[split]["num_samples"] == count == sum(info[split]["shard_lengths"])
        assert info[split]["filenames"] == [f"{split}-{i:06d}.tar" for i in range(len(info[split]["filenames"]))]
        assert [sizes[name] for name in info[split]["filenames"]] == info[split]["shard_lengths"]
        assert max(info[split]["shard_lengths"]) - min(info[split]["shard_lengths"]) <= 1


def test_images_are_the_renderings_of_their_latents(build: Build, shards: Path, tiny: Any) -> None:
    import torch

    from pipeline.generators import load_generator
    from pipeline.images import to_uint8

    generator = load_generator(str(tiny.generator))
    table = pd.read_parquet(next((shards / "parquet").glob("train-*")))
    variants = table[table["kind"] != "original"].head(8)
    w = torch.tensor(np.stack([np.stack(list(rows)) for rows in variants["w"]]))
    rendered = to_uint8(generator.synthesize(w))
    for image, pixels in zip(variants["image"], rendered, strict=True):
        found = np.asarray(Image.open(io.BytesIO(image["bytes"]))).astype(int)
        assert np.abs(found - pixels).max() <= 1


def test_variants_carry_their_source_s_label_and_coarse_layers(build: Build, shards: Path) -> None:
    samples = build.samples().set_index("id")
    row_of = {key: i for i, key in enumerate(samples.index)}
    w: Any = open_group(build.latents_path)["w"]
    table = pd.concat(pd.read_parquet(path) for path in (shards / "parquet").glob("train-*"))
    assert set(table["kind"]) == {"original", "randmix", "mix"}
    for _, row in table.iterrows():
        assert row["label"] == samples.loc[row["source"], "label"]
        latent, source = np.stack(list(row["w"])), w[row_of[row["source"]]]
        np.testing.assert_array_equal(latent[:4], source[:4])
        if row["kind"] == "mix":
            assert row["partner"] != row["source"]
            np.testing.assert_array_equal(latent[4:], w[row_of[row["partner"]]][4:])
        elif row["kind"] == "randmix":
            assert row["partner"] == ""
            assert not np.array_equal(latent[4:], source[4:])
