"""What a network needs and a checkpoint lacks or has otherwise: the mean of w, noises, filters, learning rates."""

from typing import Any

import torch
from torch import Tensor

from pipeline.generators.layers import numbers, resample_filter_buffer
from pipeline.generators.loading import family_class

MEAN_SAMPLES = 10_000
MEAN_BATCH = 1_000
MAPPING_RATE = 0.01  # lr_multiplier of the mapping networks here
MEAN_NOTE = f"the file has no mean of w: it is estimated from {MEAN_SAMPLES:,} z's drawn from seed 0"
NOISE_NOTE = "the file has no noises: they are drawn from seed 0"


def with_mean_w(family: str, state: dict[str, Tensor], key: str, w_dim: int, **settings: Any) -> dict[str, Tensor]:
    """Add under `key` the mean of w [w_dim] over 10,000 z's of seed 0, which truncation moves to.

    Labels, if the network takes any, come in turn. The state must be complete otherwise; `settings` are the
    network's.

    Raises:
        WeightsError: the tensors are not those of the family's network.
    """
    network = family_class(family).from_state_dict(state | {key: torch.zeros(w_dim)}, **settings)
    z = torch.randn(MEAN_SAMPLES, network.z_dim, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(MEAN_SAMPLES) % max(network.c_dim, 1)
    total = torch.zeros(w_dim, dtype=torch.float64)
    with torch.inference_mode():
        for part, label in zip(z.split(MEAN_BATCH), labels.split(MEAN_BATCH), strict=True):
            c = torch.nn.functional.one_hot(label, network.c_dim).float() if network.c_dim else None
            total += network.map(part, c)[:, 0].double().sum(dim=0)
    return state | {key: (total / MEAN_SAMPLES).float()}


def synthesis_layers(state: dict[str, Tensor]) -> list[tuple[str, int]]:
    """Prefix and resolution of each convolution of a StyleGAN2, coarse to fine."""
    resolutions = numbers(r"synthesis\.b(\d+)\.", state)
    places = [
        (f"synthesis.b{resolution}.{conv}", resolution) for resolution in resolutions for conv in ("conv0", "conv1")
    ]
    return [(place, resolution) for place, resolution in places if f"{place}.weight" in state]


def with_noises(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add to a StyleGAN2 (keys of StyleGAN2-ADA) a noise of seed 0 for each convolution without one."""
    draw = torch.Generator().manual_seed(0)
    drawn = {
        f"{place}.noise_const": torch.randn(resolution, resolution, generator=draw)
        for place, resolution in synthesis_layers(state)
    }
    return drawn | state


def without_noise(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add to a StyleGAN2 (keys of StyleGAN2-ADA) that adds no noise the noises of strength 0 that say so."""
    silent = {}
    for place, resolution in synthesis_layers(state):
        silent |= {
            f"{place}.noise_const": torch.zeros(resolution, resolution),
            f"{place}.noise_strength": torch.tensor(0.0),
        }
    return silent | state


def with_filters(state: dict[str, Tensor], filter: Tensor | None = None) -> dict[str, Tensor]:
    """Add to a StyleGAN2 the low-pass [h, w] that doubles features and images, which StyleGAN2-ADA keeps by layers.

    Where a layer has one already, that stays. Without `filter` it is the usual [1, 3, 3, 1] x [1, 3, 3, 1].
    """
    usual = resample_filter_buffer()
    filter = usual if filter is None else filter
    filters = {
        f"{place}.resample_filter": usual if place.endswith("conv1") else filter
        for place, _ in synthesis_layers(state)
    }
    for resolution in numbers(r"synthesis\.b(\d+)\.", state):
        block = f"synthesis.b{resolution}"
        filters[f"{block}.resample_filter"] = filter
        if f"{block}.skip.weight" in state:
            filters[f"{block}.skip.resample_filter"] = filter
    return filters | state


def with_mapping_rate(state: dict[str, Tensor], rate: float) -> dict[str, Tensor]:
    """Scale the mapping layers of a StyleGAN2 with another lr_multiplier than 0.01 so that they compute the same."""
    if abs(rate / MAPPING_RATE - 1) < 1e-6:
        return state
    factors = {key: rate / MAPPING_RATE for key in state if key.startswith("mapping.fc")}
    return state | {key: (state[key].double() * factor).float() for key, factor in factors.items()}
