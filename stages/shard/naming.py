"""What the images of a shard set are called: no two alike, and none too long for a tar's header."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.datasets.ids import short_id, with_digest


@dataclass(frozen=True)
class Naming:
    """Names images by their sample's id, their variant set and the number of the variant.

    Attributes:
        ids: of all samples.
        sets: names of the variant sets.
    """

    ids: Sequence[str]
    sets: Sequence[str]

    @cached_property
    def known(self) -> frozenset[str]:
        """The ids as file systems that do not tell capitals compare them."""
        return frozenset(map(str.lower, self.ids))

    def name(self, sample: str, variants: str, variant: int) -> str:
        """`SAMPLE-SET-NUMBER`, or the sample's id where `variants` is "".

        It ends in a digest where it is too long, or could be a sample's id or a variant of another sample: shards
        that are a dataset themselves have samples of such names.
        """
        if not variants:
            return short_id(sample)
        name = f"{sample}-{variants}-{variant}"
        ends = [f"-{other}-{variant}".lower() for other in self.sets]
        lower = name.lower()
        others = {lower.removesuffix(end) for end in ends if lower.endswith(end)} - {sample.lower()}
        if lower in self.known or others & self.known:
            return with_digest(name, f"{sample}/{variants}/{variant}")
        return short_id(name)
