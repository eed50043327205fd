"""Mix (AdvMix, eq. 11): dec(enc(x_A)_coarse, enc(x_B)_fine), with the label of A."""

from pipeline.generators.layers import replace_layers
from stages.augment.modes.base import Context, Sources, Variants, draw_partners


class Mix:
    """Fine layers from another sample of the split."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Draw a partner (never the sample itself) for each variant."""
        partner = draw_partners(sources, context, "mix")
        return Variants(replace_layers(sources.w, context.read_w(partner), context.fine_layers), partner)
