"""What was inverted is what later stages use, whatever becomes of the dataset; the next `invert` takes it in."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.build import open_build
from pipeline.kept import kept_write
from pipeline.listing import create_build
from pipeline.store import read_rows, write_rows
from tests.conftest import Finished, Tiny, differing, run_pipeline, tree_digest, write_manifest

RED, BLUE, GREEN = (220, 30, 30), (30, 30, 220), (30, 200, 30)
COLOURS = {"cat": RED, "dog": BLUE}


def paint(path: Path, colour: tuple[int, int, int], shade: int = 0) -> Path:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), tuple(max(0, part - shade) for part in colour)).save(path)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Manifest of six red cats and six blue dogs."""
    for name, colour in COLOURS.items():
        for number in range(6):
            paint(tmp_path / "pets" / name / f"{number}.png", colour, 4 * number)
    return write_manifest(tmp_path / "pets.toml", name="pets", format="folder", resolution=32, root="pets")


@pytest.fixture
def invert(tiny: Tiny, pets: Path) -> Callable[..., Finished]:
    """Inverts the pets in chunks of four."""

    def run(*extra: str) -> Finished:
        return run_pipeline(
            "invert", "--dataset", pets, "--build", pets.parent / "b", *tiny.networks, "--steps", "2",
            "--chunk-size", "4", "--workers", "0", "--json", *extra,
        )  # fmt: skip

    return run


def shard(build: Path, *extra: str) -> Finished:
    return run_pipeline(
        "shard", "--build", build, "--variants", "none", "--format", "parquet", "--workers", "0", "--json", *extra
    )


def packed(build: Path, name: str = "original") -> pd.DataFrame:
    """Everything in a shard set, with the mean colour of each image."""
    files = sorted((build / "shards" / name / "parquet").glob("*.parquet"))
    names = json.loads(pq.read_schema(files[0]).metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    table = pd.concat([pd.read_parquet(file) for file in files])
    pixels = [np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in table["image"]]
    table["class"] = [names[label] for label in table["label"]]
    return table.assign(colour=[tuple(int(part) for part in each[0, 0]) for each in pixels]).set_index("id")


def test_a_class_folder_made_later_shifts_no_label(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    assert invert().code == 0
    (pets.parent / "pets" / "ant").mkdir()
    (pets.parent / "pets" / "catfish").mkdir()
    assert shard(build).code == 0
    found = packed(build)
    assert len(found) == 12
    for sample, row in found.iterrows():
        assert row["class"] == str(sample).split("-")[1]
        assert row["colour"][0 if row["class"] == "cat" else 2] > 150
    assert invert().code == 0
    assert open_build(build).classes[:2] == ("cat", "dog")


def test_a_changed_source_is_refused_and_then_inverted_alone(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    before = read_rows(build / "latents.zarr", ["w"], 0, 12)["w"]
    for number in (1, 2):
        paint(pets.parent / "pets" / "cat" / f"{number}.png", GREEN)
    refused = shard(build)
    assert refused.code == 2
    assert "2 source images (train-cat-1, train-cat-2) changed since they were inverted" in refused.err
    assert "pipeline invert --build" in refused.err
    assert not (build / "shards" / "original" / "manifest.json").exists()
    again = invert()
    assert again.json["computed"] == 2
    assert "2 changed, to be inverted again (train-cat-1, train-cat-2)" in again.err
    after = read_rows(build / "latents.zarr", ["w"], 0, 12)["w"]
    assert np.flatnonzero((before != after).any(axis=(1, 2))).tolist() == [1, 2]
    assert shard(build).code == 0
    assert packed(build).loc["train-cat-1", "colour"] == GREEN
    assert invert().json["computed"] == 0
    assert run_pipeline("verify", "--build", build).code == 0


def test_the_same_bytes_at_another_time_are_the_same_source(invert: Callable[..., Finished], pets: Path) -> None:
    invert()
    os.utime(pets.parent / "pets" / "cat" / "1.png", (1, 1))
    assert shard(pets.parent / "b").code == 0
    assert invert().json["computed"] == 0


def test_a_change_that_keeps_size_and_time_is_seen(invert: Callable[..., Finished], pets: Path) -> None:
    path = pets.parent / "pets" / "cat" / "1.png"
    invert()
    times, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-20] + bytes(8) + data[-12:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "changed since it was inverted" in shard(pets.parent / "b").err


def test_a_source_that_is_gone_is_left_out_by_name(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    (pets.parent / "pets" / "dog" / "3.png").unlink()
    done = shard(build)
    assert done.code == 0, done.err
    assert "1 source image (train-dog-3) cannot be read any more" in done.err
    assert sorted(set(open_build(build).samples("id")["id"]) - set(packed(build).index)) == ["train-dog-3"]
    again = invert()
    assert again.json["computed"] == 0
    assert "1 gone from the dataset, so left out from now on (train-dog-3)" in again.err
    assert open_build(build).samples("status")["status"].tolist() == ["ok"] * 9 + ["gone"] + ["ok"] * 2
    paint(pets.parent / "pets" / "dog" / "3.png", BLUE, 12)
    back = invert()
    assert back.json["computed"] == 0
    assert "1 there again (train-dog-3)" in back.err
    assert shard(build).code == 0
    assert len(packed(build)) == 12


def test_stored_originals_need_no_source(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert("--store-images")
    paint(pets.parent / "pets" / "cat" / "1.png", GREEN)
    (pets.parent / "pets" / "dog" / "3.png").unlink()
    assert shard(build).code == 0
    found = packed(build)
    assert len(found) == 12
    assert found.loc["train-cat-1", "colour"] == (216, 26, 26)


def test_a_dataset_that_is_away_changes_nothing(invert: Callable[..., Finished], pets: Path) -> None:
    build, folder = pets.parent / "b", pets.parent / "pets"
    invert()
    folder.rename(pets.parent / "elsewhere")
    assert "none of the 12 source images can be read" in shard(build).err
    assert invert().code == 2
    for name in ("bird", "fish"):
        paint(folder / name / "1.png", GREEN)
    assert "holds none of the 12 samples of this build" in invert().err
    assert set(open_build(build).samples("status")["status"]) == {"ok"}


def test_another_root_of_the_same_data_goes_on(invert: Callable[..., Finished], pets: Path) -> None:
    invert()
    (pets.parent / "pets").rename(pets.parent / "moved")
    write_manifest(pets, name="pets", format="folder", resolution=32, root="moved")
    assert invert().json["computed"] == 0
    assert shard(pets.parent / "b").code == 0
    assert open_build(pets.parent / "b").info()["dataset"]["root"].endswith("moved")


def test_new_samples_come_last_and_keep_the_numbers_of_classes(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    before = read_rows(build / "latents.zarr", ["w"], 0, 12)["w"]
    paint(pets.parent / "pets" / "ant" / "0.png", GREEN)
    paint(pets.parent / "pets" / "cat" / "00.png", RED)
    again = invert()
    assert again.json["computed"] == 2
    assert "2 new (train-ant-0, train-cat-00)" in again.err
    samples = open_build(build).samples()
    assert open_build(build).classes == ("cat", "dog", "ant")
    assert samples["id"].tolist()[:2] == ["train-cat-0", "train-cat-1"]
    assert samples["id"].tolist()[12:] == ["train-ant-0", "train-cat-00"]
    assert samples["label"].tolist() == [0] * 6 + [1] * 6 + [2, 0]
    np.testing.assert_array_equal(read_rows(build / "latents.zarr", ["w"], 0, 14)["w"][:12], before)
    assert np.isfinite(read_rows(build / "latents.zarr", ["w"], 12, 14)["w"]).all()
    assert read_rows(build / "latents.zarr", ["label"], 0, 14)["label"].tolist() == samples["label"].tolist()
    assert shard(build).code == 0
    assert packed(build).loc["train-ant-0", ["class", "colour"]].tolist() == ["ant", GREEN]


def test_what_could_not_be_read_is_tried_again(invert: Callable[..., Finished], pets: Path) -> None:
    build, path = pets.parent / "b", pets.parent / "pets" / "cat" / "2.png"
    data = path.read_bytes()
    path.unlink()
    path.symlink_to(pets.parent / "away.png")
    invert()
    (pets.parent / "away.png").write_bytes(data)
    again = invert()
    assert again.code == 0
    assert set(open_build(build).samples("status")["status"]) == {"ok"}
    assert invert().json["computed"] == 0


def test_failed_samples_are_tried_again_when_asked(invert: Callable[..., Finished], pets: Path) -> None:
    paint(pets.parent / "pets" / "cat" / "2.png", RED).write_bytes(b"no picture")
    assert invert().json["failed"] == 1
    assert invert().json["computed"] == 0
    asked = invert("--retry-failed")
    assert (asked.json["computed"], asked.json["failed"]) == (1, 1)
    paint(pets.parent / "pets" / "cat" / "2.png", RED)
    mended = invert()
    assert (mended.json["computed"], mended.json["failed"]) == (1, 0)


def test_fresh_forgets_no_other_stage(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    assert (
        run_pipeline("augment", "--build", build, "--mode", "randmix", "--variants", "1", "--workers", "0").code
        == 0
    )
    assert shard(build).code == 0
    stages = set(open_build(build).info()["stages"])
    assert invert("--fresh").json["computed"] == 12
    assert set(open_build(build).info()["stages"]) == stages
    assert invert("--generator", "no-such-thing", "--fresh").code == 2
    assert set(open_build(build).samples("status")["status"]) == {"ok"}
    assert invert().json["computed"] == 0


def write_tar(path: Path, samples: dict[str, tuple[tuple[int, int, int], dict[str, object]]]) -> None:
    """A tar of pictures with annotations."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, (colour, facts) in samples.items():
            image = io.BytesIO()
            Image.new("RGB", (32, 32), colour).save(image, "PNG")
            for suffix, data in (("png", image.getvalue()), ("json", json.dumps(facts).encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def test_labels_of_an_attribute_are_those_of_the_samples(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    facts = {"red": (RED, {"kind": "cat", "mood": "sour"}), "blue": (BLUE, {"kind": "dog", "mood": "merry"})}
    write_tar(tmp_path / "tars" / "train-1.tar", facts)
    dataset = write_manifest(
        tmp_path / "d.toml", name="d", format="webdataset", resolution=32, root="tars", label="kind"
    )
    build = tmp_path / "b"
    invert = ["invert", "--dataset", dataset, "--build", build, *tiny.networks, "--steps", "1", "--workers", "0"]
    assert run_pipeline(*invert).code == 0
    write_tar(tmp_path / "tars" / "train-0.tar", {"green": (GREEN, {"kind": "ant", "mood": "odd"})})
    assert shard(build, "--label", "mood", "--name", "moods").code == 0
    found = packed(build, "moods")
    assert {str(row["colour"]): row["class"] for _, row in found.iterrows()} == {
        str(RED): "sour", str(BLUE): "merry",
    }  # fmt: skip
    write_tar(tmp_path / "tars" / "train-1.tar", {"first": (GREEN, {"kind": "ant", "mood": "odd"}), **facts})
    moved = shard(build)
    assert moved.code == 2
    assert "changed" in moved.err
    assert run_pipeline(*invert).code == 0
    assert shard(build).code == 0
    assert {str(row["colour"]): row["class"] for _, row in packed(build).iterrows()} == {
        str(RED): "cat", str(BLUE): "dog", str(GREEN): "ant",
    }  # fmt: skip


def augment(build: Path, mode: str, *extra: str) -> Finished:
    return run_pipeline(
        "augment", "--build", build, "--mode", mode, "--variants", "1", "--chunk-size", "4", "--workers", "0",
        "--json", *extra,
    )  # fmt: skip


def stale(build: Path) -> dict[str, list[str]]:
    """What `status` says is behind, by stage; `verify` says the same."""
    stages = run_pipeline("status", "--build", build, "--json").json["stages"]
    found = {stage["stage"]: stage["stale"] for stage in stages if stage["stale"]}
    said = [f"{name}: {reason}" for name, reasons in found.items() for reason in reasons]
    assert run_pipeline("verify", "--build", build, "--json").json["problems"] == said
    return found


@pytest.mark.parametrize("changed", ["cat/4.png", "dog/1.png"])
def test_a_limit_within_a_chunk_that_is_done_loses_nothing_of_it(
    invert: Callable[..., Finished], pets: Path, changed: str
) -> None:
    build = pets.parent / "b"
    invert()
    before = read_rows(build / "latents.zarr", ["w"], 0, 12)["w"]
    paint(pets.parent / "pets" / changed, GREEN)
    again = invert("--limit", "6")  # ends in the chunk of rows 4 to 8
    assert (again.code, again.json["computed"]) == (0, 1)
    after = read_rows(build / "latents.zarr", ["w"], 0, 12)["w"]
    assert np.flatnonzero((before != after).any(axis=(1, 2))).tolist() == [4 if changed == "cat/4.png" else 7]
    assert np.isfinite(after).all()
    for block in (build / "latents.zarr" / "w" / "c" / "1").rglob("*"):
        if block.is_file():
            block.write_bytes(bytes(block.stat().st_size))
    assert invert("--limit", "6").json["computed"] == 4
    np.testing.assert_array_equal(read_rows(build / "latents.zarr", ["w"], 0, 12)["w"][:4], after[:4])
    assert np.isfinite(read_rows(build / "latents.zarr", ["w"], 0, 12)["w"]).all()
    assert invert().json["computed"] == 0


def test_rows_whose_record_is_lost_wait_again(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    (build / ".ledger" / "invert" / "000001.json").write_text("{}")
    assert invert("--limit", "6").code == 0
    assert open_build(build).samples("status")["status"].tolist() == ["ok"] * 6 + ["pending"] * 2 + ["ok"] * 4
    assert shard(build).code == 0
    assert len(packed(build)) == 10
    assert invert().json["computed"] == 4


def test_variants_of_a_picture_that_is_another_now_are_not_packed(
    invert: Callable[..., Finished], pets: Path
) -> None:
    build = pets.parent / "b"
    invert()
    augment(build, "randmix")
    paint(pets.parent / "pets" / "cat" / "1.png", GREEN)
    invert()
    refused = shard(build, "--variants", "randmix")
    assert refused.code == 2
    assert "the variants 'randmix' of 1 source image (train-cat-1) were made from other pictures" in refused.err
    assert "`pipeline augment --name randmix`" in refused.err
    assert run_pipeline("report", "--build", build, "--samples", "12", "--per-set", "1").code == 0
    assert augment(build, "randmix").json["computed"] == 4
    assert shard(build, "--variants", "randmix", "--flagged").code == 0
    assert stale(build) == {}


def test_variants_of_rows_that_hold_other_samples_are_not_packed(
    invert: Callable[..., Finished], pets: Path
) -> None:
    build = pets.parent / "b"
    invert()
    augment(build, "randmix")
    for number in range(4):
        (pets.parent / "pets" / "dog" / f"{number}.png").unlink()
    paint(pets.parent / "pets" / "ant" / "0.png", GREEN)
    assert invert("--fresh").json["computed"] == 9
    refused = shard(build, "--variants", "randmix", "--flagged")
    assert refused.code == 2
    assert "the variants 'randmix' of 9 source images (train-ant-0" in refused.err
    assert augment(build, "randmix").code == 2  # a set never shrinks
    assert augment(build, "randmix", "--fresh").json["computed"] == 9
    assert shard(build, "--variants", "randmix", "--flagged").code == 0
    found = packed(build, "randmix")
    assert len(found) == 18
    assert all(row["class"] == str(row["source"]).split("-")[1] for _, row in found.iterrows())


def test_soft_labels_of_fewer_classes_are_refused(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    augment(build, "mixi")
    paint(pets.parent / "pets" / "ant" / "0.png", GREEN)
    invert()
    refused = shard(build, "--variants", "mixi")
    assert refused.code == 2
    assert "the soft labels of 'mixi' are of 2 classes, and the samples have 3 now" in refused.err
    augment(build, "mixi", "--fresh")
    assert shard(build, "--variants", "mixi", "--flagged").code == 0
    assert set(packed(build, "mixi")["soft_label"].map(len)) == {3}


def test_what_is_made_from_samples_that_are_gone_is_stale(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    augment(build, "mix")
    shard(build)
    assert stale(build) == {}
    (pets.parent / "pets" / "dog" / "3.png").unlink()
    invert()
    reason = "made before the samples changed: run its command again"
    assert stale(build) == {"augment/mix": [reason], "shard/original": [reason]}
    augment(build, "mix")
    shard(build)
    assert stale(build) == {}
    assert len(packed(build)) == 11


def test_a_change_that_is_listed_and_not_inverted_is_told(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    paint(pets.parent / "pets" / "cat" / "1.png", GREEN)
    create_build(build, str(pets), rescan=True)  # and killed
    assert stale(build) == {"invert": ["1 of its samples changed or came back since: run its command again"]}
    assert invert().json["computed"] == 1
    assert stale(build) == {}


@pytest.mark.parametrize("at", ["within the rows", "before the record"])
def test_a_chunk_that_is_killed_while_it_is_mended_ends_as_one_that_is_not(
    invert: Callable[..., Finished], pets: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    build, picture = pets.parent / "b", pets.parent / "pets" / "cat" / "1.png"
    invert()
    whole = pets.parent / "whole"
    shutil.copytree(build, whole)
    paint(picture, GREEN)
    (pets.parent / "pets" / "cat" / "2.png").unlink()
    assert invert("--build", str(whole)).code == 0

    def half(path: Path, start: int, columns: dict[str, Any]) -> None:
        write_rows(path, start, {"w": columns["w"]})
        raise KeyboardInterrupt

    def unrecorded(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if at == "within the rows":
            patch.setattr("stages.invert.stage.write_rows", half)
        else:
            patch.setattr("pipeline.execute.write_record", unrecorded)
        assert invert().code in (1, 130)
    assert invert().json["computed"] == 0
    assert differing(tree_digest(whole, ["latents.zarr/**/*"]), tree_digest(build, ["latents.zarr/**/*"])) == []
    names = ("id", "label", "sha256", "status", "error")
    pd.testing.assert_frame_equal(open_build(whole).samples(*names), open_build(build).samples(*names))
    assert list((build / ".cache").rglob("*.npz")) == []
    assert stale(build) == {}


def test_a_run_that_changes_nothing_writes_nothing(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    before = {path: path.stat().st_mtime_ns for path in build.rglob("*") if path.is_file()}
    assert invert().json["computed"] == 0
    after = {path: path.stat().st_mtime_ns for path in build.rglob("*") if path.is_file()}
    assert {path.name for path in after if before.get(path) != after[path]} <= {".lock"}


def test_a_new_sample_is_added_to_a_chunk_that_is_done(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    paint(pets.parent / "pets" / "dog" / "6.png", BLUE, 24)
    invert()
    before = read_rows(build / "latents.zarr", ["w"], 0, 13)["w"]
    paint(pets.parent / "pets" / "dog" / "7.png", BLUE, 28)
    assert invert().json["computed"] == 1
    after = read_rows(build / "latents.zarr", ["w"], 0, 14)["w"]
    np.testing.assert_array_equal(after[:13], before)
    assert np.isfinite(after).all()
    assert shard(build).code == 0
    assert packed(build).loc["train-dog-7", "colour"] == (2, 2, 192)


def test_fresh_lets_go_of_nothing_before_it_can_begin(invert: Callable[..., Finished], pets: Path) -> None:
    build = pets.parent / "b"
    invert()
    for impossible in (["--codes", "2", "--compose-at", "99"], ["--method", "given"]):
        assert invert("--fresh", *impossible).code == 2
        assert set(open_build(build).samples("status")["status"]) == {"ok"}
    assert invert().json["computed"] == 0


def test_attributes_may_come_go_and_be_of_another_kind(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    shades = {f"k{number}": (220 - number, 30, 30) for number in range(5)}

    def write(facts: Callable[[int], dict[str, object]], keys: Sequence[str]) -> None:
        samples = {key: (shades[key], {"kind": "cat", **facts(int(key[1]))}) for key in keys}
        write_tar(tmp_path / "tars" / "train.tar", samples)

    def labelled(name: str) -> dict[str, str]:
        assert shard(build, "--label", name, "--name", name).code == 0
        return {str(sample): row["class"] for sample, row in packed(build, name).iterrows()}

    dataset = write_manifest(
        tmp_path / "d.toml", name="d", format="webdataset", resolution=32, root="tars", label="kind"
    )
    build = tmp_path / "b"
    invert = [
        "invert", "--dataset", dataset, "--build", build, *tiny.networks, "--steps", "1", "--workers", "0", "--json"
    ]  # fmt: skip
    write(lambda n: {"mood": "sour", **({"size": n} if n else {})}, list(shades))
    assert run_pipeline(*invert).code == 0
    again = run_pipeline(*invert)
    assert (again.json["computed"], "since the last listing" in again.err) == (0, False)
    write(lambda n: {"mood": n % 2, "size": n + 1, "big": n > 2}, ["k0", "k2", "k3", "k4"])
    again = run_pipeline(*invert)
    assert again.json["computed"] == 0
    assert "4 with another label, split or attribute (train-k0, train-k2, train-k3, …)" in again.err
    assert "1 gone from the dataset, so left out from now on (train-k1)" in again.err
    assert labelled("mood") == {"train-k0": "0", "train-k2": "0", "train-k3": "1", "train-k4": "0"}
    assert labelled("size") == {"train-k0": "1", "train-k2": "3", "train-k3": "4", "train-k4": "5"}
    assert set(labelled("big").values()) == {"big", "not big"}
    assert "last listing" not in run_pipeline(*invert).err
    write(lambda n: {"mood": n % 2, "size": n + 1, "big": n > 2}, list(shades))
    assert "1 there again (train-k1)" in run_pipeline(*invert).err
    assert labelled("size")["train-k1"] == "2"


def test_rows_of_parquet_go_by_their_own_id(tiny: Tiny, tmp_path: Path) -> None:
    build, file = tmp_path / "b", tmp_path / "rows" / "train.parquet"
    file.parent.mkdir()
    rows = {f"a/{number} #1": (220 - number, 30, 30) for number in range(4)} | {"b": (30, 30, 220)}

    def write(ids: Sequence[str]) -> None:
        pictures = [paint(tmp_path / "one.png", rows[name]).read_bytes() for name in ids]
        labels = ["cat" if name.startswith("a") else "dog" for name in ids]
        pq.write_table(pa.table({"image": pictures, "label": labels, "id": list(ids)}), file)

    dataset = write_manifest(tmp_path / "d.toml", name="d", format="parquet", resolution=32, root="rows")
    invert = [
        "invert", "--dataset", dataset, "--build", build, *tiny.networks, "--steps", "1", "--workers", "0", "--json"
    ]  # fmt: skip
    write(list(rows)[1:])
    assert run_pipeline(*invert).code == 0
    before = open_build(build).samples("id", "label", "sha256")
    write(list(rows)[::-1])
    again = run_pipeline(*invert)
    assert again.json["computed"] == 1
    assert "1 new (train-a-0_1)" in again.err
    pd.testing.assert_frame_equal(open_build(build).samples("id", "label", "sha256").iloc[:4], before)
    assert shard(build).code == 0
    found = packed(build)
    assert found["colour"].to_dict() == {f"train-a-{n}_1": (220 - n, 30, 30) for n in range(4)} | {
        "train-b": (30, 30, 220)
    }
    assert found["class"].to_dict() == dict.fromkeys([f"train-a-{n}_1" for n in range(4)], "cat") | {
        "train-b": "dog"
    }


def test_variants_of_a_sample_of_another_split_are_not_packed(tiny: Tiny, tmp_path: Path) -> None:
    rows = {"a": RED, "b": (210, 30, 30), "c": BLUE, "d": (30, 30, 210)}

    def write(**splits: Sequence[str]) -> None:
        for split, names in splits.items():
            for name in names:
                paint(tmp_path / "pets" / split / ("cat" if name in "ab" else "dog") / f"{name}.png", rows[name])

    write(train="abcd", test="ac")
    dataset = write_manifest(
        tmp_path / "d.toml", name="d", format="folder", resolution=32, root="pets", splits=["train", "test"]
    )
    build = tmp_path / "b"
    invert = [
        "invert", "--dataset", dataset, "--build", build, *tiny.networks, "--steps", "1", "--workers", "0", "--json"
    ]  # fmt: skip
    run_pipeline(*invert)
    assert augment(build, "mix").code == 0
    table = pq.read_table(build / "samples.parquet")
    splits = pa.array(["test", *table["split"].to_pylist()[1:]])  # as tables of CelebA may say one day
    with kept_write(build / "samples.parquet") as kept:
        pq.write_table(table.set_column(table.column_names.index("split"), "split", splits), kept)
    assert stale(build) == {"augment/mix": ["made before the samples changed: run its command again"]}
    refused = shard(build, "--variants", "mix")
    assert refused.code == 2
    assert "the variants 'mix' of 1 source image (train-cat-a) were made from other pictures, or for another" in (
        refused.err
    )
