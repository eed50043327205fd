"""Zarr groups: what is written is read, what is damaged is named."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BuildError
from pipeline.files import write_bytes
from pipeline.outputs import rows_output
from pipeline.sealed import write_sealed
from pipeline.store import (
    ArraySpec,
    create_group,
    open_group,
    problem_of_metadata,
    read_attributes,
    read_rows,
    read_scattered,
    remove_group,
    rows_digest,
    rows_of_chunk,
    write_rows,
)

SPECS = {
    "w": ArraySpec("float32", (3, 2), ("layer", "channel"), sharded=True),
    "psnr": ArraySpec("float32"),
    "image": ArraySpec("uint8", (4, 4, 3), ("y", "x", "rgb"), sharded=True, compress=True),
}


def columns(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "w": rng.normal(size=(rows, 3, 2)).astype(np.float32),
        "psnr": rng.normal(size=rows).astype(np.float32),
        "image": rng.integers(0, 255, (rows, 4, 4, 3)).astype(np.uint8),
    }


@settings(max_examples=25)
@given(rows=st.integers(1, 30), tasks=st.integers(1, 4), seed=st.integers(0, 99), data=st.data())
def test_any_order_of_whole_tasks_reads_back(
    tmp_path_factory: pytest.TempPathFactory, rows: int, tasks: int, seed: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "a.zarr"
    per_task = 2 * tasks
    create_group(path, rows, per_task, SPECS, {})
    values = columns(rows, seed)
    starts = data.draw(st.permutations(range(0, rows, per_task)))
    for start in starts:
        piece = {name: array[start : start + per_task] for name, array in values.items()}
        assert write_rows(path, start, piece) == rows_digest(piece)
    found = read_rows(path, list(SPECS), 0, rows)
    for name, array in values.items():
        np.testing.assert_array_equal(found[name], array)


@settings(max_examples=25)
@given(
    rows=st.lists(st.integers(0, 199), max_size=30), block=st.integers(1, 250), dense=st.integers(1, 20),
    most=st.sampled_from([0, 2**20]),
)  # fmt: skip
def test_scattered_rows_are_read_in_the_order_asked_for(
    scattered: tuple[Path, dict[str, np.ndarray]], rows: list[int], block: int, dense: int, most: int
) -> None:
    path, values = scattered
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.store.BLOCK_ROWS", block)
        patch.setattr("pipeline.store.DENSE", dense)
        patch.setattr("pipeline.store.DENSE_BYTES", most)
        found = read_scattered(path, ["w", "psnr"], np.array(rows, dtype=np.int64))
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, values[name][rows])


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A group of 200 rows, and its columns."""
    path, values = tmp_path_factory.mktemp("scattered") / "a.zarr", columns(200, 0)
    create_group(path, 200, 10, SPECS, {})
    write_rows(path, 0, values)
    return path, values


def test_a_short_piece_fills_its_storage_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_group(path, 10, 4, SPECS, {})
    write_rows(path, 4, columns(3, 0))
    found = read_rows(path, ["w"], 0, 10)["w"]
    assert np.isfinite(found[4:7]).all()
    assert np.isnan(np.delete(found, range(4, 7), axis=0)).all()


def test_a_write_that_would_share_a_storage_chunk_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_group(path, 10, 4, SPECS, {})
    with pytest.raises(AssertionError, match="not the start of a storage chunk"):
        write_rows(path, 2, columns(4, 0))


@pytest.mark.parametrize("name", ["w", "psnr", "image"])
def test_one_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zarr"
    create_group(path, 8, 4, SPECS, {})
    write_rows(path, 0, columns(4, 0))
    chunk = next(file for file in (path / name / "c").rglob("0") if file.is_file())
    data = bytearray(chunk.read_bytes())
    data[5] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(BuildError, match=rf"{name}, rows 0 to 4"):
        read_rows(path, [name], 0, 4)
    for rows in ([0, 1], [1, 0, 7]):
        with pytest.raises(BuildError, match=rf"{name}, some of rows 0 to"):
            read_scattered(path, [name], np.array(rows))


def test_constant_chunks_are_stored_too(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_group(path, 4, 4, SPECS, {})
    write_rows(path, 0, {"image": np.zeros((4, 4, 4, 3), np.uint8)})
    assert [file for file in (path / "image" / "c").rglob("*") if file.is_file()]


def test_creation_that_was_cut_short_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_group(path).create_array("w", shape=(1,), dtype="int8")
    create_group(path, 8, 4, SPECS, {})
    assert set(open_group(path)) == set(SPECS)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_group(path, 8, 4, SPECS, {})
    create_group(path, 8, 4, SPECS, {})
    for other in (
        (7, 4, SPECS),
        (9, 2, SPECS),
        (9, 4, {**SPECS, "w": ArraySpec("float32", (4, 2), ("layer", "channel"))}),
    ):
        with pytest.raises(BuildError, match="another layout"):
            create_group(path, *other, {})


@pytest.mark.parametrize(
    ("tail", "per_task", "rows"), [((8, 64), 64, 64), ((8, 64), 768, 256), ((18, 512), 64, 16), ((9999, 99), 4, 1)]
)
def test_chunks_fill_storage_shards_and_stay_small(tail: tuple[int, ...], per_task: int, rows: int) -> None:
    assert rows_of_chunk(ArraySpec("float32", tail, sharded=True), per_task) == rows
    assert rows_of_chunk(ArraySpec("float32", tail), per_task) == per_task


def test_plain_zarr_and_xarray_open_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_group(path, 8, 4, SPECS, {"dataset": "x"})
    write_rows(path, 0, columns(8, 0))
    dataset = xr.open_zarr(path, consolidated=False)
    assert dict(dataset.sizes) == {"row": 8, "layer": 3, "channel": 2, "y": 4, "x": 4, "rgb": 3}
    assert dataset.attrs["dataset"] == "x"
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == 3
    np.testing.assert_array_equal(group["w"][:], dataset["w"].values)


def test_a_missing_group_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="missing or not a Zarr group"):
        open_group(tmp_path / "none.zarr")


# --- metadata -----------------------------------------------------------------------------------------------------


def metadata_of(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("zarr.json")}


@pytest.mark.parametrize("name", ["zarr.json", "w/zarr.json", "psnr/zarr.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "gone"])
def test_damaged_metadata_are_named_and_written_anew_beside_the_data(tmp_path: Path, name: str, how: str) -> None:
    path, values = tmp_path / "a.zarr", columns(8, 0)
    create_group(path, 8, 4, SPECS, {"dataset": "Ziffern – bunt"})
    write_rows(path, 0, values)
    whole = metadata_of(path)
    read_rows(path, ["psnr"], 0, 8)
    data = whole[name]
    place = data.index(b"float32") if b"float32" in data else len(data) // 2
    damaged = {"flipped": data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], "cut": data[:-3]}
    damaged |= {"longer": data + b"\n"}
    if how == "gone":
        (path / name).unlink()
    else:
        (path / name).write_bytes(damaged[how])
    for read in (lambda: read_rows(path, ["psnr"], 0, 8), lambda: open_group(path), lambda: read_attributes(path)):
        with pytest.raises(BuildError, match=r"zarr\.json.*run the command that made it again"):
            read()
    create_group(path, 8, 4, SPECS, {"dataset": "Ziffern – bunt"})
    assert metadata_of(path) == whole
    np.testing.assert_array_equal(read_rows(path, ["w"], 0, 8)["w"], values["w"])


@given(place=st.integers(0, 2**20), bit=st.integers(0, 7), file=st.sampled_from(["zarr.json", "image/zarr.json"]))
def test_any_bit_of_the_metadata_counts(
    scattered: tuple[Path, dict[str, np.ndarray]], place: int, bit: int, file: str
) -> None:
    target = scattered[0] / file
    whole = target.read_bytes()
    data = bytearray(whole)
    data[place % len(data)] ^= 1 << bit
    target.write_bytes(data)
    try:
        assert problem_of_metadata(scattered[0]) is not None
    finally:
        target.write_bytes(whole)


def test_a_group_grows_and_keeps_its_rows(tmp_path: Path) -> None:
    path, values = tmp_path / "a.zarr", columns(6, 0)
    create_group(path, 6, 4, SPECS, {"dataset": "x"})
    for start, stop in ((0, 4), (4, 6)):
        write_rows(path, start, {name: array[start:stop] for name, array in values.items()})
    create_group(path, 11, 4, SPECS, {"dataset": "another"})
    assert read_attributes(path)["dataset"] == "x"
    found = read_rows(path, list(SPECS), 0, 11)
    for name, array in values.items():
        np.testing.assert_array_equal(found[name][:6], array)
        rest = found[name][6:]
        assert np.isnan(rest).all() if rest.dtype.kind == "f" else not rest.any()
    more = columns(7, 1)
    write_rows(path, 4, more)
    np.testing.assert_array_equal(read_rows(path, ["w"], 0, 11)["w"], np.concatenate([values["w"][:4], more["w"]]))
    with pytest.raises(BuildError, match="another layout"):
        create_group(path, 6, 4, SPECS, {})


def test_a_kill_while_a_group_grows_is_told_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, values = tmp_path / "a.zarr", columns(6, 0)
    create_group(path, 6, 4, SPECS, {"dataset": "x"})
    write_rows(path, 0, values)
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.store.write_bytes", Mock(side_effect=KeyboardInterrupt, wraps=write_bytes))
        with pytest.raises(KeyboardInterrupt):
            create_group(path, 11, 4, SPECS, {"dataset": "x"})
    assert read_rows(path, ["w"], 0, 6)["w"].shape == (6, 3, 2)
    with monkeypatch.context() as patched:
        kill = Mock(side_effect=[None, KeyboardInterrupt])
        patched.setattr("pipeline.store.write_bytes", lambda file, data: (kill(), write_bytes(file, data)))
        with pytest.raises(KeyboardInterrupt):
            create_group(path, 11, 4, SPECS, {"dataset": "x"})
    with pytest.raises(BuildError, match="run the command that made it again"):
        open_group(path)
    create_group(path, 11, 4, SPECS, {"dataset": "x"})
    np.testing.assert_array_equal(read_rows(path, ["w"], 0, 11)["w"][:6], values["w"])


def test_what_others_keep_in_a_group_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_group(path, 8, 4, SPECS, {})
    write_rows(path, 0, columns(8, 0))
    (path / "notes.txt").write_text("mine")
    remove_group(path)
    assert [file.name for file in path.iterdir()] == ["notes.txt"]
    create_group(path, 8, 4, SPECS, {})
    assert set(open_group(path)) == set(SPECS)
    (path / "notes.txt").unlink()
    remove_group(path)
    assert not path.exists()


# --- chunks that are gone -----------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """latents.zarr of 12 rows, 8 of which a record promises."""
    path = tmp_path / "latents.zarr"
    create_group(path, 12, 4, SPECS, {})
    digest = write_rows(path, 0, columns(8, 0))
    output = rows_output(tmp_path, path, list(SPECS), 0, 8, digest)
    write_sealed(tmp_path / ".ledger" / "invert" / "000000.json", {"outputs": [output]})
    return path


@pytest.mark.parametrize(
    ("gone", "array"), [("w/c/1/0/0", "w"), ("psnr/c/0", "psnr"), ("image/c/1/0/0/0", "image")]
)
def test_a_chunk_that_a_record_promises_does_not_read_as_the_fill_value(
    recorded: Path, gone: str, array: str
) -> None:
    assert len(read_rows(recorded, [array], 0, 12)[array]) == 12
    (recorded / gone).unlink()
    with pytest.raises(BuildError, match=rf"{array}/c/\d.* is missing"):
        read_rows(recorded, [array], 0, 12)
    with pytest.raises(BuildError, match=rf"{array}/c/\d.* is missing"):
        read_scattered(recorded, [array], np.array([9, 5, 0]))
    left = [8, 9] if "c/1" in gone else [9, 4]
    assert len(read_scattered(recorded, [array], np.array(left))[array]) == 2
