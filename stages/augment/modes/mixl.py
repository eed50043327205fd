"""MixL, a baseline of NaTra (section 4): mixup of two codes, and of their labels."""

from stages.augment.modes.base import Context, Sources, Variants, draw_partners
from stages.augment.soft_labels import mixed_labels, mixup_weights


class MixL:
    """w = lambda w_A + (1 - lambda) w_B in all layers, lambda ~ Beta(alpha, alpha)."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Draw a partner and a weight for each variant."""
        partner = draw_partners(sources, context, "mixl")
        lam = mixup_weights(context.config.beta, context.seeds("mixl lambda", sources.keys))
        share = lam.to(sources.w.device)[:, None, None]
        soft = mixed_labels(sources.labels, context.read_labels(partner), lam, context.num_classes)
        w = share * sources.w + (1 - share) * context.read_w(partner)
        return Variants(w, partner, columns={"lam": lam, "soft_label": soft})
