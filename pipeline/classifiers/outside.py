"""Classifiers of your own: a factory in your code, a network of timm, a program of torch.export."""

import sys
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import nn

from pipeline.classifiers.base import LoadedClassifier, Standardised
from pipeline.classifiers.manifest import put_weights
from pipeline.config import digest_of
from pipeline.errors import PipelineError, WeightsError
from pipeline.files import sha256_file, user_path

PAIR = "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cpu"


def weights_of(spec: str, source: str) -> Path:
    """The file after @. Raises PipelineError where it is missing or could run code."""
    _, at, name = spec.partition("@")
    if not at or not name.endswith(".safetensors"):
        raise PipelineError(
            f"classifier '{spec}': put its weights behind it, as {source}@WEIGHTS.safetensors; pickles (.pt, .pth) "
            f"can run code and are not read, so save them with `safetensors.torch.save_file(model.state_dict(), …)`"
        )
    path = user_path(name)
    if not path.is_file():
        raise WeightsError(f"no weights at {path}")
    return path


def from_factory(spec: str, num_classes: int, resolution: int) -> LoadedClassifier:
    """`module:factory@weights.safetensors`: your code, called as `factory(num_classes=…)`.

    The module is imported as Python would, from PYTHONPATH or the present folder.
    """
    weights = weights_of(spec, "module:factory")
    source = spec.partition("@")[0]
    module_name, _, attribute = source.partition(":")
    import_torchvision()  # your module may do so itself, or import timm, which does
    sys.path.append(str(Path.cwd()))
    try:
        factory: Callable[..., Any] = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise PipelineError(
            f"classifier '{source}' cannot be imported ({error}): put the folder with {module_name} on PYTHONPATH"
        ) from error
    except Exception as error:  # your code, so anything
        raise PipelineError(
            f"classifier '{source}' cannot be imported, {module_name} raises {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.pop()
    try:
        network = factory(num_classes=num_classes)
    except TypeError as error:
        raise PipelineError(
            f"classifier '{source}' does not take being called as {attribute}(num_classes={num_classes}): {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise PipelineError(
            f"classifier '{source}' gives a {type(network).__name__}; it must give a torch.nn.Module"
        )
    put_weights(network, weights)
    return LoadedClassifier(network, attribute, digest_of([source, sha256_file(weights)]), num_classes)


def from_timm(spec: str, num_classes: int, resolution: int) -> LoadedClassifier:
    """`timm:NAME@weights.safetensors`, normalised as timm's configuration of that network says."""
    weights = weights_of(spec, "timm:NAME")
    import_torchvision()
    try:
        import timm
    except ImportError as error:
        raise PipelineError(
            f"classifiers of timm need timm, which cannot be imported ({error}): pip install timm"
        ) from error
    name = spec.partition("@")[0].removeprefix("timm:")
    if not timm.is_model(name):
        raise PipelineError(f"timm has no network '{name}': `python -c 'import timm; print(timm.list_models())'`")
    try:  # transformers have their image size built in, convolutional networks know none
        network = timm.create_model(name, pretrained=False, num_classes=num_classes, img_size=resolution)
    except TypeError:
        network = timm.create_model(name, pretrained=False, num_classes=num_classes)
    put_weights(network, weights)
    facts: dict[str, Any] = cast(dict[str, Any], network.pretrained_cfg)
    standardised = Standardised(network, tuple(facts["mean"]), tuple(facts["std"]))
    return LoadedClassifier(standardised, name, digest_of([f"timm:{name}", sha256_file(weights)]), num_classes)


def from_program(spec: str, num_classes: int, resolution: int) -> LoadedClassifier:
    """`trusted:FILE.pt2`: a program of `torch.export.save`, with a dynamic batch dimension.

    `torch.export.load` falls back to plain unpickling of what it does not know, so a hostile file runs code: the
    word says that you know where this one comes from.
    """
    if not spec.startswith("trusted:"):
        raise PipelineError(
            f"a .pt2 file can run code while it is loaded: if you know where {spec} comes from, say so "
            f"as trusted:{spec}"
        )
    path = user_path(spec.removeprefix("trusted:"))
    if not path.is_file():
        raise WeightsError(f"no weights at {path}")
    try:
        program = torch.export.load(path)
    except Exception as error:  # whatever its many readers raise
        raise WeightsError(f"{path} is not a program of torch.export: {error}") from error
    return LoadedClassifier(Program(program.module()), path.stem, sha256_file(path), num_classes)


class Program(nn.Module):
    """An exported program, which has the mode it was exported in and raises when asked to change it."""

    def __init__(self, program: nn.Module):
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> Self:
        """Leave the program's mode alone."""
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B, num_classes] of images [B, 3, H, W] in [-1, 1]."""
        logits: torch.Tensor = self.program(x)
        return logits


def import_torchvision() -> None:
    """Import torchvision, if it is there; one for another build of torch without its compiled operators.

    Raises:
        PipelineError: it is of another version than torch.
    """
    try:
        import_module("torchvision")
    except ModuleNotFoundError:
        return  # what needs it says so
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        missing = "torchvision._meta_registrations"
        sys.modules[missing] = types.ModuleType(missing)
        try:
            import_module("torchvision")
        except Exception as error:  # whatever two versions do to each other
            raise PipelineError(
                f"torchvision cannot be imported beside torch {torch.__version__} ({error}): install the two as a "
                f"pair from one index, {PAIR}"
            ) from error
