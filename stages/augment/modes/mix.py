"""Mix (AdvMix, eq. 11): dec(enc(x_A)_coarse, enc(x_B)_fine), with the label of A."""

import torch

from stages.augment.modes.base import Context, Sources, Variants, replace_layers


class Mix:
    """Fine layers from another sample of the split."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Draw a partner (never the sample itself) for each variant."""
        chosen = []
        for row, seed in zip(sources.rows.tolist(), context.seeds("mix", sources.keys), strict=True):
            rng = torch.Generator().manual_seed(seed)
            others = context.pool[context.pool != row]
            if len(others) == 0:
                others = context.pool
            chosen.append(others[torch.randint(len(others), (), generator=rng)])
        partner = torch.stack(chosen)
        w = replace_layers(sources.w, context.read_w(partner), context.fine_layers)
        return Variants(w, partner)
