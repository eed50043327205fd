"""rosinality's StyleGAN2 (stylegan2-pytorch): its keys in terms of StyleGAN2-ADA's, whose arithmetic it shares."""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.conversions import name_noises, with_filters

MEAN_SAMPLES = 10_000


def from_rosinality(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the keys of rosinality's StyleGAN2 (`g_ema`, with `latent_avg` beside them) to StyleGAN2-ADA's."""
    result: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, rename in ROSINALITY:
            if match := re.fullmatch(pattern, key):
                ours = rename(*match.groups())
                result[ours] = value.reshape(rosinality_shape(ours, value))
                break
        else:
            if not re.fullmatch(r".*\.kernel", key):
                raise CheckpointError(f"its key '{key[:80]}' is in no StyleGAN2 of rosinality's")
    result = with_filters(name_noises(result))
    return result if "mapping.w_avg" in result else with_mean_w(result)


def with_mean_w(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the mean of w over z's of one seed, which training checkpoints lack."""
    from pipeline.generators.stylegan2 import StyleGAN2

    w_dim = state["mapping.fc0.weight"].shape[0] if "mapping.fc0.weight" in state else 0
    network = StyleGAN2.from_state_dict(state | {"mapping.w_avg": torch.zeros(w_dim)})
    z = torch.randn(MEAN_SAMPLES, network.z_dim, generator=torch.Generator().manual_seed(0))
    return state | {"mapping.w_avg": network.map(z)[:, 0].mean(dim=0)}


def rosinality_shape(key: str, value: Tensor) -> torch.Size:
    """Shape of a tensor without the dimensions of size 1 that rosinality keeps in front."""
    if key.endswith("noise_strength"):
        return torch.Size(())
    if key.startswith("noise"):
        return value.shape[-2:]
    leading = 1 if key.endswith((".const", "conv0.weight", "conv1.weight", "torgb.weight", "torgb.bias")) else 0
    if key.endswith("torgb.bias"):
        return torch.Size((value.numel(),))
    return value.shape[leading:]


PARTS = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}
PART = f"({'|'.join(map(re.escape, PARTS))})"


def block(index: int) -> int:
    """Resolution of rosinality's pair of layers, or output, number `index` (0 is 8 x 8)."""
    return 8 << min(index, 16)


ROSINALITY: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"latent_avg", lambda: "mapping.w_avg"),
    (r"style\.(\d+)\.(weight|bias)", lambda i, part: f"mapping.fc{int(i) - 1}.{part}"),
    (r"input\.input", lambda: "synthesis.b4.const"),
    (rf"conv1\.{PART}", lambda part: f"synthesis.b4.conv1.{PARTS[part]}"),
    (rf"to_rgb1\.{PART}", lambda part: f"synthesis.b4.torgb.{PARTS[part]}"),
    (
        rf"convs\.(\d+)\.{PART}",
        lambda i, part: f"synthesis.b{block(int(i) // 2)}.conv{int(i) % 2}.{PARTS[part]}",
    ),
    (rf"to_rgbs\.(\d+)\.{PART}", lambda i, part: f"synthesis.b{block(int(i))}.torgb.{PARTS[part]}"),
    (r"noises\.noise_(\d+)", lambda i: f"noise{i}"),
)
