"""MixI, a baseline of NaTra (section 4): mixup of two images, and of their labels (Zhang et al. 2018)."""

from stages.augment.modes.base import Context, Sources, Variants, draw_partners
from stages.augment.soft_labels import mixed_labels, mixup_weights


class MixI:
    """x = lambda x_A + (1 - lambda) x_B of the samples' own pixels, lambda ~ Beta(alpha, alpha)."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Draw a partner and a weight for each variant."""
        partner = draw_partners(sources, context, "mixi")
        lam = mixup_weights(context.config.beta, context.seeds("mixi lambda", sources.keys))
        own, other = context.read_images(sources.rows), context.read_images(partner)
        share = lam.to(own.device)[:, None, None, None]
        soft = mixed_labels(sources.labels, context.read_labels(partner), lam, context.num_classes)
        images = share * own + (1 - share) * other
        return Variants(sources.w, partner, images, {"lam": lam, "soft_label": soft})
