"""What reads w+ off a backbone's features: the heads of pSp's, e4e's and ReStyle's encoders.

The keys are those of the published checkpoints; sizes are read off the tensors.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.encoders.backbones import StoredBatchNorm
from pipeline.generators.layers import FullyConnected, numbers

State = Mapping[str, Tensor]
COARSEST_HALVINGS = 4  # from 16 x 16 to a single place
LEVELS = 3  # features of 16 x 16, 32 x 32 and 64 x 64
POOLED = 7  # height and width that the flat head sees


class Head(nn.Module):
    """Maps features of 1/4, 1/8 and 1/16 of an image's size to codes [B, count, w_dim]; a single one is for all."""

    kind: ClassVar[str]
    count: int
    w_dim: int


class StyleHead(nn.Module):
    """Convolutions that halve the size until one place is left, and a linear layer: one w."""

    def __init__(self, state: State, prefix: str):
        super().__init__()
        indices = numbers(rf"{prefix}\.convs\.(\d+)\.weight", state)
        if indices != list(range(0, 2 * len(indices), 2)):
            raise ValueError(f"'{prefix}' has convolutions {indices}")
        self.level = len(indices) - COARSEST_HALVINGS
        if not 0 <= self.level < LEVELS:
            raise ValueError(f"'{prefix}' has {len(indices)} convolutions instead of 4, 5 or 6")
        layers: list[nn.Module] = []
        for i in indices:
            out_channels, in_channels = state[f"{prefix}.convs.{i}.weight"].shape[:2]
            layers += [nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        out_features, in_features = state[f"{prefix}.linear.weight"].shape
        self.w_dim = out_features
        self.linear = FullyConnected(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [B, C, 16, 16] (at level 1: 32 x 32, at level 2: 64 x 64) to w [B, w_dim]."""
        out: Tensor = self.linear(self.convs(x).flatten(1))
        return out


class PyramidHead(Head):
    """A head for each layer of w+, each on one level of a feature pyramid.

    Args:
        progressive: the first gives the w of all layers, the others what theirs differ by (e4e).
    """

    kind = "pyramid"

    def __init__(self, state: State, widths: tuple[int, int, int], progressive: bool):
        super().__init__()
        self.progressive = progressive
        heads = [StyleHead(state, f"styles.{i}") for i in numbers(r"styles\.(\d+)\.", state)]
        self.styles = nn.ModuleList(heads)
        self.levels = [head.level for head in heads]
        self.count, self.w_dim = len(heads), heads[0].w_dim
        self.laterals = max(self.levels)
        stored = numbers(r"latlayer(\d+)\.weight", state)  # networks of few layers have one that they do not need
        for level in sorted({*range(1, self.laterals + 1), *stored} & set(range(1, LEVELS))):
            self.add_module(f"latlayer{level}", nn.Conv2d(widths[2 - level], widths[2], 1))

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map features, fine to coarse, to codes [B, count, w_dim]."""
        maps = [features[2]]
        for level in range(1, self.laterals + 1):
            lateral: Tensor = self.get_submodule(f"latlayer{level}")(features[2 - level])
            wider = F.interpolate(maps[-1], size=lateral.shape[2:], mode="bilinear", align_corners=True)
            maps.append(wider + lateral)
        codes = [style(maps[level]) for style, level in zip(self.styles, self.levels, strict=True)]
        if self.progressive:
            codes = codes[:1] + [codes[0] + change for change in codes[1:]]
        return torch.stack(codes, dim=1)


class PooledHead(Head):
    """The mean of the coarsest features and a linear layer: one w for all layers."""

    kind = "pooled"

    def __init__(self, state: State):
        super().__init__()
        out_features, in_features = state["linear.weight"].shape
        self.count, self.w_dim = 1, out_features
        self.linear = FullyConnected(in_features, out_features)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map features, fine to coarse, to codes [B, 1, w_dim]."""
        out: Tensor = self.linear(features[2].mean(dim=(2, 3)))
        return out[:, None]


class FlatHead(Head):
    """Two linear layers on all places of the coarsest features."""

    kind = "flat"

    def __init__(self, state: State):
        super().__init__()
        hidden, in_features = state["output_layer_2.3.weight"].shape
        outputs = state["linear.weight"].shape[0]
        self.w_dim, self.count = hidden, outputs // max(hidden, 1)
        self.output_layer_2 = nn.Sequential(
            StoredBatchNorm(in_features // POOLED**2),
            nn.AdaptiveAvgPool2d(POOLED),
            nn.Flatten(),
            nn.Linear(in_features, hidden),
        )
        self.linear = FullyConnected(hidden, self.count * hidden)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map features, fine to coarse, to codes [B, count, w_dim]."""
        out: Tensor = self.linear(self.output_layer_2(features[2]))
        return out.reshape(len(out), self.count, self.w_dim)


def head_of(state: State, widths: tuple[int, int, int], progressive: bool) -> Head:
    """Build the head that the tensors are of. Raises KeyError or ValueError where they are of none."""
    if "output_layer_2.3.weight" in state:
        return FlatHead(state)
    if "styles.0.linear.weight" in state:
        return PyramidHead(state, widths, progressive)
    return PooledHead(state)
