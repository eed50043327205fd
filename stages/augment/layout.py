"""The arrays of variants/NAME.zarr."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.generators.layered import LayeredGenerator
from pipeline.store import ArraySpec
from stages.augment.config import AugmentConfig, makes_soft_labels
from stages.augment.modes import MODES

Columns = dict[str, NDArray[Any]]

# What there is of every variant besides w and images: dtype, and the value that means "does not apply".
FACTS: dict[str, tuple[str, float]] = {
    "source": ("int64", -1),
    "partner": ("int64", -1),
    "variant": ("int64", -1),
    "label": ("int64", -1),
    "valid": ("uint8", 0),
    "distance": ("float32", np.nan),
    "moved": ("float32", np.nan),
    "epsilon": ("float32", np.nan),
    "lam": ("float32", np.nan),
    "fooled": ("uint8", 0),
    "source_fooled": ("uint8", 0),
    "flagged": ("uint8", 0),
    "restarts": ("int32", 0),
    "direction": ("int32", -1),
    "first_layer": ("int32", -1),
    "last_layer": ("int32", -1),
}


def layout(config: AugmentConfig, network: LayeredGenerator, num_classes: int) -> dict[str, ArraySpec]:
    """Arrays of a set: `w`, the facts, and `soft_label` and `image` where the mode makes them."""
    entry = MODES[config.mode]
    w = ArraySpec("float32", (network.num_ws, network.w_dim), ("layer", "channel"), sharded=True, compress=True)
    specs = {"w": w}
    specs |= {name: ArraySpec(dtype, fill=0 if fill != fill else fill) for name, (dtype, fill) in FACTS.items()}
    if makes_soft_labels(config, entry):
        specs["soft_label"] = ArraySpec("float32", (num_classes,), ("class",))
    if entry.pixels:
        size = network.resolution
        specs["image"] = ArraySpec("uint8", (size, size, 3), ("y", "x", "rgb"), sharded=True, compress=True)
    return specs


def empty_columns(specs: dict[str, ArraySpec], rows: int) -> Columns:
    """Rows of which nothing is known: NaN, 0, or what means "does not apply"."""
    return {
        name: np.full((rows, *spec.tail), np.nan if spec.dtype.startswith("float") else spec.fill, spec.dtype)
        for name, spec in specs.items()
    }
