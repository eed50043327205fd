"""Collects from a build what the report shows."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline import composition
from pipeline.batches import render_slots
from pipeline.build import Build
from pipeline.devices import resolve_device
from pipeline.errors import BuildError, SampleError
from pipeline.generators import open_generator
from pipeline.images import Pixels, shrunk, to_uint8
from pipeline.latents import generator_of, read_composition, to_tensor
from pipeline.ledger import details_of, recorded_rows
from pipeline.memory import in_batches
from pipeline.progress import Progress
from pipeline.seeds import torch_generator
from pipeline.sources import Originals
from pipeline.store import open_group, read_attributes, read_rows, read_scattered
from pipeline.variants import outdated_sources

LARGEST = 256  # pixels of a thumbnail's side
METRICS = {"psnr": "PSNR, dB", "lpips": "perceptual distance", "l1": "mean |difference| (range 2)"}


@dataclass(frozen=True)
class Row:
    """One sample: its original, its reconstruction, and variants by set, all as thumbnails."""

    id: str
    class_name: str
    split: str
    psnr: float
    original: Pixels
    reconstruction: Pixels
    variants: dict[str, list[Pixels]] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """Everything on the page.

    Attributes:
        retried: images that were inverted a second time, for being far from the others.
        variant_sets: attributes of each set, with the numbers of its `variants` and of those `flagged`.
    """

    info: dict[str, Any]
    samples: pd.DataFrame
    metrics: dict[str, NDArray[np.float32]]
    gallery: list[Row]
    best: list[Row]
    worst: list[Row]
    variant_sets: dict[str, dict[str, Any]]
    retried: int


def gather(build: Build, count: int, per_set: int, seed: int, device: str = "auto") -> Contents:
    """Draw `count` samples for the gallery (those with variants first) and the best and worst inversions.

    Raises:
        BuildError: nothing has been inverted.
    """
    samples = build.samples()
    good = np.flatnonzero((samples["status"] == "ok").to_numpy())
    generator = generator_of(build)
    if len(good) == 0:
        raise BuildError(f"no sample of {build.root} is inverted: run `pipeline invert` first")
    metrics = {
        name: values[good] for name, values in read_rows(build.latents_path, list(METRICS), 0, len(samples)).items()
    }
    sets = {name: describe_set(build, name) for name in build.variant_names()}
    split = next((attributes["split"] for attributes in sets.values()), None)
    preferred = good[(samples["split"] == split).to_numpy()[good]] if split else good
    pool = preferred if len(preferred) else good
    order = torch.randperm(len(pool), generator=torch_generator(seed, "report")).numpy()
    by_psnr = good[np.argsort(metrics["psnr"])]
    album, shown = Album(build, generator, samples, device), np.sort(pool[order[:count]])
    with Progress("report", len(shown) + 2 * len(by_psnr[:count]), "samples") as progress:
        gallery = album.rows(shown, per_set, progress)
        best, worst = (album.rows(rows[:count], 0, progress) for rows in (by_psnr[::-1], by_psnr))
    return Contents(
        info=build.info(),
        samples=samples,
        metrics=metrics,
        gallery=gallery,
        best=best,
        worst=worst,
        variant_sets=sets,
        retried=sum(details["retried"] for details in details_of(build, "invert")),
    )


def describe_set(build: Build, name: str) -> dict[str, Any]:
    """Attributes of a variant set, and how many it holds."""
    path = build.variants_path(name)
    columns = read_rows(path, ("valid", "flagged"), 0, recorded_rows(build, f"augment/{name}"))
    valid = columns["valid"] == 1
    counts = {"variants": int(valid.sum()), "flagged": int((columns["flagged"][valid] == 1).sum())}
    return {**read_attributes(path), **counts}


@dataclass(frozen=True)
class Album:
    """Loads and renders what is shown, as thumbnails; what is stored anyway is not rendered."""

    build: Build
    generator: str
    samples: pd.DataFrame
    device: str

    @cached_property
    def sets(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Source of every variant by set, and whether it is shown: it is valid, and of the present picture."""
        found = {}
        for name in self.build.variant_names():
            rows = recorded_rows(self.build, f"augment/{name}")
            columns = read_rows(self.build.variants_path(name), ("source", "valid"), 0, rows)
            outdated = np.isin(columns["source"], outdated_sources(self.build, name))
            found[name] = {"source": columns["source"], "shown": (columns["valid"] == 1) & ~outdated}
        return found

    @cached_property
    def originals(self) -> Originals:
        """The samples' own pixels."""
        return Originals(self.build)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.build.classes

    def rows(self, rows: NDArray[np.int64], per_set: int, progress: Progress) -> list[Row]:
        """Some samples; one whose original cannot be read any more shows its reconstruction alone."""
        psnr = read_scattered(self.build.latents_path, ["psnr"], rows)["psnr"]
        found = []
        for row, quality in zip(rows, psnr, strict=True):
            sample = self.samples.iloc[row]
            reconstruction = self.reconstruction(int(row))
            (own,) = self.originals.read([int(row)])
            original = np.full_like(reconstruction, 255) if isinstance(own, SampleError) else shrunk(own, LARGEST)
            variants = {name: self.variants(name, int(row), per_set) for name in self.sets if per_set}
            class_name = str(self.classes[sample["label"]])
            found.append(
                Row(
                    sample["id"],
                    class_name,
                    sample["split"],
                    float(quality),
                    original,
                    reconstruction,
                    variants,
                )
            )
            progress.advance(1)
        return found

    def reconstruction(self, row: int) -> Pixels:
        """The rendering of a sample's w+."""
        path, rows = self.build.latents_path, np.array([row])
        if "image" in open_group(path):
            return shrunk(read_scattered(path, ["image"], rows)["image"][0], LARGEST)
        return self.render(read_scattered(path, ["w"], rows)["w"], rows)[0]

    def variants(self, name: str, row: int, count: int) -> list[Pixels]:
        """The first variants of a sample."""
        path, columns = self.build.variants_path(name), self.sets[name]
        places = np.flatnonzero((columns["source"] == row) & columns["shown"])[:count]
        if len(places) == 0:
            return []
        if "image" in open_group(path):  # pixels that no w+ renders
            return [shrunk(pixels, LARGEST) for pixels in read_scattered(path, ["image"], places)["image"]]
        return self.render(read_scattered(path, ["w"], places)["w"], columns["source"][places])

    def render(self, w: NDArray[np.float32], rows: NDArray[np.int64]) -> list[Pixels]:
        """Render w+ [B, num_ws, w_dim] of samples, with their codes, as B thumbnails."""
        device = resolve_device(self.device)
        network = open_generator(self.generator, device.type).network
        codes = read_composition(self.build, rows, device)

        def rendered(some: slice) -> list[Pixels]:
            mine = None if codes is None else codes.rows(torch.arange(len(w))[some].to(device))
            with torch.inference_mode():
                images = composition.render(network, to_tensor(w[some]).to(device), mine)
            return [shrunk(pixels, LARGEST) for pixels in to_uint8(images)]

        parts = in_batches(len(w), render_slots(None, self.generator, device), rendered)
        return [pixels for part in parts for pixels in part]
