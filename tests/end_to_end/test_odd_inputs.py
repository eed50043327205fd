"""Odd datasets that people bring, from the command line to shards: what comes out is right, the rest is told."""

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import Tiny, run_pipeline, write_manifest
from tests.pipeline.datasets.samples import encoded
from tests.pipeline.datasets.test_tars import write_tar

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
Found = Counter[tuple[str, str, str]]  # split, name of the class, colour


def picture(colour: str, kind: str = "PNG") -> bytes:
    return encoded(Image.new("RGB", (32, 32), COLOURS[colour]), kind)


def put(path: Path, data: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def rows(path: Path, images: list[object], labels: list[object], **more: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": labels, **more}), path)


@dataclass(frozen=True)
class Odd:
    """A dataset, and what it should become.

    Attributes:
        write: makes its files.
        content: of its manifest.
        becomes: SPLIT/CLASS/COLOUR of every image in the shards.
        failed: words of the reasons of failed samples.
        skipped: words of each row of skipped.csv.
        told: words of notes.
        error: words of the one sentence that refuses it.
    """

    write: Callable[[Path], None]
    content: dict[str, object]
    becomes: str = ""
    failed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    error: str = ""


def split_that_is_a_link(root: Path) -> None:
    for split, kind, colour in (("v2", "cat", "red"), ("v2", "dog", "green"), ("test", "cat", "red")):
        put(root / split / kind / "a.png", picture(colour))
    (root / "train").symlink_to("v2")


def cloud_and_copies(root: Path) -> None:
    for name in ("a.png", "a (1).png", "a - Copy.PNG", "a_1_.png"):
        put(root / "cat" / name, picture("red"))
    put(root / "cat" / "placeholder.jpg", bytes(4096))
    put(root / "cat" / "pointer.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    put(root / "cat" / "page.jpg", b"<!DOCTYPE html><html>404</html>")
    put(root / "dog" / "really.png", picture("green", "WEBP"))
    for name in (".b.jpg.icloud", "c.jpg.part", "Thumbs.db", "d.heic", "e.jpg?raw=true"):
        put(root / "cat" / name)


def domains(root: Path) -> None:
    for name in ("trainA", "trainB", "testA", "testB"):
        put(root / name / "a.png", picture("red"))


def folder_around_classes(root: Path) -> None:
    for number, colour in (("9", "red"), ("10", "green")):
        put(root / "all" / number / "a.png", picture(colour))


def numbers(root: Path) -> None:
    for number, colour in (("9", "red"), ("10", "green"), ("007", "blue")):
        put(root / number / "a.png", picture(colour))


def img2dataset(root: Path) -> None:
    members = {}
    for i, (name, colour) in enumerate((("cat", "red"), ("Cat", "red"), ("dog", "green"))):
        members[f"{i:09d}.jpg"] = picture(colour, "JPEG")
        members[f"{i:09d}.json"] = json.dumps({"kind": name, "status": "success", "exif": None, "n": i}).encode()
        members[f"{i:09d}.txt"] = b"a caption"
    members["000000003.json"] = b'{"kind": "cat", "status": "failed"}'
    write_tar(root / "test (1).tar", members)


def splits_inside_of_a_tar(root: Path) -> None:
    members = {}
    for split, label, colour in (("train", b"1", "red"), ("test", b"2", "green")):
        members |= {f"{split}/{colour}.png": picture(colour), f"{split}/{colour}.cls": label}
    write_tar(root / "all.tar", members)
    write_tar(root / "none.tar", {})


def column_of_splits(root: Path) -> None:
    images = [picture("red"), picture("green"), None, "https://a.org/b.png"]
    rows(root / "a.parquet", images[:3], ["cat", "dog", "cat"], split=["train", "test", "train"])
    rows(root / "b.parquet", images[3:], ["cat"])


def partitions(root: Path) -> None:
    rows(root / "split=train" / "0.parquet", [picture("red"), picture("green")], ["cat", "dog"])
    rows(root / "split=test" / "0.parquet", [picture("red")], ["cat"])


def range_of_bytes(root: Path) -> None:
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        with h5py.File(root / split / "0.h5", "w") as file:
            file["images"] = np.full((2, 3, 32, 32), 200.0, np.float32)
            file["latents"] = np.zeros((2, 8, 16), np.float32)


def fewer_latents(root: Path) -> None:
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        with h5py.File(root / split / "0.h5", "w") as file:
            file["images"] = np.tile(np.reshape([1, -1, -1], (1, 3, 1, 1)), (2, 1, 32, 32)).astype(np.float32)
            file["latents"] = np.zeros((1, 8, 16), np.float32)


def nothing_but_failures(root: Path) -> None:
    put(root / "cat" / "a.png")
    put(root / "cat" / "b.png", picture("red")[:-20])


SETS = {
    "a split is a link": Odd(
        split_that_is_a_link,
        {"splits": ["train", "test"]},
        becomes="train/cat/red train/dog/green test/cat/red",
        skipped=("another name",),
        told=("'test' has no images of some classes: 'dog'",),
    ),
    "cloud and copies": Odd(
        cloud_and_copies,
        {},
        becomes="train/cat/red train/cat/red train/cat/red train/cat/red train/dog/green",
        failed=("nothing but zeros", "Git LFS", "web page"),
        skipped=("hidden", "suffix", "left there", "kind of picture", "suffix"),
    ),
    "domains": Odd(domains, {}, error='splits = ["trainA", "trainB", "testA", "testB"]'),
    "folder around classes": Odd(
        folder_around_classes, {}, "train/all/red train/all/green", told=("lie in folders of its own ('10', '9')",)
    ),
    "numbers": Odd(
        numbers, {}, "train/9/red train/10/green train/007/blue", told=("'9' has the label 2",)
    ),
    "img2dataset": Odd(
        img2dataset,
        {"format": "webdataset", "label": "kind"},
        becomes="test/cat/red test/Cat/red test/dog/green",
        skipped=("neither a picture",) * 3 + ("belongs to no picture",),
        told=("'Cat', 'cat' differ only in case",),
    ),
    "splits inside of a tar": Odd(
        splits_inside_of_a_tar,
        {"format": "webdataset"},
        becomes="train/1/red train/2/green",
        skipped=("without pictures",),
        told=("1 samples lie in folders called like splits ('test')", "keep their numbers: '0'"),
    ),
    "column of splits": Odd(
        column_of_splits,
        {"format": "parquet"},
        becomes="train/cat/red train/dog/green",
        failed=("no image", "only an address"),
        told=("1 samples are called 'test' by 'split_', but taken as 'train'",),
    ),
    "partitions": Odd(
        partitions,
        {"format": "parquet"},
        becomes="train/cat/red train/dog/green test/cat/red",
        told=("'test' has no images",),
    ),
    "range of bytes": Odd(range_of_bytes, {"format": "dmat"}, error="from 200 to 200, and not from -1 to 1"),
    "fewer latents": Odd(
        fewer_latents,
        {"format": "dmat"},
        becomes="train/0/red test/0/red",
        failed=("row 1 of 'latents'", "row 1 of 'latents'"),
        told=("train/0.h5 has 2 images and 1 latents", "test/0.h5 has 2 images and 1 latents"),
    ),
    "nothing but failures": Odd(nothing_but_failures, {}, failed=("empty", "cut in its IDAT")),
}  # fmt: skip


def shards_of(build: Path) -> Found:
    """What each image in the shards is said to be, and its colour."""
    found: Found = Counter()
    for path in build.glob("shards/*/parquet/*.parquet"):
        table = pq.read_table(path)
        names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
        for row in table.to_pylist():
            pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB"), np.int64)
            mean = pixels.mean(axis=(0, 1))
            colour = min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))
            found[path.name.partition("-")[0], names[row["label"]], colour] += 1
    return found


@pytest.mark.parametrize("name", SETS)
def test_an_odd_dataset_is_right_or_told(name: str, tmp_path: Path, tiny: Tiny) -> None:
    odd = SETS[name]
    odd.write(tmp_path / "odd")
    content = {"format": "folder", "resolution": 32, "root": "odd"} | odd.content
    manifest, build = write_manifest(tmp_path / "odd.toml", name="odd", **content), tmp_path / "build"
    options = ["--steps", "1", "--workers", "0"]
    done = run_pipeline("invert", "--dataset", manifest, "--build", build, *tiny.networks, *options)
    if odd.error:
        assert done.code == 2
        assert odd.error in done.err
        lines = [line for line in done.err.splitlines() if not line.startswith(("Note: ", "invert: "))]
        assert len(lines) == 1, done.err
        return
    assert done.code == 0, done.err
    notes = [line for line in done.err.splitlines() if line.startswith("Note: ") and "not taken from" not in line]
    assert len(notes) == len(odd.told), notes
    for words in odd.told:
        assert any(words in note for note in notes), notes
    samples = pd.read_parquet(build / "samples.parquet")
    reasons = samples.loc[samples["status"] == "failed", "error"].tolist()
    told = pd.read_csv(build / "skipped.csv")["reason"].tolist() if (build / "skipped.csv").exists() else []
    for expected, found in ((odd.failed, reasons), (odd.skipped, told)):
        assert len(found) == len(expected), found
        assert all(sum(words in text for text in found) >= expected.count(words) for words in expected), found
    packed = run_pipeline("shard", "--build", build, "--format", "parquet", "--workers", "0")
    if odd.becomes:
        assert packed.code == 0, packed.err
        assert shards_of(build) == Counter(tuple(each.split("/")) for each in odd.becomes.split())
    else:
        assert packed.code == 2
        assert "all samples of" in packed.err
