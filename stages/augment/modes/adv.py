"""Adv, the baseline of AdvMix and NaTra: an l-infinity attack on the sample's own pixels (PGD, FGSM)."""

from stages.augment.attacks import pixel_attack
from stages.augment.modes.base import Context, Sources, Variants


class Adv:
    """PGD from a random point of the ball; FGSM with one step."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Attack each variant by itself."""
        return pixel_attack(sources, context, context.read_images(sources.rows), "adv")
