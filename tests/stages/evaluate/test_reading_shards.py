"""Splits are read from Parquet and from tars alike."""

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import mapped
from pipeline.errors import PipelineError
from pipeline.images import encode_png
from stages.evaluate import reading
from stages.evaluate.formats import split_files
from stages.evaluate.reading import Samples, check_split, read_split


def by_id(samples: Samples) -> dict[str, int]:
    return {name: place for place, name in enumerate(samples.ids)}


@pytest.fixture
def one_format(finished_build: Path, tmp_path: Path) -> dict[str, Path]:
    """The shard set once as Parquet alone, once as tars alone."""
    made = {}
    for name in ("parquet", "wds"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).symlink_to(finished_build / "shards" / "randmix-mix" / name)
        made[name] = tmp_path / name
    return made


def test_tars_hold_what_parquet_holds(one_format: dict[str, Path]) -> None:
    for split, alone in (("train", False), ("test", True)):
        first, second = (
            read_split(folder, split, "", alone=alone, latents=alone) for folder in one_format.values()
        )
        assert sorted(first.ids) == sorted(second.ids)
        mine, theirs = [by_id(first)[i] for i in sorted(first.ids)], [by_id(second)[i] for i in sorted(first.ids)]
        np.testing.assert_array_equal(first.pixels[mine], second.pixels[theirs])
        np.testing.assert_array_equal(first.labels[mine], second.labels[theirs])
        assert (first.latents is None) == (not alone)
        if alone:
            np.testing.assert_array_equal(first.latents[mine], second.latents[theirs])  # type: ignore[index]
    assert first.num_classes == 10  # named in the Parquet files, whether or not the few test samples have them all


def test_alone_leaves_the_variants_out(one_format: dict[str, Path]) -> None:
    everything = read_split(one_format["parquet"], "train", "")
    alone = read_split(one_format["parquet"], "train", "", alone=True)
    assert set(alone.ids) < set(everything.ids)
    assert not any("-randmix-" in name or "-mix-" in name for name in alone.ids)
    assert len(everything.ids) == 4 * len(alone.ids)  # two of randmix, one of mix


def test_limit_and_size(one_format: dict[str, Path]) -> None:
    whole = read_split(one_format["wds"], "train", "")
    few = read_split(one_format["wds"], "train", "", 16, 5)
    assert few.ids == whole.ids[:5]
    means = whole.pixels[:5].reshape(5, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert np.abs(few.pixels - means).max() <= 1  # rounded once down, once across


def test_what_cannot_be_read(one_format: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PipelineError, match="no split 'val' in Parquet files or tars, but test, train"):
        read_split(one_format["parquet"], "val", "")
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    monkeypatch.setattr(mapped, "MOST_OF_DISK", 1e-12)
    for attempt in (
        lambda: read_split(one_format["parquet"], "train", "too large", cache=tmp_path / "decoded"),
        lambda: check_split(one_format["parquet"], "train", 0, None, tmp_path / "decoded"),
    ):
        with pytest.raises(PipelineError, match="give a smaller --input-size"):
            attempt()


def test_large_splits_lie_in_files_that_processes_share(
    one_format: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = one_format["parquet"], tmp_path / "decoded"
    here = read_split(folder, "test", "", alone=True, latents=True)
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    for decoded_again in (True, False):
        read_split.cache_clear()
        with monkeypatch.context() as patched:
            if not decoded_again:
                patched.setattr(reading, "decode", None)  # another process finds them decoded
            shared = read_split(folder, "test", "", alone=True, latents=True, cache=cache)
        assert isinstance(shared.pixels, np.memmap)
        assert isinstance(shared.latents, np.memmap)
        np.testing.assert_array_equal(shared.pixels, here.pixels)
        np.testing.assert_array_equal(shared.latents, here.latents)  # type: ignore[arg-type]
        assert shared.ids == here.ids
        assert len(list(cache.iterdir())) == 2
    read_split(folder, "test", "", alone=True, cache=cache)
    assert len(list(cache.iterdir())) == 2
    (tmp_path / "variants").mkdir()
    with pytest.raises(PipelineError):
        read_split(handmade(tmp_path / "variants", [[], []], [0, 1]), "train", "", alone=True, cache=cache)
    assert len(list(cache.iterdir())) == 2


def handmade(folder: Path, soft: list[list[float] | None], variants: list[int]) -> Path:
    """A set of black 4x4 images as anybody might write it."""
    png = encode_png(np.zeros((4, 4, 3), np.uint8))
    count = len(soft)
    table = pa.table(
        {
            "image": [{"bytes": png, "path": ""}] * count,
            "label": list(range(count)),
            "id": [f"s{i}" for i in range(count)],
            "variant": variants,
            "soft_label": pa.array(soft, pa.list_(pa.float32())),
        }
    )
    (folder / "parquet").mkdir()
    pq.write_table(table, folder / "parquet" / "train-00000-of-00001.parquet")
    return folder


def test_soft_labels_where_a_sample_has_one(tmp_path: Path) -> None:
    samples = read_split(handmade(tmp_path, [[0.5, 0.25, 0.25], [], None], [0, -1, -1]), "train", "")
    assert samples.targets().tolist() == [[0.5, 0.25, 0.25], [0, 1, 0], [0, 0, 1]]


def test_splits_that_begin_alike_are_kept_apart(tmp_path: Path) -> None:
    handmade(tmp_path, [[], []], [-1, -1])
    folder = tmp_path / "parquet"
    shutil.copy(folder / "train-00000-of-00001.parquet", folder / "train-held-00000-of-00001.parquet")
    assert [path.name for path in split_files(tmp_path, "train")] == ["train-00000-of-00001.parquet"]
    assert [path.name for path in split_files(tmp_path, "train-held")] == ["train-held-00000-of-00001.parquet"]


def test_variants_alone_are_no_test_samples(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="make the set with --base original"):
        read_split(handmade(tmp_path, [[], []], [0, 1]), "train", "", alone=True)


def test_a_grey_image_has_three_channels() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(buffer, format="PNG")
    assert reading.decode(buffer.getvalue(), 0, "it").tolist() == np.full((4, 4, 3), 7).tolist()


def test_a_damaged_image_of_a_set_is_named(tmp_path: Path) -> None:
    folder = handmade(tmp_path, [[], []], [-1, -1])
    file = next(folder.glob("**/*.parquet"))
    table = pq.read_table(file)
    images = table["image"].to_pylist()
    images[1]["bytes"] = images[1]["bytes"][:40]
    place = table.column_names.index("image")
    pq.write_table(table.set_column(place, table.field(place), pa.array(images, table.field(place).type)), file)
    with pytest.raises(
        PipelineError, match=r"split 'train', sample \S+: the image is damaged .*; run `pipeline shard`"
    ):
        read_split(folder, "train", "")
