"""What a mode is: sources in, as many variants out. A mode is one file here and one line in MODES."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from pipeline.composition import Composition
from pipeline.generators import Generator
from pipeline.seeds import seed_of

if TYPE_CHECKING:
    from stages.augment.config import AugmentConfig


@dataclass(frozen=True)
class Sources:
    """The samples that variants are made of; one sample stands there once for each of its variants.

    Attributes:
        w: [B, num_ws, w_dim].
        rows: each sample's row in samples.parquet, [B].
        keys: what is unique to each variant; all its randomness comes from (seed, purpose, key).
        labels: int64 [B].
        numbers: which variant of its sample each one is, [B].
        composition: the codes that belong to w, where samples have several.
    """

    w: Tensor
    rows: Tensor
    keys: list[str]
    labels: Tensor
    numbers: Tensor
    composition: Composition | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, places: Tensor) -> "Sources":
        """Some of them."""
        keys = [self.keys[i] for i in places.tolist()]
        return Sources(
            self.w[places], self.rows[places], keys, self.labels[places], self.numbers[places], self.codes(places)
        )

    def distinct(self) -> tuple[Tensor, Tensor]:
        """Places of one variant of each sample [S], and which of these samples each variant is of [B]."""
        rows, back = torch.unique(self.rows, return_inverse=True)
        return torch.stack([torch.nonzero(back == i)[0, 0] for i in range(len(rows))]), back

    def codes(self, places: Tensor) -> Composition | None:
        """The codes of some of them."""
        return None if self.composition is None else self.composition.rows(places.to(self.w.device))


@dataclass(frozen=True)
class Edit:
    """An edit D(u, first-last) of NaTra: w + r deviation u on those layers.

    Attributes:
        direction: number of the axis u among the directions.
        axis: u, of length 1, [w_dim].
        deviation: standard deviation of w along u, the unit of r.
        mean: where the mean of w lies along u, in deviations.
        typical: deviations from the mean beyond which no edit leads.
    """

    direction: int
    first_layer: int
    last_layer: int
    axis: Tensor
    deviation: float
    mean: float = 0.0
    typical: float = torch.inf


@dataclass(frozen=True)
class Context:
    """What modes draw on.

    Attributes:
        map: z [B, z_dim] to w+ [B, num_ws, w_dim].
        render: w+ and the codes that belong to it to images [B, 3, H, W] about [-1, 1].
        fine_layers: layers that do not carry the label.
        pool: rows of all samples that may be a partner, [P], ascending.
        read_w: rows [B] to their w+ [B, num_ws, w_dim].
        read_codes: rows [B] to the codes that belong to it, if there are any.
        read_labels: rows [B] to their labels [B].
        read_images: rows [B] to the samples' own pixels [B, 3, H, W] in [-1, 1].
        config: the settings, the mode's own numbers in place.
        classify: images [B, 3, H, W] to logits [B, num_classes], where a classifier is given.
        edits: the label-irrelevant edits, where the mode wants them.
        slots: images computed at once.
        generator: what `map` and `render` are of, for those that render from a layer on.
    """

    map: Callable[[Tensor], Tensor]
    render: Callable[[Tensor, Composition | None], Tensor]
    z_dim: int
    fine_layers: tuple[int, ...]
    pool: Tensor
    read_w: Callable[[Tensor], Tensor]
    read_codes: Callable[[Tensor], Composition | None]
    read_labels: Callable[[Tensor], Tensor]
    read_images: Callable[[Tensor], Tensor]
    num_classes: int
    config: "AugmentConfig"
    classify: Callable[[Tensor], Tensor] | None = None
    edits: tuple[Edit, ...] = ()
    slots: int = 64
    generator: Generator | None = None

    def seeds(self, purpose: str, keys: list[str]) -> list[int]:
        """One seed for each variant."""
        return [seed_of(self.config.seed, purpose, key) for key in keys]


@dataclass(frozen=True)
class Variants:
    """Variants and where they come from; what a mode does not know of keeps its default.

    Attributes:
        w: [B, num_ws, w_dim]; the source's where `images` are what was changed.
        partner: row of the sample mixed in, [B] (-1: none).
        images: [B, 3, H, W] in [-1, 1], where no w+ renders them.
        columns: further facts [B, ...] by the name of their array in variants/NAME.zarr: `soft_label`, `lam`,
            `epsilon`, `restarts`, `direction`, `first_layer`, `last_layer`.
    """

    w: Tensor
    partner: Tensor
    images: Tensor | None = None
    columns: dict[str, Tensor] = field(default_factory=dict)


class Mode(Protocol):
    """Makes one variant of each source; the label is kept."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Return one variant for each source."""
        ...


def no_partner(sources: Sources) -> Tensor:
    """-1 for each source."""
    return torch.full_like(sources.rows, -1)


def draw_partners(sources: Sources, context: Context, purpose: str) -> Tensor:
    """Draw another sample's row for each source [B]; its own only where the pool holds no other."""
    chosen = []
    for row, seed in zip(sources.rows.tolist(), context.seeds(purpose, sources.keys), strict=True):
        rng = torch.Generator().manual_seed(seed)
        own = int(torch.searchsorted(context.pool, row))
        others = len(context.pool) - int(own < len(context.pool) and context.pool[own] == row)
        place = int(torch.randint(max(1, others), (), generator=rng))
        chosen.append(context.pool[place + (0 < others < len(context.pool) and place >= own)])
    return torch.stack(chosen)
