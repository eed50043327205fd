"""From a word on the command line to a classifier that is ready to be attacked."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib import import_module

import torch
from torch import nn

from pipeline.classifiers.base import LoadedClassifier
from pipeline.errors import PipelineError
from pipeline.files import user_path

Source = Callable[[str, int, int], LoadedClassifier]

# How a spec is recognised -> its loader, imported when first used; the first that fits is taken.
SOURCES: dict[str, tuple[Callable[[str], bool], str]] = {
    "MANIFEST.toml": (lambda spec: spec.endswith(".toml"), "pipeline.classifiers.manifest:read_classifier"),
    "timm:NAME@WEIGHTS.safetensors": (
        lambda spec: spec.startswith("timm:"),
        "pipeline.classifiers.outside:from_timm",
    ),
    "trusted:FILE.pt2": (lambda spec: spec.endswith(".pt2"), "pipeline.classifiers.outside:from_program"),
    "module:factory@WEIGHTS.safetensors": (
        lambda spec: ":" in spec.partition("@")[0],
        "pipeline.classifiers.outside:from_factory",
    ),
}


def load_classifier(
    spec: str, classes: int | tuple[str, ...], resolution: int, device: str = "cpu"
) -> LoadedClassifier:
    """Load a classifier of images [B, 3, resolution, resolution] in [-1, 1].

    A process keeps the last four, and reads one anew whose file has changed.

    Args:
        spec: a manifest (.toml) as `pipeline evaluate` writes them; `module:factory@weights.safetensors` for code
            of yours; `timm:NAME@weights.safetensors`; or `trusted:program.pt2`, which may run code.
        classes: how many there are, or their names: then those of a manifest have to be the same.

    Raises:
        ManifestError: a manifest that is wrong, or for images of another size.
        WeightsError: weights that are missing, damaged or another network's.
        PipelineError: the spec is of no known kind, or the network does not tell these classes apart.
    """
    names, count = ((), classes) if isinstance(classes, int) else (classes, len(classes))
    loaded = _load(spec, count, resolution, device, changed_ns(spec))
    if names and loaded.classes and loaded.classes != names:
        raise PipelineError(
            f"classifier '{loaded.name}' tells {', '.join(loaded.classes[:3])} … apart, and the classes of the "
            f"dataset are {', '.join(names[:3])} …: use one that was trained on these labels"
        )
    return loaded


def file_in(spec: str) -> str:
    """The part of a spec that names a file, which ends it; empty where none does."""
    if spec.endswith((".toml", ".pt2")):
        return spec.removeprefix("trusted:")
    return spec.partition("@")[2]


def absolute_spec(spec: str) -> str:
    """The spec with an absolute path to its file, for workers that may run in another folder."""
    name = file_in(spec)
    return spec.removesuffix(name) + str(user_path(name)) if name else spec


def changed_ns(spec: str) -> int:
    """When the file that a spec names was last changed; 0 where there is none."""
    name = file_in(spec)
    return user_path(name).stat().st_mtime_ns if name and user_path(name).is_file() else 0


@lru_cache(maxsize=4)
def _load(spec: str, num_classes: int, resolution: int, device: str, changed: int) -> LoadedClassifier:
    target = next((target for fits, target in SOURCES.values() if fits(spec)), None)
    if target is None:
        raise PipelineError(
            f"'{spec}' is not a classifier: give one of {', '.join(SOURCES)}; `pipeline evaluate` trains one and "
            f"writes its manifest"
        )
    module, _, name = target.partition(":")
    source: Source = getattr(import_module(module), name)
    loaded = source(spec, num_classes, resolution)
    network = loaded.network.to(device).eval().requires_grad_(False)
    found = count_logits(network, resolution, loaded.name)
    if found != num_classes:
        raise PipelineError(
            f"classifier '{loaded.name}' tells {found} classes apart, and the dataset has {num_classes}: "
            f"use one that was trained on it"
        )
    return replace(loaded, network=network)


@torch.no_grad()
def count_logits(network: nn.Module, resolution: int, name: str) -> int:
    """Classes of a network, asked with two grey images. Raises PipelineError where it takes no such images."""
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    try:
        logits = network(torch.zeros(2, 3, resolution, resolution, device=device))
    except Exception as error:  # anybody's network, so anything
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise PipelineError(
            f"classifier '{name}' takes no images of {resolution}x{resolution}: {reason}"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != 2:
        shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise PipelineError(f"classifier '{name}' gives {shape} for two images; it must give logits [2, classes]")
    return logits.shape[1]
