"""Random perturbation, a baseline of NaTra (section 4): w + s n with n ~ N(0, 1)."""

from pipeline.seeds import normal_rows
from stages.augment.modes.base import Context, Sources, Variants, no_partner


class Random:
    """Noise on every layer's code, each number by itself."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Draw a noise for each variant."""
        noise = normal_rows(tuple(sources.w.shape[1:]), context.seeds("random", sources.keys))
        w = sources.w + context.config.noise_scale * noise.to(sources.w.device)
        return Variants(w, no_partner(sources))
