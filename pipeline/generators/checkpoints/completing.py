"""What a network needs and a checkpoint lacks or has otherwise: the mean of w, noises, filters, learning rates."""

from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.layers import numbers, resample_filter_buffer
from pipeline.generators.loading import family_class

MEAN_SAMPLES = 10_000
MEAN_BATCH = 1_000
MAX_RESOLUTION = 2_048
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
    """Prefix and resolution of each convolution of a StyleGAN2, coarse to fine.

    Raises:
        CheckpointError: no StyleGAN2 has such resolutions.
    """
    resolutions = numbers(r"synthesis\.b(\d{1,9})\.", state)
    if resolutions != [4 << i for i in range(len(resolutions))] or resolutions[-1:] > [MAX_RESOLUTION]:
        raise CheckpointError(f"it has layers of resolutions {resolutions[:12]} instead of 4, 8, 16, …")
    layers = [(f"synthesis.b{size}.{conv}", size) for size in resolutions for conv in ("conv0", "conv1")]
    return [(layer, size) for layer, size in layers if f"{layer}.weight" in state]


def with_noises(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add to a StyleGAN2 (keys of StyleGAN2-ADA) a noise of seed 0 for each convolution without one."""
    draw = torch.Generator().manual_seed(0)
    drawn = {
        f"{layer}.noise_const": torch.randn(size, size, generator=draw) for layer, size in synthesis_layers(state)
    }
    return drawn | state


def without_noise(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add to a StyleGAN2 (keys of StyleGAN2-ADA) that adds no noise the noises of strength 0 that say so."""
    silent: dict[str, Tensor] = {}
    for layer, size in synthesis_layers(state):
        silent[f"{layer}.noise_const"] = torch.zeros(size, size)
        silent[f"{layer}.noise_strength"] = torch.tensor(0.0)
    return silent | state


def with_filters(state: dict[str, Tensor], filter: Tensor | None = None) -> dict[str, Tensor]:
    """Add to a StyleGAN2 the low-pass [h, w] that doubles features and images, which StyleGAN2-ADA keeps by layers.

    Where a layer has one already, that stays. Without `filter` it is the usual [1, 3, 3, 1] x [1, 3, 3, 1].
    """
    usual = resample_filter_buffer()
    doubling = usual if filter is None else filter
    filters = {}
    for layer, size in synthesis_layers(state):
        block = f"synthesis.b{size}"
        filters[f"{layer}.resample_filter"] = usual if layer.endswith("conv1") else doubling
        filters[f"{block}.resample_filter"] = doubling
        if f"{block}.skip.weight" in state:
            filters[f"{block}.skip.resample_filter"] = doubling
    return filters | state


def with_mapping_rate(state: dict[str, Tensor], rate: float) -> dict[str, Tensor]:
    """Scale the mapping layers of a StyleGAN2 that has another lr_multiplier than 0.01 so that w stays the same."""
    factor = rate / MAPPING_RATE
    if abs(factor - 1) < 1e-6:
        return state
    layers = [key for key in state if key.startswith("mapping.fc")]
    return state | {key: (state[key].double() * factor).float() for key in layers}
