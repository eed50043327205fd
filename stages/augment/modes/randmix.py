"""RandMix (AdvMix, eq. 17): dec(enc(x)_coarse, map(z)_fine) with z ~ N(0, 1)."""

from pipeline.generators.layers import replace_layers
from pipeline.seeds import normal_rows
from stages.augment.modes.base import Context, Sources, Variants, no_partner


class RandMix:
    """Fine layers from a random z."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Draw a z for each variant and mix its mapped latent in."""
        z = normal_rows((context.z_dim,), context.seeds("randmix", sources.keys))
        w = replace_layers(sources.w, context.map(z.to(sources.w.device)), context.fine_layers)
        return Variants(w, no_partner(sources))
