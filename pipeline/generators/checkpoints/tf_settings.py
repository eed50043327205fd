"""The settings that a TensorFlow network was built with: each is rendered, has no say in the image, or is refused.

The repositories' functions take them as keywords and ignore those that they do not know. Here an unknown one is
refused, since the code that it was meant for is not run.
"""

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.arrays import is_array, to_array

MAX_ITEMS = 64  # of a list: no filter is longer

# What a file may say without changing the image that a code w+ gives under constant noise. Sizes are told by the
# variables; truncation and mixing are the caller's choice; precision is ours.
WITHOUT_EFFECT = (
    frozenset({"fmap_base", "fmap_decay", "fmap_min", "fmap_max", "fmap_const", "mapping_fmaps", "label_fmaps"})
    | frozenset({"truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val"})
    | frozenset({"dlatent_avg_beta", "style_mixing_prob", "dlatent_broadcast", "randomize_noise"})
    | frozenset({"is_training", "is_validation", "is_template_graph", "force_clean_graph", "return_dlatents"})
    | frozenset({"dtype", "num_fp16_res", "structure", "fused_modconv", "components"})
)


class Settings:
    """Settings by name, of which each reader takes its own; `finish` refuses what nobody took."""

    def __init__(self, given: Mapping[Any, Any]):
        self.given = {str(name): plain(value) for name, value in given.items()}
        self.taken: set[str] = set(WITHOUT_EFFECT)

    def take(self, name: str, default: Any) -> Any:
        """Return a setting, or what the repository's code has for it."""
        self.taken.add(name)
        return self.given.get(name, default)

    def flag(self, name: str, default: bool) -> bool:
        """Return a setting that is true or false."""
        value = self.take(name, default)
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            self.refuse(name)
        return bool(value)

    def number(self, name: str, default: float) -> float:
        """Return a setting that is a positive number."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            self.refuse(name)
        return float(value)

    def choice(self, name: str, default: Any, known: Iterable[Any]) -> Any:
        """Return a setting that is one of these."""
        value = self.take(name, default)
        if not any(value is one or (type(value) is type(one) and value == one) for one in known):
            self.refuse(name)
        return value

    def kernel(self, name: str, default: list[int], without: list[int]) -> Tensor:
        """Return a low-pass filter [h, w] of sum 1, said as taps or as a matrix; `without` where there is none."""
        value = self.take(name, default) or without
        try:
            kernel = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            self.refuse(name)
        if kernel.ndim == 1:
            kernel = np.outer(kernel, kernel)
        if kernel.ndim != 2 or not kernel.size or max(kernel.shape) > MAX_ITEMS:
            self.refuse(name)
        if not np.isfinite(kernel).all() or kernel.sum() == 0:
            self.refuse(name)
        return torch.from_numpy((kernel / kernel.sum()).astype(np.float32))

    def agree(self, name: str, found: int) -> None:
        """Refuse a size that is not that of the variables. None stands for a size that the code works out."""
        value = self.take(name, found)
        if value is not None and value != found:
            raise CheckpointError(
                f"it is damaged: its setting '{name}' is {shown(value)}, but its variables are those of {found}"
            )

    def refuse(self, name: str) -> NoReturn:
        """Refuse a setting by name."""
        raise CheckpointError(f"its setting '{name}' is {shown(self.given[name])}, which is not rendered here")

    def finish(self) -> None:
        """Refuse a setting that nobody took."""
        for name in sorted(self.given.keys() - self.taken):
            raise CheckpointError(
                f"its setting '{name[:60]}' = {shown(self.given[name])} is of no published network, "
                "so what it does to an image is not known here"
            )


def plain(value: Any, depth: int = 0) -> Any:
    """Turn numpy's numbers and small arrays into Python's; what is larger or deeper is left as it is."""
    if is_array(value):
        array = to_array(value)
        return array.tolist() if array.size <= MAX_ITEMS**2 else value
    if isinstance(value, list | tuple) and len(value) <= MAX_ITEMS and depth < 2:
        return [plain(item, depth + 1) for item in value]
    return value


def shown(value: Any) -> str:
    """Show a setting's value, shortened, without anything that a terminal obeys."""
    if isinstance(value, str | bool | int | float | list | tuple | None):
        return reprlib.repr(value).encode("ascii", "backslashreplace").decode()
    return "no plain value"


def agreed(parts: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
    """Join the settings of a network's components.

    Raises:
        CheckpointError: two say different things.
    """
    joined: dict[Any, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name in joined and plain(joined[name]) != plain(value):
                raise CheckpointError(f"it is damaged: two parts of its network disagree on '{str(name)[:60]}'")
            joined[name] = value
    return joined
