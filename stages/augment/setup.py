"""Gathers what the modes draw on: networks, latents, labels, pixels, directions."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.build import Build
from pipeline.classifiers import LoadedClassifier, load_classifier
from pipeline.composition import render
from pipeline.config import digest_of
from pipeline.directions import Range, read_directions
from pipeline.errors import PipelineError, SampleError
from pipeline.generators import LoadedGenerator, open_generator
from pipeline.images import to_float
from pipeline.latents import has_composition, read_composition, to_tensor
from pipeline.sources import Originals
from pipeline.store import read_scattered
from stages.augment.config import AugmentConfig
from stages.augment.modes import MODES
from stages.augment.modes.base import Context, Edit


def check_mode(config: AugmentConfig, build: Build, loaded: LoadedGenerator, layers: tuple[int, ...]) -> None:
    """Raise PipelineError where a mode makes no sense of the generator or of the samples."""
    entry, network, name = MODES[config.mode], loaded.network, loaded.manifest.name
    if entry.single_code and has_composition(build):
        raise PipelineError(
            f"--mode {config.mode} is for samples of a single code, and these have several: use another mode, or a "
            f"build that was inverted with --codes 1"
        )
    if entry.draws_z and network.c_dim:
        raise PipelineError(
            f"--mode {config.mode}: generator '{name}' wants a label with each z, and this mode draws z's without: "
            f"use --mode mix, or one that edits the samples' own codes"
        )
    if "fine_layers" in entry.options and set(layers) == set(range(network.num_ws)):
        raise PipelineError(
            f"--mode {config.mode} keeps the coarse layers, and all layers of generator '{name}' count as fine: "
            f"name those without the label by --fine-layers, or use a mode that edits the samples' codes"
        )


def open_classifier(config: AugmentConfig, build: Build, generator: str, device: str) -> LoadedClassifier | None:
    """The classifier that is attacked; None where none is given."""
    if config.classifier is None:
        return None
    resolution = open_generator(generator).network.resolution
    return load_classifier(config.classifier, tuple(build.classes), resolution, device)


def open_edits(config: AugmentConfig, build: Build, loaded: LoadedGenerator) -> tuple[Edit, ...]:
    """The label-irrelevant edits of the directions that the mode names; none where it names none.

    Raises:
        PipelineError: there are no such directions, they belong to another generator, or none is label-irrelevant.
    """
    if "directions" not in MODES[config.mode].options:
        return ()
    found = read_directions(build, config.directions)
    if found.generator_sha256 != loaded.sha256 or found.axes.shape[1] != loaded.network.w_dim:
        raise PipelineError(
            f"directions '{config.directions}' are not of the w that generator '{loaded.manifest.name}' takes: run "
            f"`pipeline directions --name {config.directions} --fresh`"
        )
    chosen = without_overlaps(found.irrelevant())
    if not chosen:
        raise PipelineError(
            f"none of the directions '{config.directions}' keeps the label: score more of them, or other ranges of "
            f"layers, with `pipeline directions --ranges`"
        )
    units = found.axes.astype(np.float32)
    return tuple(
        Edit(
            direction=axis,
            first_layer=first,
            last_layer=last,
            axis=to_tensor(units[axis]),
            deviation=float(found.deviations[axis]),
            mean=float(found.mean @ units[axis] / found.deviations[axis]),
            typical=found.typical or torch.inf,
        )
        for axis, (first, last) in chosen
    )


def without_overlaps(chosen: list[tuple[int, Range]]) -> list[tuple[int, Range]]:
    """Of edits (axis, layers), the strongest first, those that no stronger one moves along the same axis and layer.

    Edits add up, and were judged one by one: two of one axis on one layer would go twice as far.
    """
    kept: list[tuple[int, Range]] = []
    for axis, (first, last) in chosen:
        if all(axis != other or last < begin or end < first for other, (begin, end) in kept):
            kept.append((axis, (first, last)))
    return kept


def edits_digest(edits: tuple[Edit, ...]) -> str:
    """Digest of what decides the edits."""
    return digest_of(
        [
            [e.direction, e.first_layer, e.last_layer, e.axis.tolist(), e.deviation, e.mean, str(e.typical)]
            for e in edits
        ]
    )


def make_context(
    build: Build,
    config: AugmentConfig,
    generator: str,
    layers: tuple[int, ...],
    pool: NDArray[np.int64],
    slots: int,
    device: torch.device,
) -> Context:
    """Open everything on a device; `pool` is the rows of the samples that may be partners."""
    loaded = open_generator(generator, device.type)
    classifier = open_classifier(config, build, generator, device.type)
    labels = torch.from_numpy(build.samples("label")["label"].to_numpy(np.int64).copy())
    network = loaded.network
    return Context(
        map=network.map,
        render=lambda w, codes: render(network, w, codes),
        z_dim=network.z_dim,
        fine_layers=layers,
        pool=torch.from_numpy(pool),
        read_w=w_reader(build, device),
        read_codes=lambda rows: read_composition(build, rows.numpy(), device),
        read_labels=lambda rows: labels[rows],
        read_images=lambda rows: read_pixels(build, rows.numpy(), device),
        num_classes=len(build.classes),
        config=config,
        classify=None if classifier is None else as_displayed(classifier.network),
        edits=open_edits(config, build, loaded),
        slots=slots,
        generator=network,
    )


def as_displayed(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """What a classifier says of images as they will be stored: a generator's pixels beyond [-1, 1] are cut off."""

    def classify(images: Tensor) -> Tensor:
        logits: Tensor = network(images.clamp(-1, 1))
        return logits

    return classify


def w_reader(build: Build, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Reads w+ [B, num_ws, w_dim] of rows [B], in any order and as often as they are asked for."""

    def read_w(rows: Tensor) -> Tensor:
        return to_tensor(read_scattered(build.latents_path, ["w"], rows.numpy())["w"]).to(device)

    return read_w


def read_pixels(build: Build, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """The samples' own pixels [B, 3, H, W] in [-1, 1], each read once; NaN where a file cannot be read any more."""
    wanted, places = np.unique(rows, return_inverse=True)
    images = torch.full((len(wanted), 3, build.manifest.resolution, build.manifest.resolution), torch.nan)
    for image, found in zip(images, Originals(build).read(wanted.tolist()), strict=True):
        if not isinstance(found, SampleError):
            image.copy_(to_float(found[None])[0])
    return images[torch.from_numpy(places)].to(device)
