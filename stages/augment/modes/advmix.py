"""AdvMix (Algorithm 2, eq. 9 and 15): the fine layers of a random z, moved to where the classifier errs.

Each restart is a random mix; ascent on the cross-entropy stays within epsilon (l-infinity) of it, and the first
misclassified image is taken, the start included. Where none is, the mix of the highest cross-entropy is (eq. 16).
"""

from stages.augment.attacks import attacked, mix_attack, told
from stages.augment.modes.base import Context, Sources, Variants, no_partner


class AdvMix:
    """RandMix at its worst."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Attack each variant by itself."""
        outcome = attacked(sources, context, mix_attack(sources, context))
        return Variants(outcome.x, no_partner(sources), columns=told(outcome, context.config.epsilon))
