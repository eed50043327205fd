"""rosinality's StyleGAN2 (stylegan2-pytorch): its keys in terms of StyleGAN2-ADA's, whose arithmetic it shares."""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.completing import (
    MAPPING_RATE,
    MEAN_NOTE,
    NOISE_NOTE,
    synthesis_layers,
    with_filters,
    with_mean_w,
    with_noises,
)
from pipeline.generators.checkpoints.converted import Converted

RATE_NOTE = (
    "the mapping's weights are of an unusual size, as if it was trained with another lr_mlp than 0.01, which the "
    "file does not say: look at the picture of samples"
)
# The mapping's weights begin with a spread of 1 / lr_mlp and stay near it.
USUAL_SPREAD = (0.2 / MAPPING_RATE, 5 / MAPPING_RATE)


def from_rosinality(state: Mapping[str, Tensor]) -> Converted:
    """Convert the keys of rosinality's StyleGAN2 (`g_ema`, with `latent_avg` beside them) to StyleGAN2-ADA's.

    Training checkpoints have no mean of w, some copies no noises: the first is estimated, the others are drawn.

    Raises:
        CheckpointError: a key or a shape is in no such network.
        WeightsError: its tensors are not those of a StyleGAN2.
    """
    result: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, rename, shape in RULES:
            if match := re.fullmatch(pattern, key):
                try:
                    result[rename(*match.groups())] = shape(value)
                except (RuntimeError, IndexError) as error:
                    size = list(value.shape)
                    raise CheckpointError(f"its '{key[:80]}' is of shape {size}, as in no StyleGAN2") from error
                break
        else:
            raise CheckpointError(f"its key '{key[:80]}' is in no StyleGAN2 of rosinality's")
    if (filter := result.get("synthesis.b8.resample_filter")) is not None:
        result["synthesis.b4.resample_filter"] = filter  # not used, and not in the file
    result = with_filters(result)
    notes = [] if usual_spread(result) else [RATE_NOTE]
    if any(f"{layer}.noise_const" not in result for layer, _ in synthesis_layers(result)):
        result, notes = with_noises(result), [*notes, NOISE_NOTE]
    if "mapping.w_avg" not in result and "mapping.fc0.weight" in result:
        w_dim = result["mapping.fc0.weight"].shape[0]
        result, notes = with_mean_w("stylegan2", result, "mapping.w_avg", w_dim), [*notes, MEAN_NOTE]
    return Converted(result, notes=tuple(notes))


def usual_spread(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the mapping's weights are of a size that goes with a learning rate of 0.01."""
    spreads = [
        tensor.float().std() for key, tensor in state.items() if re.fullmatch(r"mapping\.fc\d+\.weight", key)
    ]
    middle = torch.stack(spreads).median() if spreads else torch.tensor(1 / MAPPING_RATE)
    return bool(USUAL_SPREAD[0] <= middle <= USUAL_SPREAD[1])


def block(index: str) -> int:
    """Resolution of rosinality's output number `index`, which comes after two layers (0 is 8 x 8)."""
    return 8 << min(int(index), 16)


def layer(index: str) -> str:
    """Name rosinality's layer number `index` above 4 x 4."""
    return f"synthesis.b{block(str(int(index) // 2))}.conv{int(index) % 2}"


def noise(index: str) -> str:
    """Name the layer that adds rosinality's noise number `index`."""
    return "synthesis.b4.conv1" if int(index) == 0 else layer(str(int(index) - 1))


def same(value: Tensor) -> Tensor:
    """Leave it as it is."""
    return value


def first(value: Tensor) -> Tensor:
    """Drop the leading dimension of size 1."""
    return value.reshape(value.shape[1:])


def last_two(value: Tensor) -> Tensor:
    """Drop all but height and width."""
    return value.reshape(value.shape[-2:])


def flat(value: Tensor) -> Tensor:
    """Drop all dimensions of size 1, which a bias [1, 3, 1, 1] has."""
    return value.reshape(value.numel())


def scalar(value: Tensor) -> Tensor:
    """Give the only number."""
    return value.reshape(())


def mean(value: Tensor) -> Tensor:
    """Give a mean of w [D]; some files repeat it for every layer."""
    return value[0] if value.ndim == 2 and bool((value == value[:1]).all()) else value


def quarter(value: Tensor) -> Tensor:
    """Take the gain of doubling out of a filter."""
    return value / 4


Rule = tuple[str, Callable[..., str], Callable[[Tensor], Tensor]]
PARTS: tuple[tuple[str, str, Callable[[Tensor], Tensor]], ...] = (
    ("conv.weight", "weight", first),
    ("conv.modulation.weight", "affine.weight", same),
    ("conv.modulation.bias", "affine.bias", same),
    ("noise.weight", "noise_strength", scalar),
    ("activate.bias", "bias", flat),
    ("bias", "bias", flat),
)
NUMBER = r"(\d{1,3})"
RULES: tuple[Rule, ...] = (
    (r"latent_avg", lambda: "mapping.w_avg", mean),
    (rf"style\.{NUMBER}\.(weight|bias)", lambda i, part: f"mapping.fc{int(i) - 1}.{part}", same),
    (r"input\.input", lambda: "synthesis.b4.const", first),
    (rf"noises\.noise_{NUMBER}", lambda i: f"{noise(i)}.noise_const", last_two),
    (rf"convs\.{NUMBER}\.conv\.blur\.kernel", lambda i: f"{layer(i)}.resample_filter", quarter),
    (rf"to_rgbs\.{NUMBER}\.upsample\.kernel", lambda i: f"synthesis.b{block(i)}.resample_filter", quarter),
    *(
        (pattern, lambda *i, ours=ours, place=place: f"{place(*i)}.{ours}", shape)
        for part, ours, shape in PARTS
        for pattern, place in (
            (rf"conv1\.{re.escape(part)}", lambda: "synthesis.b4.conv1"),
            (rf"to_rgb1\.{re.escape(part)}", lambda: "synthesis.b4.torgb"),
            (rf"convs\.{NUMBER}\.{re.escape(part)}", layer),
            (rf"to_rgbs\.{NUMBER}\.{re.escape(part)}", lambda i: f"synthesis.b{block(i)}.torgb"),
        )
    ),
)
