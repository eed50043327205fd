"""OM-FGSM and OM-PGD (OM-ImageNet): an l-infinity attack on the code, so that every image is on the manifold."""

from stages.augment.attacks import latent_attack
from stages.augment.modes.base import Context, Sources, Variants


class OmAdv:
    """PGD in w+ from a random point of the ball; FGSM with one step."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Attack each variant by itself."""
        return latent_attack(sources, context, "om-adv")
