"""What the conversion of a state dict gives."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Converted:
    """A state dict under the keys of a family, and what else the family must know.

    Attributes:
        settings, notes: see `Checkpoint`.
    """

    state: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
