"""BigGAN-deep (Brock et al. 2019), with the state-dict keys of Hugging Face's pytorch-pretrained-BigGAN.

Every block gets the whole of z and the class embedding; these are its w. Spectral norms are folded into the weights
on loading. The batch norms' statistics were measured at 51 truncations from 0 to 1.
"""

from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.layered import LayeredGenerator, State
from pipeline.generators.layers import (
    double,
    embed_labels,
    fold_spectral_norm,
    normalize_channels,
    numbers,
    self_attention,
    weighted,
)

BATCH_NORM_EPS = 1e-4


class Statistics(nn.Module):
    """Means and variances of a batch norm, one row for each truncation from 0 to 1."""

    running_means: Tensor
    running_vars: Tensor

    def __init__(self, channels: int, n_stats: int):
        super().__init__()
        self.register_buffer("running_means", torch.zeros(n_stats, channels))
        self.register_buffer("running_vars", torch.ones(n_stats, channels))

    def at(self, truncation: float) -> tuple[Tensor, Tensor]:
        """Interpolate mean and variance [C] linearly between the truncations that were measured.

        The original code swaps the two weights; at the truncations that were measured this is no difference.
        """
        last = self.running_means.shape[0] - 1
        low = min(int(truncation * last), max(last - 1, 0))
        share = truncation * last - low
        mean, variance = (
            table[low].lerp(table[min(low + 1, last)], share) for table in (self.running_means, self.running_vars)
        )
        return mean, variance


class ConditionalNorm(Statistics):
    """Batch norm with gain and bias set by the condition."""

    def __init__(self, channels: int, n_stats: int, condition: int):
        super().__init__(channels, n_stats)
        self.scale = nn.Linear(condition, channels, bias=False)
        self.offset = nn.Linear(condition, channels, bias=False)

    def forward(self, x: Tensor, y: Tensor, truncation: float) -> Tensor:
        """Normalise x [B, C, H, W] under y [B, condition]."""
        return normalize_channels(x, *self.at(truncation), BATCH_NORM_EPS, 1 + self.scale(y), self.offset(y))


class OutputNorm(Statistics):
    """Batch norm with a gain and a bias of its own."""

    def __init__(self, channels: int, n_stats: int):
        super().__init__(channels, n_stats)
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, truncation: float) -> Tensor:
        """Normalise x [B, C, H, W]."""
        return normalize_channels(x, *self.at(truncation), BATCH_NORM_EPS, self.weight, self.bias)


class Block(nn.Module):
    """Residual bottleneck block, which may double the size and drop channels from its shortcut."""

    def __init__(self, in_channels: int, middle: int, out_channels: int, n_stats: int, condition: int, up: bool):
        super().__init__()
        self.up, self.out_channels = up, out_channels
        for i, (before, after) in enumerate(
            ((in_channels, middle), (middle, middle), (middle, middle), (middle, out_channels))
        ):
            self.add_module(f"bn_{i}", ConditionalNorm(before, n_stats, condition))
            size = 3 if i in (1, 2) else 1
            self.add_module(f"conv_{i}", nn.Conv2d(before, after, size, padding=size // 2))

    def forward(self, x: Tensor, y: Tensor, truncation: float) -> Tensor:
        """Map x [B, in, H, W] under y [B, condition] to [B, out, H, W], or twice that size."""
        h = x
        for i in range(4):
            h = F.relu(self.get_submodule(f"bn_{i}")(h, y, truncation))
            if i == 1 and self.up:
                h = double(h)
            h = self.get_submodule(f"conv_{i}")(h)
        shortcut = x[:, : self.out_channels]
        return h + (double(shortcut) if self.up else shortcut)


class Attention(nn.Module):
    """Self-attention, between two blocks."""

    def __init__(self, channels: int):
        super().__init__()
        self.snconv1x1_theta = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.snconv1x1_phi = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.snconv1x1_g = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.snconv1x1_o_conv = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, C, H, W] to the same size."""
        theta, phi, g = self.snconv1x1_theta, self.snconv1x1_phi, self.snconv1x1_g
        return self_attention(x, theta, phi, g, self.snconv1x1_o_conv, self.gamma)


class BigGANDeep(LayeredGenerator):
    """The generator: a linear layer to 4x4 (layer 0), then blocks (layers 1, 2, …).

    Every second block doubles the size. Attention belongs to the block before it.

    Args:
        blocks: channels (in, middle, out) of every block.
        attention: blocks, counted from 0, that attention comes before; as many as there are is after the last.
        z_dim, embed_dim, c_dim: lengths of z, of a class embedding, of the labels.
        n_stats: truncations at which statistics were measured.

    Attributes:
        truncation: where the statistics are taken, 0 to 1; part of the network's state, not of a call, since w does
            not tell how its z was drawn. It begins at 1; `set_truncation` changes it.
    """

    title: ClassVar[str] = "BigGAN-deep"

    def __init__(
        self,
        blocks: Sequence[tuple[int, int, int]],
        attention: Collection[int],
        z_dim: int,
        embed_dim: int,
        c_dim: int,
        n_stats: int = 51,
    ):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, z_dim + embed_dim
        self.num_ws = self.num_layers = len(blocks) + 1
        self.resolution = 4 << len(blocks) // 2
        self.truncation = 1.0
        self.embeddings = nn.Linear(c_dim, embed_dim, bias=False)
        layers: list[nn.Module] = []
        for i, (before, middle, after) in enumerate(blocks):
            if i in attention:
                layers.append(Attention(before))
            layers.append(Block(before, middle, after, n_stats, self.w_dim, up=i % 2 == 1))
        if len(blocks) in attention:
            layers.append(Attention(blocks[-1][2]))
        channels = blocks[-1][2]
        self.generator = nn.Module()
        self.generator.gen_z = nn.Linear(self.w_dim, 16 * blocks[0][0])
        self.generator.layers = nn.ModuleList(layers)
        self.generator.bn = OutputNorm(channels, n_stats)
        self.generator.conv_to_rgb = nn.Conv2d(channels, channels, 3, padding=1)
        # Blocks and what follows them, by layer.
        self.rows: list[list[str]] = []
        for i, module in enumerate(layers):
            if isinstance(module, Block):
                self.rows.append([])
            self.rows[-1].append(f"generator.layers.{i}")

    @classmethod
    def prepare_state(cls, state: State) -> State:
        """Fold the spectral norms."""
        return fold_spectral_norm(state)

    @classmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a prepared state dict. Raises KeyError where a key is missing."""
        attended = numbers(r"generator\.layers\.(\d+)\.snconv1x1_", state)
        blocks = []
        for i in numbers(r"generator\.layers\.(\d+)\.", state) or [0]:
            if i not in attended:
                middle, before = state[f"generator.layers.{i}.conv_0.weight"].shape[:2]
                blocks.append((before, middle, state[f"generator.layers.{i}.conv_3.weight"].shape[0]))
        embed_dim, c_dim = state["embeddings.weight"].shape
        return {
            "blocks": blocks,
            "attention": [i - count for count, i in enumerate(attended)],
            "z_dim": state["generator.gen_z.weight"].shape[1] - embed_dim,
            "embed_dim": embed_dim,
            "c_dim": c_dim,
            "n_stats": state["generator.bn.running_means"].shape[0],
        }

    def set_truncation(self, truncation: float) -> Self:
        """Take the statistics measured at a truncation, 0 to 1, which is that of the z's to come."""
        if not 0 <= truncation <= 1:
            raise ValueError(f"truncation {truncation}: give a number from 0 to 1")
        self.truncation = truncation
        return self

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Lay z [B, z_dim] and labels c [B, c_dim] out as w+ [B, num_ws, z_dim + embed_dim].

        Every w is z and then the class embedding. Truncation multiplies the z of the first `truncation_cutoff`
        layers (all, if None) by psi; the statistics follow `truncation`.
        """
        embedding = embed_labels(self.embeddings.weight.T, c)
        weights = weighted(truncation_psi, truncation_cutoff, self.num_ws)
        return torch.stack([torch.cat([z * psi, embedding], dim=1) for psi in weights], dim=1)

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`: 4, 4, 8, 8, 16, …"""
        self.check_layer(layer)
        return 4 << layer // 2

    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Compute the linear layer, whose outputs are in the order [4, 4, C] of TensorFlow."""
        with self.autocast(4):
            flat: Tensor = self.get_submodule("generator.gen_z")(ws[0])
        return Activations(flat.unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute one block, and the attention after it."""
        block, *attention = (self.get_submodule(name) for name in self.rows[layer - 1])
        with self.autocast(4 << layer // 2):
            x: Tensor = block(before.features, ws[layer], self.truncation)
            for attend in attention:
                x = attend(x)
        return Activations(x)

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Turn the last features to RGB, within [-1, 1]; the further channels of the convolution are not used."""
        norm, to_rgb = self.get_submodule("generator.bn"), self.get_submodule("generator.conv_to_rgb")
        assert isinstance(to_rgb, nn.Conv2d)
        assert to_rgb.bias is not None
        with self.autocast(self.resolution):
            x = F.relu(norm(last.features, self.truncation))
            return torch.tanh(F.conv2d(x, to_rgb.weight[:3], to_rgb.bias[:3], padding=1).float())
