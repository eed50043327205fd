"""A set of directions: what an edit moves, which edits keep the label, and that a set is whole or absent."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import zarr

from pipeline.build import Build
from pipeline.directions import (
    Directions,
    edit,
    list_directions,
    read_directions,
    within_typical,
    write_directions,
)
from pipeline.errors import BuildError, PipelineError

NAN = float("nan")


def made(name: str = "found", flips: list[list[float]] | None = None) -> Directions:
    axes = np.zeros((2, 3), np.float32)
    axes[0, 0] = axes[1, 2] = 1
    return Directions(
        name=name,
        method="pca",
        mean=np.array([1, 2, 3], np.float32),
        axes=axes,
        deviations=np.array([2, 0.5], np.float32),
        ranges=[(0, 1), (2, 3)],
        effect=np.array([[0.4, 0.1], [0.2, 0.03]], np.float32),
        flips=np.array(flips or [[NAN, NAN], [NAN, NAN]], np.float32),
        generator_sha256="ab" * 32,
        fine_layers=(2, 3),
        record={"settings": {"seed": 0}},
    )


def test_an_edit_moves_its_layers_along_its_axis_by_so_many_deviations() -> None:
    w = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    moved = edit(made(), w, 0, (1, 2), torch.tensor([3.0, -1.0])) - w
    expected = torch.zeros(2, 4, 3)
    expected[0, 1:3, 0], expected[1, 1:3, 0] = 3 * 2, -1 * 2
    torch.testing.assert_close(moved, expected)


def test_a_typical_edit_stops_at_the_bound_and_never_goes_further_out() -> None:
    directions = replace(made(), typical=2.0)
    w = torch.tensor([1.0, 2, 3]).repeat(3, 1, 1)  # the mean, on one layer
    w[1, 0, 0] += 3 * 2  # three deviations out already
    w[2, 0, 0] += 1 * 2
    place = (edit(directions, w, 0, (0, 0), 2.5)[:, 0, 0] - 1) / 2
    torch.testing.assert_close(place, torch.tensor([2.0, 3.0, 2.0]))
    back = (edit(directions, w, 0, (0, 0), -2.5)[:, 0, 0] - 1) / 2
    torch.testing.assert_close(back, torch.tensor([-2.0, 0.5, -1.5]))


def test_irrelevant_edits_come_by_effect() -> None:
    judged = made(flips=[[0.5, 0.0], [0.02, 0.0]])
    assert judged.irrelevant() == [(1, (0, 1)), (0, (2, 3)), (1, (2, 3))]
    assert judged.irrelevant(most_flips=0.6)[0] == (0, (0, 1))
    assert judged.irrelevant(least_effect=0.4) == [(1, (0, 1)), (0, (2, 3))]


@pytest.mark.parametrize(
    ("place", "step", "end"),
    [(0.5, 3, 1), (0.5, -3, -1), (1.9, -3, -1), (1.9, 1, 1.9), (-1.9, 9, 1), (0, 0.25, 0.25)],
)
def test_edits_end_within_the_typical_bound_and_lead_back_from_beyond_it(
    place: float, step: float, end: float
) -> None:
    left = within_typical(torch.tensor(place), torch.tensor(float(step)), torch.tensor(1.0))
    assert place + float(left) == pytest.approx(end)


def test_without_a_classifier_the_fine_layers_count() -> None:
    assert made().irrelevant() == [(0, (2, 3)), (1, (2, 3))]
    assert replace(made(), fine_layers=()).irrelevant() == []


def test_a_set_reads_back_and_opens_in_plain_zarr(tmp_path: Path) -> None:
    build, wrote = Build(tmp_path), replace(made(), typical=1.5, scored_step=3.0)
    write_directions(build, wrote)
    read = read_directions(build, "found")
    for name in ("mean", "axes", "deviations", "effect", "flips"):
        found = getattr(read, name)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, getattr(wrote, name))
    for name in ("name", "method", "ranges", "typical", "scored_step", "fine_layers", "generator_sha256", "record"):
        assert getattr(read, name) == getattr(wrote, name)
    plain = zarr.open_group(tmp_path / "directions.zarr", mode="r")
    assert [name for name, _ in plain.groups()] == ["found"]
    assert np.asarray(plain["found/ranges"]).tolist() == [[0, 1], [2, 3]]


def test_a_new_set_replaces_the_old_one_and_leaves_the_others(tmp_path: Path) -> None:
    build = Build(tmp_path)
    write_directions(build, made("a"))
    write_directions(build, made("b"))
    write_directions(build, replace(made("a"), method="umap"))
    assert list_directions(build) == ["a", "b"]
    assert read_directions(build, "a").method == "umap"


def test_an_interrupted_replacement_is_told_and_leaves_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, notes = Build(tmp_path), tmp_path / "directions.zarr" / "a" / "notes.txt"
    write_directions(build, made("a"))
    notes.write_text("mine")
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.directions.write_bytes", Mock(side_effect=[None, KeyboardInterrupt]))
        with pytest.raises(KeyboardInterrupt):
            write_directions(build, replace(made("a"), method="umap"))
    with pytest.raises(BuildError, match="not finished"):
        read_directions(build, "a")
    write_directions(build, replace(made("a"), method="umap"))
    assert read_directions(build, "a").method == "umap"
    assert notes.read_text() == "mine"


def test_a_missing_set_names_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no directions 'umap' yet in .*: run `pipeline directions`"):
        read_directions(Build(tmp_path), "umap")
    write_directions(Build(tmp_path), made("other"))
    with pytest.raises(PipelineError, match="there are other: run"):
        read_directions(Build(tmp_path), "umap")


@pytest.mark.parametrize("damage", ["axes/c/0/0", "zarr.json", "effect/zarr.json"])
def test_a_damaged_set_is_one_sentence(tmp_path: Path, damage: str) -> None:
    write_directions(Build(tmp_path), made())
    (tmp_path / "directions.zarr" / "found" / damage).write_bytes(b"nonsense")
    with pytest.raises(BuildError, match=r"'found' are damaged .*: find them again by"):
        read_directions(Build(tmp_path), "found")
