"""The whole job: draw, reduce, regress, score, show, store; done already, it returns what is there."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pipeline.belongings import announce, problem_of_end, read_end
from pipeline.build import Build, changed_settings, now
from pipeline.classifiers import LoadedClassifier
from pipeline.config import digest_of, stored_settings
from pipeline.directions import Directions, read_directions, record_name, write_directions
from pipeline.errors import BuildError, PipelineError
from pipeline.files import sweep_partial
from pipeline.generators import LoadedGenerator
from pipeline.latents import read_composition, to_tensor
from pipeline.perceptual import load_perceptual, perceptual_digest
from pipeline.seeds import torch_generator
from pipeline.store import read_attributes, read_scattered
from stages.directions.axes import Axes, find_axes
from stages.directions.config import DirectionsConfig
from stages.directions.ranges import choose_ranges
from stages.directions.sampling import draw_samples, draw_w, resolve_space
from stages.directions.scoring import Judges, Scored, score
from stages.directions.strips import pictures_of, write_strips

VERSION = 2
STRIP_ROWS, LARGE_ROWS = 4, 2  # samples in a picture of edits; of images beyond 256x256


@dataclass(frozen=True)
class Parts:
    """What a run works with."""

    generator: LoadedGenerator
    perceptual: str
    classifier: LoadedClassifier | None
    device: torch.device
    batch_size: int


def find_directions(build: Build, name: str, config: DirectionsConfig, parts: Parts, fresh: bool) -> dict[str, Any]:
    """Find, score and store the directions `name`; return the summary. The caller holds the build's lock.

    Raises:
        BuildError: they were found with other settings (which are named), unless `fresh`.
    """
    scored_on = samples_to_score(build, config, parts)
    settings = {
        "version": VERSION,
        **stored_settings(config),
        "generator": parts.generator.sha256,
        "fine_layers": list(parts.generator.fine_layers),
        "perceptual": perceptual_digest(parts.perceptual),
        "classifier": parts.classifier.sha256 if parts.classifier else "",
    }
    scored = digest_of([scored_on.kind, scored_on.w.tolist()])
    folder, key = build.root / "directions" / name, record_name(name)
    found = None if fresh else read_end(build, key)
    if found is not None and found["details"]:
        changed = changed_settings(found["details"]["settings"], settings)
        if changed:
            raise BuildError(
                f"the directions '{name}' were found with other settings in {build.root} ({'; '.join(changed)}): "
                f"use those again, name others with --name, or find these anew with --fresh"
            )
        if found["details"]["scored"] == scored and problem_of_end(build, key) is None:
            kept = {"folder": str(folder), "seconds": found["details"]["seconds"]}
            return {**read_directions(build, name).record["summary"], **kept, "computed": False}
    sweep_partial(build.root)
    began = time.perf_counter()
    directions, axes = unscored(name, config, parts)
    judges = Judges(
        parts.generator.network,
        load_perceptual(parts.perceptual, parts.device.type),
        parts.classifier.network if parts.classifier else None,
    )
    effect, flips = score(directions, scored_on.to(parts.device), judges, parts.batch_size)
    order = np.argsort(-effect.max(axis=1), kind="stable")
    directions = replace(
        directions,
        axes=directions.axes[order],
        deviations=directions.deviations[order],
        effect=effect[order],
        flips=flips[order],
    )
    network = parts.generator.network
    rows = STRIP_ROWS if network.resolution <= 256 else LARGE_ROWS
    few = scored_on.at(torch.arange(min(rows, len(scored_on.w)))).to(parts.device)
    announce(build, key, pictures_of(folder, directions).values())
    pictures = write_strips(folder, directions, network, few, parts.batch_size)
    summary = {
        "directions": name,
        "axes": len(directions.axes),
        "ranges": [f"{first}-{last}" for first, last in directions.ranges],
        "irrelevant": len(directions.irrelevant()),
        "scored_on": scored_on.kind,
        "condition_plain": axes.condition_plain,
        "condition": axes.condition,
        "explained": axes.explained,
        "largest_cosine": axes.largest_cosine,
        "strips": len(pictures),
    }
    record = {"settings": settings, "scored": scored, "summary": summary}
    seconds = round(time.perf_counter() - began, 2)
    details = {"settings": settings, "scored": scored, "found": now(), "seconds": seconds}
    write_directions(build, replace(directions, record=record), pictures, details)
    return {**summary, "folder": str(folder), "seconds": seconds, "computed": True}


def unscored(name: str, config: DirectionsConfig, parts: Parts) -> tuple[Directions, Axes]:
    """Axes and deviations, in the order in which the regression gave them; nothing is rendered yet."""
    network = parts.generator.network
    samples = draw_samples(network, resolve_space(parts.generator, config), config)
    ranges = choose_ranges(config.ranges, samples.layers, parts.generator.fine_layers)
    axes = find_axes(samples.features, samples.w, samples.free, config)
    shape = (len(axes.units), len(ranges))
    some_carry_labels = len(parts.generator.fine_layers) < network.num_ws
    found = Directions(
        name=name,
        method=config.method,
        mean=samples.w.mean(axis=0),
        axes=axes.units,
        deviations=(samples.w @ axes.units.T).std(axis=0),
        ranges=ranges,
        effect=np.full(shape, np.nan, np.float32),
        flips=np.full(shape, np.nan, np.float32),
        generator_sha256=parts.generator.sha256,
        scored_step=config.step,
        typical=config.typical,
        fine_layers=parts.generator.fine_layers if some_carry_labels else (),
    )
    return found, axes


def samples_to_score(build: Build, config: DirectionsConfig, parts: Parts) -> Scored:
    """What the edits are scored on: inverted samples, or else random w.

    Raises:
        PipelineError: the dataset has no such split.
    """
    samples = build.samples("split", "status")
    if config.split not in set(samples["split"]):
        splits = ", ".join(sorted(samples["split"].unique()))
        raise PipelineError(f"--split {config.split}: the dataset has {splits}")
    rows = np.flatnonzero((samples["split"] == config.split) & (samples["status"] == "ok"))
    inverted = read_attributes(build.latents_path).get("generator_sha256") == parts.generator.sha256
    if len(rows) == 0 or not inverted:
        batches = draw_w(parts.generator.network, config.score_samples, config, "scored")
        return Scored(torch.cat([batch.float().cpu() for batch in batches]), None, "random")
    picked = torch.randperm(len(rows), generator=torch_generator(config.seed, "scored"))[: config.score_samples]
    chosen = np.sort(rows[picked.numpy()])
    w = to_tensor(read_scattered(build.latents_path, ["w"], chosen)["w"])
    return Scored(w, read_composition(build, chosen), "inverted")
