"""Pixels of a shard's images: rendered from w, loaded from the dataset, or as a mode stored them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.ahead import ahead
from pipeline.batches import render_slots
from pipeline.build import Build
from pipeline.composition import Composition, render
from pipeline.devices import resolve_device
from pipeline.errors import BuildError, SampleError
from pipeline.generators import open_generator
from pipeline.images import Pixels, to_uint8
from pipeline.latents import read_composition, to_tensor
from pipeline.memory import in_batches
from pipeline.progress import report
from pipeline.shards.base import ShardSample
from pipeline.sources import Originals
from stages.shard.config import ShardConfig
from stages.shard.facts import Facts, read_facts
from stages.shard.items import ShardPlan
from stages.shard.naming import Naming

TOGETHER = 64  # samples that are handed on at once
HELD_BYTES = 2**28  # of pixels, whose facts are read at once


@dataclass
class Renderer:
    """Makes the samples of shards, in order.

    Attributes:
        state: digest of what the build's arrays hold.
        soft_labels: whether every sample gets a soft label.
        kinds: how many samples of each kind were made.
    """

    build: Build
    config: ShardConfig
    variants: tuple[str, ...]
    generator: str
    device: str
    batch_size: int | None
    state: str
    soft_labels: bool
    kinds: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.ids = self.build.samples("id")["id"].to_numpy()
        self.naming = Naming(self.ids.tolist(), self.variants)
        self.originals = Originals(self.build)
        self.labels, self.classes = self.build.labels(self.config.label)

    def samples(self, plan: ShardPlan) -> Iterator[ShardSample]:
        """The samples of a shard. A GPU renders a batch while the one before it is packed."""
        # The order is shuffled, so every reading touches most chunks of an array: few readings of many rows.
        held = max(1, HELD_BYTES // (3 * open_generator(self.generator).network.resolution ** 2))
        done = 0
        for first in range(0, len(plan.rows), held):
            part = slice(first, first + held)
            facts = read_facts(
                self.build, self.variants, self.config.base, plan.origin[part], plan.rows[part], self.state
            )
            batches = self.batches(facts)
            # On a CPU both would want the same core.
            for batch in ahead(batches) if resolve_device(self.device).type == "cuda" else batches:
                yield from batch
                done += len(batch)
                report(done, len(plan.rows))

    def batches(self, facts: Facts) -> Iterator[list[ShardSample]]:
        """Samples of images [M], a batch at a time."""
        rendered = [i for i in range(len(facts)) if i not in facts.stored and facts.kind[i] != "original"]
        codes = read_composition(self.build, facts.source) if rendered else None
        size = min(self.batch_size or TOGETHER, len(facts))
        for first in range(0, len(facts), size):
            places = np.arange(first, min(first + size, len(facts)))
            own = self.own_pixels(facts, places)
            pixels = self.pixels(facts, places, codes, own)
            yield [self.sample(facts, int(i), image, own) for i, image in zip(places, pixels, strict=True)]

    def pixels(
        self, facts: Facts, places: NDArray[np.intp], codes: Composition | None, own: dict[int, Pixels]
    ) -> list[Pixels]:
        """Pixels uint8 [H, W, 3] of the images at some places; `own` are those of samples by row."""
        rendered = [i for i in places if i not in facts.stored and facts.kind[i] != "original"]
        images = dict(zip(rendered, self.render(facts, rendered, codes), strict=True)) if rendered else {}
        for i in places:
            if i in facts.stored:
                images[i] = facts.stored[i]
            elif facts.kind[i] == "original":
                images[i] = own[int(facts.source[i])]
        return [images[i] for i in places]

    def render(self, facts: Facts, places: list[np.intp], codes: Composition | None) -> Pixels:
        """Render w+, with the codes of its samples, as pixels uint8 [B, H, W, 3]."""
        device = resolve_device(self.device)
        network = open_generator(self.generator, device.type).network
        mine = None if codes is None else codes.rows(torch.tensor(np.array(places))).to(device)
        w = to_tensor(facts.w[places])

        def rendered(rows: slice) -> Pixels:
            some = None if mine is None else mine.rows(torch.arange(len(w))[rows].to(device))
            with torch.inference_mode():
                return to_uint8(render(network, w[rows].to(device), some))

        return np.concatenate(in_batches(len(w), render_slots(self.batch_size, self.generator, device), rendered))

    def own_pixels(self, facts: Facts, places: NDArray[np.intp]) -> dict[int, Pixels]:
        """The pixels of the samples themselves that images at some places need, by row.

        Raises:
            BuildError: one cannot be had, though it was there when the shards were planned.
        """
        needing = [i for i in places if self.config.originals or facts.kind[i] == "original"]
        wanted = np.unique(facts.source[needing]).tolist()
        found = {}
        for row, pixels in zip(wanted, self.originals.read(wanted), strict=True):
            if isinstance(pixels, SampleError):
                raise BuildError(
                    f"the source image of {self.ids[row]} cannot be packed: {pixels}; run the same command again, "
                    f"which says how to go on; what is finished is kept"
                )
            found[row] = pixels
        return found

    def soft_label(self, facts: Facts, place: int, label: int) -> NDArray[np.float32]:
        """Probability of each class: what was stored, or the label's alone."""
        if place in facts.soft_label:
            return facts.soft_label[place]
        certain = np.zeros(len(self.classes), np.float32)
        certain[label] = 1
        return certain

    def sample(self, facts: Facts, place: int, pixels: Pixels, own: dict[int, Pixels]) -> ShardSample:
        """One image with everything that is known of it."""
        source, partner, variant = (int(column[place]) for column in (facts.source, facts.partner, facts.variant))
        name, kind, label = facts.name[place], facts.kind[place], int(self.labels[source])
        self.kinds[kind] += 1
        return ShardSample(
            id=self.naming.name(str(self.ids[source]), name, variant),
            pixels=pixels,
            label=label,
            class_name=str(self.classes[label]),
            latent=facts.w[place] if self.config.latents else None,
            source=str(self.ids[source]),
            kind=kind,
            partner=str(self.ids[partner]) if partner >= 0 else "",
            variant=variant,
            original_pixels=own[source] if self.config.originals else None,
            soft_label=self.soft_label(facts, place, label) if self.soft_labels else None,
            lam=float(facts.lam[place]),
        )
