"""Datasets in miniature, the papers' as published and those of any layout that is read, all the way to shards."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipeline.build import open_build
from tests.conftest import Tiny, run_pipeline, write_manifest
from tests.pipeline.datasets.samples import write_image
from tests.pipeline.datasets.test_celeba import write_celeba, write_celeba_hq
from tests.pipeline.datasets.test_color_mnist import write_mnist
from tests.pipeline.datasets.test_hf_parquet import write_set
from tests.pipeline.datasets.test_lsun import write_database
from tests.pipeline.datasets.test_mixed10 import MEMBERS
from tests.pipeline.datasets.test_tars import samples_of, write_tar


def write_mixed10(root: Path) -> Path:
    for place, (_, wnid, _) in enumerate(MEMBERS):
        for number in range(2):
            write_image(root / "train" / wnid / f"{wnid}_{number}.JPEG", 40, 30, seed=place)
    return root


def write_lsun(root: Path) -> Path:
    write_database(root / "cat_lmdb")
    return root


def write_tree(root: Path) -> Path:
    for split in ("train", "test"):
        for place, kind in enumerate(("cat", "dog")):
            for number in range(3):
                write_image(root / split / kind / f"{number}.png", 40, 30, seed=place)
    return root


def write_tars(root: Path) -> Path:
    write_tar(root / "train-000000.tar", samples_of(0, 6))
    write_tar(root / "validation-000000.tar", samples_of(0, 3))
    return root


SETS: dict[str, tuple[Callable[[Path], Path], dict[str, object], list[str]]] = {
    "celeba": (write_celeba, {"crop": [12, 39, 153, 153]}, ["--label", "Eyeglasses"]),
    "celeba-hq": (write_celeba_hq, {"crop": "none"}, ["--label", "Young"]),
    "lsun": (write_lsun, {"category": "cat"}, []),
    "imagenet-mixed10": (write_mixed10, {"crop": "none", "resize": "bilinear"}, []),
    "color-mnist": (write_mnist, {"sigma": 0.1}, []),
    "folder": (write_tree, {"splits": ["train", "test"]}, []),
    "webdataset": (write_tars, {}, []),
    "parquet": (write_set, {}, []),
}


@pytest.mark.parametrize("name", SETS)
def test_the_whole_way(name: str, tmp_path: Path, tiny: Tiny) -> None:
    write, content, extra = SETS[name]
    root = write(tmp_path / "data")
    manifest = write_manifest(
        tmp_path / "m.toml", name="mini", format=name, resolution=32, root=str(root), **content
    )
    build = tmp_path / "b"
    done = run_pipeline(
        "invert", "--dataset", manifest, "--build", build, *tiny.networks, "--steps", "2", "--limit", "24",
        "--workers", "0", *extra, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    if name == "imagenet-mixed10":
        assert "Note: " in done.err  # fewer images than the paper has
    assert done.json["failed"] == 0
    for command in (
        ["augment", "--mode", "randmix", "--variants", "1", "--build", build, "--workers", "0"],
        ["shard", "--variants", "randmix", "--flagged", "--build", build, "--workers", "0"],
        ["verify", "--build", build],
    ):
        step = run_pipeline(*command)
        assert step.code == 0, step.err
    samples = open_build(build).samples()
    shards = pd.concat(pd.read_parquet(path) for path in build.glob("shards/*/parquet/train-*.parquet"))
    inverted = samples[(samples["status"] == "ok") & (samples["split"] == "train")]
    assert len(shards) == 2 * len(inverted)
    labels = dict(zip(samples["id"], samples["label"], strict=True))
    assert all(label == labels[source] for source, label in zip(shards["source"], shards["label"], strict=True))
    if name == "celeba":
        assert (samples["label"] == samples["Eyeglasses"]).all()
