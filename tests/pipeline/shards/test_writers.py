"""Writers are deterministic and leave nothing half done."""

import tarfile
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.shards import FORMATS, shard_formats
from pipeline.shards.base import ShardInfo, ShardSample, write_shard
from pipeline.shards.manifest import check_manifest, write_manifest
from pipeline.shards.webdataset import plain_header, tar_header

INFO = ShardInfo("set", "data", "", "", "", ("a", "b"), 4, (2, 3))


def sample(i: int) -> ShardSample:
    rng = np.random.default_rng(i)
    image = rng.integers(0, 255, (4, 4, 3)).astype(np.uint8)
    return ShardSample(
        f"s-{i}", image, i % 2, "ab"[i % 2], rng.normal(size=(2, 3)).astype("f4"), f"s-{i}", "x", "", -1
    )


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_samples_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    writer = shard_formats(name)[name]
    for target in ("one", "two"):
        write_shard({tmp_path / target: writer}, [sample(i) for i in range(5)], 5, INFO)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_a_failure_in_mid_write_leaves_nothing(tmp_path: Path, name: str) -> None:
    writer = shard_formats(name)[name]
    bad = [sample(0), None]
    with pytest.raises(AttributeError):
        write_shard({tmp_path / "shard": writer}, bad, 2, INFO)  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []


def test_several_formats_are_written_together_from_few_samples_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.shards.base.HELD_BYTES", 3 * 48)  # of pixels, of samples of 48
    monkeypatch.setattr("pipeline.shards.parquet.GROUP_BYTES", 400)
    alive: list[weakref.ref[ShardSample]] = []
    most = 0

    def stream() -> Iterator[ShardSample]:
        nonlocal most
        for i in range(20):
            made = sample(i)
            alive.append(weakref.ref(made))
            most = max(most, sum(ref() is not None for ref in alive))
            yield made
            del made

    files = {tmp_path / name: writer for name, writer in shard_formats(",".join(FORMATS)).items()}
    write_shard(files, stream(), 20, INFO)
    assert most <= 4
    table = pq.ParquetFile(tmp_path / "parquet")
    assert table.metadata.num_rows == 20
    assert table.metadata.num_row_groups > 3
    assert table.read()["id"].to_pylist() == [f"s-{i}" for i in range(20)]
    with tarfile.open(tmp_path / "webdataset") as tar:
        assert [name for name in tar.getnames() if name.endswith("png")] == [f"s-{i}.png" for i in range(20)]
    with h5py.File(tmp_path / "dmat") as file:
        np.testing.assert_array_equal(file["latents"][:], np.stack([sample(i).latent for i in range(20)]))


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(PipelineError, match="--format zip: known formats are webdataset, parquet, dmat"):
        shard_formats("webdataset,zip")


def test_manifest_notices_every_change(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    assert check_manifest(tmp_path) == [
        f"{tmp_path} is not complete: it has no manifest.json: run `pipeline shard` again"
    ]
    write_manifest(tmp_path, [], [tmp_path / "a", tmp_path / "b"], "key")
    assert check_manifest(tmp_path) == []
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").unlink()
    assert [problem.removeprefix(f"{tmp_path}/") for problem in check_manifest(tmp_path)] == [
        "a differs from what was written",
        "b is missing",
    ]
    written = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(written.replace('"key"', '"kex"'))
    assert "manifest.json differs from what was written" in check_manifest(tmp_path)[0]


def test_dmat_is_what_the_authors_loader_expects(tmp_path: Path) -> None:
    writer = shard_formats("dmat")["dmat"]
    samples = [sample(i) for i in range(70)]  # more than a batch
    write_shard({tmp_path / writer.file_name("train", 3, 10): writer}, iter(samples), 70, INFO)
    with h5py.File(tmp_path / "train" / "3.h5") as file:
        assert set(file) == {"images", "latents"}
        images, latents = file["images"][:], file["latents"][:]
    assert images.dtype == latents.dtype == np.float32
    assert images.shape == (70, 3, 4, 4)
    np.testing.assert_allclose(images[69], samples[69].pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(latents[69], samples[69].latent)


def test_dmat_refuses_what_it_cannot_hold() -> None:
    writer = shard_formats("dmat")["dmat"]
    with pytest.raises(PipelineError, match="10 classes at most, and data has 11"):
        writer.check(replace(INFO, classes=tuple("abcdefghijk")))
    with pytest.raises(PipelineError, match="leave out --no-latents"):
        writer.check(replace(INFO, latent_shape=None))


@given(
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    size=st.integers(0, 2**33 - 1),
)
def test_a_tar_header_is_what_tarfile_writes(name: str, size: int) -> None:
    try:
        expected = plain_header(name, size)
    except (ValueError, UnicodeEncodeError):
        with pytest.raises((ValueError, UnicodeEncodeError)):
            tar_header(name, size)
    else:
        assert tar_header(name, size) == expected
