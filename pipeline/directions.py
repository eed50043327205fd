"""Directions in the space of w: what edits move along, and where a build keeps them (NaTra, section 3.4)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from zarr.storage import MemoryStore

from pipeline.belongings import problem_of_end, read_end, writing
from pipeline.build import Build
from pipeline.errors import BuildError, PipelineError
from pipeline.files import write_bytes

Floats = NDArray[np.float32]
Range = tuple[int, int]
DIMENSIONS = {
    "mean": ("channel",),
    "axes": ("axis", "channel"),
    "deviations": ("axis",),
    "effect": ("axis", "range"),
    "flips": ("axis", "range"),
    "ranges": ("range", "end"),
}


@dataclass(frozen=True, eq=False)
class Directions:
    """A set of directions u_i, and what an edit D(u_i, j-k) along each does in each range of layers j to k.

    Attributes:
        method: how they were found, `umap` or `pca`.
        mean: mean of w [w_dim].
        axes: unit rows [K, w_dim], those of the largest effect first.
        deviations: standard deviation of w along each axis [K]: what a step of an edit is measured in.
        ranges: ranges of layers that were scored, (first, last), 0-based, both included.
        effect: mean perceptual distance of edits by plus and minus `scored_step` deviations [K, len(ranges)].
        flips: share of these edits that change a classifier's prediction [K, len(ranges)]; NaN if none was asked.
        generator_sha256: digest of the generator that they belong to.
        scored_step: length of the scored edits, in deviations.
        typical: edits keep w within so many deviations of the mean along their axis; 0: anywhere.
        fine_layers: layers that carry no label by the generator's manifest; empty where it says so of all.
        record: settings and summary of the run that found them, as JSON can hold them.
    """

    name: str
    method: str
    mean: Floats
    axes: Floats
    deviations: Floats
    ranges: list[Range]
    effect: Floats
    flips: Floats
    generator_sha256: str
    scored_step: float = 2.0
    typical: float = 0.0
    fine_layers: tuple[int, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    def irrelevant(self, most_flips: float = 0.02, least_effect: float = 0.1) -> list[tuple[int, Range]]:
        """Edits that change the image and not the label, as (axis, range), by effect from the largest down.

        Args:
            most_flips: share of edits that may change the classifier's prediction. Where no classifier was asked,
                ranges within the generator's fine layers count as irrelevant instead.
            least_effect: share of the largest effect among these that an edit must have.
        """
        fine = [set(range(first, last + 1)) <= set(self.fine_layers) for first, last in self.ranges]
        harmless = np.where(np.isnan(self.flips), np.array(fine), self.flips <= most_flips)
        strong = self.effect >= least_effect * np.max(self.effect, where=harmless, initial=0)
        places = np.argwhere(harmless & strong)
        order = np.argsort(-self.effect[tuple(places.T)], kind="stable")
        return [(int(axis), self.ranges[column]) for axis, column in places[order]]


def edit(directions: Directions, w: Tensor, axis: int, layers: Range, r: float | Tensor) -> Tensor:
    """D(u_i, j-k): move w+ [B, num_ws, w_dim] along an axis in layers j to k by r deviations (eq. 12).

    `r` is one number, or one for each sample [B]. With a `typical` bound, a w stops at it; one that lies beyond it
    already goes no further out.
    """
    first, last = layers
    unit = torch.from_numpy(directions.axes[axis]).to(w)
    deviation = float(directions.deviations[axis])
    part = w[:, first : last + 1]
    step = torch.as_tensor(r, dtype=w.dtype, device=w.device).reshape(-1, 1).expand(part.shape[:2])
    if directions.typical:
        place = (part - torch.from_numpy(directions.mean).to(w)) @ unit / deviation
        step = within_typical(place, step, torch.as_tensor(directions.typical).to(w))
    moved = part + step[..., None] * deviation * unit
    return torch.cat([w[:, :first], moved, w[:, last + 1 :]], dim=1)


def within_typical(place: Tensor, step: Tensor, typical: Tensor) -> Tensor:
    """What is left of steps that begin at `place`, all in deviations from the mean, within [-typical, typical].

    From beyond the bound they lead back only.
    """
    lowest, highest = torch.minimum(place, -typical), torch.maximum(place, typical)
    return torch.minimum(place + step, highest).maximum(lowest) - place


def record_name(name: str) -> str:
    """What the ledger calls a set."""
    return f"directions/{name}"


def write_directions(
    build: Build,
    directions: Directions,
    pictures: Iterable[Path] = (),
    details: Mapping[str, Any] | None = None,
) -> None:
    """Put a set into directions.zarr, in place of one of the same name; the caller holds the build's lock.

    It is recorded together with pictures that are there already, and with `details` that no file of it holds.
    """
    files = {build.directions_path / name: data for name, data in zarr_files(directions).items()}
    with writing(build, record_name(directions.name), [*files, *pictures], details):
        for path, data in files.items():
            write_bytes(path, data)


def zarr_files(directions: Directions) -> dict[str, bytes]:
    """The files of a set by their path in directions.zarr."""
    attributes: dict[str, Any] = {
        "method": directions.method,
        "generator_sha256": directions.generator_sha256,
        "scored_step": directions.scored_step,
        "typical": directions.typical,
        "fine_layers": list(directions.fine_layers),
        "record": dict(directions.record),
    }
    held: dict[str, Any] = {}
    group = zarr.open_group(MemoryStore(held), mode="w").create_group(directions.name, attributes=attributes)
    for name, dimensions in DIMENSIONS.items():
        values = np.asarray(getattr(directions, name), np.int32 if name == "ranges" else np.float32)
        group.create_array(
            name,
            data=values,
            chunks=values.shape,
            dimension_names=dimensions,
            config={"write_empty_chunks": True},
        )
    return {name: buffer.to_bytes() for name, buffer in sorted(held.items())}


def read_directions(build: Build, name: str) -> Directions:
    """Read a set back.

    Raises:
        PipelineError: there is none of that name; the message says which there are.
        BuildError: it is damaged.
    """
    path = set_path(build, name)
    if not path.is_dir() and read_end(build, record_name(name)) is None:
        present = list_directions(build)
        others = f"; there are {', '.join(present)}" if present else ""
        raise PipelineError(f"no directions '{name}' yet in {build.root}{others}: run `pipeline directions`")
    if (problem := problem_of_end(build, record_name(name))) is not None:
        raise BuildError(
            f"the directions '{name}' are damaged ({problem}): find them again by `pipeline directions`"
        )
    try:
        group = zarr.open_group(path, mode="r")
        arrays: dict[str, Any] = {
            array: np.asarray(cast(zarr.Array[Any], group[array])[...]) for array in DIMENSIONS
        }
        attributes = cast(dict[str, Any], dict(group.attrs))
        ranges = [(int(first), int(last)) for first, last in arrays.pop("ranges")]
        fine = tuple(attributes.pop("fine_layers"))
        return Directions(name=name, ranges=ranges, fine_layers=fine, **arrays, **attributes)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BuildError(f"{path} cannot be read ({error}): find them again by `pipeline directions`") from error


def list_directions(build: Build) -> list[str]:
    """Names of the sets that are there."""
    return sorted(path.parent.name for path in build.directions_path.glob("*/zarr.json"))


def set_path(build: Build, name: str) -> Path:
    """Folder of a set: a group within directions.zarr."""
    return build.directions_path / name
