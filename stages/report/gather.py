"""Collects from a build what the report shows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline import composition
from pipeline.build import Build
from pipeline.errors import BuildError, SampleError
from pipeline.generators import open_generator
from pipeline.images import Pixels, to_uint8
from pipeline.latents import generator_of, read_composition
from pipeline.ledger import details_of, recorded_rows
from pipeline.seeds import torch_generator
from pipeline.store import open_group, read_attributes, read_rows, read_scattered

METRICS = {"psnr": "PSNR, dB", "lpips": "perceptual distance", "l1": "mean |difference| (range 2)"}


@dataclass(frozen=True)
class Row:
    """One sample: its original, its reconstruction, and variants by set."""

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


def gather(build: Build, count: int, per_set: int, seed: int) -> Contents:
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
    return Contents(
        info=build.info(),
        samples=samples,
        metrics=metrics,
        gallery=rows_of(build, generator, samples, np.sort(pool[order[:count]]), per_set),
        best=rows_of(build, generator, samples, by_psnr[::-1][:count], 0),
        worst=rows_of(build, generator, samples, by_psnr[:count], 0),
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


def rows_of(
    build: Build, generator: str, samples: pd.DataFrame, rows: NDArray[np.int64], per_set: int
) -> list[Row]:
    """Load and render some samples; one whose original cannot be read any more shows its reconstruction alone."""
    latents: Any = open_group(build.latents_path)
    psnr = latents["psnr"][:]
    table = []
    for row in rows:
        sample = samples.iloc[row]
        reconstruction = render(build, generator, latents["w"][row][None], np.array([row]))[0]
        try:
            original = build.reader.load(sample["source"]).pixels
        except SampleError:
            original = np.full_like(reconstruction, 255)
        variants = {
            name: variants_of(build, generator, name, int(row), per_set)
            for name in build.variant_names()
            if per_set
        }
        class_name = str(build.reader.classes[sample["label"]])
        table.append(
            Row(
                sample["id"],
                class_name,
                sample["split"],
                float(psnr[row]),
                original,
                reconstruction,
                variants,
            )
        )
    return table


def variants_of(build: Build, generator: str, name: str, row: int, count: int) -> list[Pixels]:
    """Render the first variants of a sample."""
    path = build.variants_path(name)
    columns = read_rows(path, ("source", "valid"), 0, recorded_rows(build, f"augment/{name}"))
    places = np.flatnonzero((columns["source"] == row) & (columns["valid"] == 1))[:count]
    if len(places) == 0:
        return []
    if "image" in open_group(path):  # pixels that no w+ renders
        return list(read_scattered(path, ["image"], places)["image"])
    return list(render(build, generator, read_scattered(path, ["w"], places)["w"], columns["source"][places]))


def render(build: Build, generator: str, w: NDArray[np.float32], rows: NDArray[np.int64]) -> Pixels:
    """Render w+ [B, num_ws, w_dim] of samples, with their codes, as uint8 [B, H, W, 3]."""
    network = open_generator(generator).network
    with torch.inference_mode():
        codes = read_composition(build, rows)
        return to_uint8(composition.render(network, torch.from_numpy(np.asarray(w)), codes))
