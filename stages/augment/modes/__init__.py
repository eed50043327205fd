"""The modes of `pipeline augment`, by name. They load when first used, so that listing them costs nothing."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.augment.modes.base import Mode


@dataclass(frozen=True)
class ModeEntry:
    """Where a mode is and what it does."""

    target: str
    help: str

    def load(self) -> "Mode":
        """Import the mode and make it."""
        module, _, name = self.target.partition(":")
        mode: Mode = getattr(import_module(module), name)()
        return mode


MODES = {
    "randmix": ModeEntry(
        "stages.augment.modes.randmix:RandMix", "takes the fine layers from a random z (AdvMix, eq. 17)"
    ),
    "mix": ModeEntry("stages.augment.modes.mix:Mix", "takes them from another sample (AdvMix, eq. 11)"),
}
