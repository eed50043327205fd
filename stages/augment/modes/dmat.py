"""Dual manifold adversarial training (OM-ImageNet): half the variants attacked in pixels, half in w+.

Both begin at the sample's rendering, which is exactly on the manifold.
"""

import torch
from torch import Tensor

from stages.augment.attacks import latent_attack, pixel_attack
from stages.augment.modes.base import Context, Sources, Variants, no_partner


class Dmat:
    """Even variants of a sample are image attacks, odd ones latent attacks."""

    def __call__(self, sources: Sources, context: Context) -> Variants:
        """Attack each half."""
        even, odd = (torch.nonzero(sources.numbers % 2 == rest).flatten() for rest in (0, 1))
        w, parts = sources.w.clone(), []
        images = render(sources.w, sources, context)
        if len(even):
            mine = sources.at(even)
            made = pixel_attack(mine, context, images[even], "dmat image")
            assert made.images is not None
            images[even] = made.images
            parts.append((even, made))
        if len(odd):
            mine = sources.at(odd)
            made = latent_attack(mine, context, "dmat latent")
            w[odd] = made.w
            images[odd] = render(made.w, mine, context)
            parts.append((odd, made))
        columns = {name: scattered(name, parts, len(sources)) for name in ("epsilon", "restarts")}
        return Variants(w, no_partner(sources), images, columns)


def render(w: Tensor, sources: Sources, context: Context) -> Tensor:
    """Images [B, 3, H, W] in [-1, 1] of the sources at w+ [B, num_ws, w_dim]."""
    parts = torch.arange(len(w)).split(context.slots)
    return torch.cat([context.render(w[part], sources.codes(part)) for part in parts]).clamp(-1, 1)


def scattered(name: str, parts: list[tuple[Tensor, Variants]], count: int) -> Tensor:
    """A column [count] put together from those of parts."""
    first = parts[0][1].columns[name]
    whole = first.new_zeros(count)
    for places, made in parts:
        whole[places] = made.columns[name]
    return whole
