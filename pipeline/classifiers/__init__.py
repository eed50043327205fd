"""Classifiers: built by architecture, loaded from files without running anything in them, attacked.

The names below load when first used, for the list of architectures stands in the help of a command and must not
wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.classifiers.base import LoadedClassifier, classify
    from pipeline.classifiers.loading import load_classifier

__all__ = ["LoadedClassifier", "classify", "load_classifier"]

HOMES = {"LoadedClassifier": "base", "classify": "base", "load_classifier": "loading"}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
