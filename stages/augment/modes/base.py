"""What a mode is: sources in, as many variants out. A mode is one file here and one line in MODES."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.seeds import seed_of


@dataclass(frozen=True)
class Sources:
    """The samples that variants are made of; one sample stands there once for each of its variants.

    Attributes:
        w: [B, num_ws, w_dim].
        rows: each sample's row in samples.parquet, [B].
        keys: what is unique to each variant; all its randomness comes from (seed, purpose, key).
    """

    w: Tensor
    rows: Tensor
    keys: list[str]


@dataclass(frozen=True)
class Context:
    """What modes draw on.

    Attributes:
        map: z [B, z_dim] to w+ [B, num_ws, w_dim].
        fine_layers: layers that do not carry the label.
        pool: rows of all samples that may be a partner, [P].
        read_w: rows [B] to their w+ [B, num_ws, w_dim].
    """

    map: Callable[[Tensor], Tensor]
    z_dim: int
    fine_layers: tuple[int, ...]
    pool: Tensor
    read_w: Callable[[Tensor], Tensor]
    seed: int

    def seeds(self, purpose: str, keys: list[str]) -> list[int]:
        """One seed for each variant."""
        return [seed_of(self.seed, purpose, key) for key in keys]


@dataclass(frozen=True)
class Variants:
    """w [B, num_ws, w_dim] of the variants, and the row of each one's partner [B] (-1: none)."""

    w: Tensor
    partner: Tensor


class Mode(Protocol):
    """Makes one variant of each source; the label is kept."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Return one variant for each source."""
        ...


def replace_layers(w: Tensor, other: Tensor, layers: tuple[int, ...]) -> Tensor:
    """[w_coarse(w), w_fine(other)]: take `layers` from `other`, both [B, num_ws, w_dim]."""
    mask = torch.zeros(w.shape[1], dtype=torch.bool, device=w.device)
    mask[list(layers)] = True
    return torch.where(mask[None, :, None], other, w)
