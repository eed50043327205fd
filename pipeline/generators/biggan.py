"""BigGAN (Brock et al. 2019), with the state-dict keys of BigGAN-PyTorch's `G_ema.pth`.

Its input is cut into parts ("skip-z"): the first feeds the linear layer, each other one goes to a block, where it
and the class embedding set the gains of the batch norms. Here these inputs are the w's, to be edited layer by
layer. Spectral norms are folded into the weights on loading.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.biggan_norms import BATCH_NORM_EPS, plain_norms
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


class ConditionalNorm(nn.Module):
    """Batch norm by stored statistics, with gain and bias set by the condition."""

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.gain = nn.Linear(condition, channels, bias=False)
        self.bias = nn.Linear(condition, channels, bias=False)
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalise x [B, C, H, W] under y [B, condition]."""
        gain, bias = 1 + self.gain(y), self.bias(y)
        return normalize_channels(x, self.stored_mean, self.stored_var, BATCH_NORM_EPS, gain, bias)


class Block(nn.Module):
    """Residual block that doubles the size."""

    def __init__(self, in_channels: int, out_channels: int, condition: int):
        super().__init__()
        self.bn1 = ConditionalNorm(in_channels, condition)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.bn2 = ConditionalNorm(out_channels, condition)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_sc = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map x [B, in, H, W] under y [B, condition] to [B, out, 2H, 2W]."""
        h = self.conv1(double(F.relu(self.bn1(x, y))))
        h = self.conv2(F.relu(self.bn2(h, y)))
        # A 1x1 convolution gives the same before and after pixels are repeated.
        out: Tensor = h + double(self.conv_sc(x))
        return out


class Attention(nn.Module):
    """Self-attention, after one of the blocks."""

    def __init__(self, channels: int):
        super().__init__()
        self.theta = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.phi = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.g = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.o = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros([]))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, C, H, W] to the same size."""
        return self_attention(x, self.theta, self.phi, self.g, self.o, self.gamma)


class OutputNorm(nn.Module):
    """Batch norm by stored statistics, with a gain and a bias of its own."""

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C, H, W]."""
        return normalize_channels(x, self.stored_mean, self.stored_var, BATCH_NORM_EPS, self.gain, self.bias)


class BigGAN(LayeredGenerator):
    """The generator G: a linear layer to 4x4 (layer 0), then blocks (layers 1, 2, …), each with its attention.

    Args:
        channels: channels after the linear layer and after every block.
        attention: whether self-attention follows, for each block.
        z_chunk: length of a part of z; the whole of z where only the linear layer gets it (`hierarchical` False).
        shared_dim: length of a class embedding.
    """

    title: ClassVar[str] = "BigGAN"

    def __init__(
        self,
        channels: Sequence[int],
        attention: Sequence[bool],
        z_chunk: int,
        shared_dim: int,
        c_dim: int,
        hierarchical: bool = True,
    ):
        super().__init__()
        blocks = len(attention)
        condition = shared_dim + (z_chunk if hierarchical else 0)
        self.resolution, self.c_dim, self.z_chunk, self.hierarchical = 4 << blocks, c_dim, z_chunk, hierarchical
        self.z_dim = z_chunk * (blocks + 1) if hierarchical else z_chunk
        self.condition, self.w_dim = condition, max(condition, z_chunk)
        self.num_ws = self.num_layers = blocks + 1
        self.shared = nn.Embedding(c_dim, shared_dim)
        self.linear = nn.Linear(z_chunk, channels[0] * 16)
        self.blocks = nn.ModuleList(
            nn.ModuleList([Block(before, after, condition), *([Attention(after)] if attended else [])])
            for before, after, attended in zip(channels, channels[1:], attention, strict=False)
        )
        self.output_layer = nn.Sequential(
            OutputNorm(channels[-1]), nn.ReLU(), nn.Conv2d(channels[-1], 3, 3, padding=1)
        )

    @classmethod
    def prepare_state(cls, state: State) -> State:
        """Fold the spectral norms, and make batch norms of all kinds one."""
        return plain_norms(fold_spectral_norm(state))

    @classmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a prepared state dict. Raises KeyError where a key is missing."""
        blocks = len(numbers(r"blocks\.(\d+)\.0\.", state))
        attended = numbers(r"blocks\.(\d+)\.1\.", state)
        outputs = [state[f"blocks.{i}.0.conv1.weight"].shape[0] for i in range(blocks)]
        c_dim, shared_dim = state["shared.weight"].shape
        return {
            "channels": [state["blocks.0.0.conv1.weight"].shape[1], *outputs],
            "attention": [i in attended for i in range(blocks)],
            "z_chunk": state["linear.weight"].shape[1],
            "shared_dim": shared_dim,
            "c_dim": c_dim,
            "hierarchical": state["blocks.0.0.bn1.gain.weight"].shape[1] > shared_dim,
        }

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Lay z [B, z_dim] and labels c [B, c_dim] out as w+ [B, num_ws, w_dim].

        w[0] is the first part of z, w[l] the class embedding and then the next part of z; the rest is zero, and is
        not read. Truncation multiplies the z of the first `truncation_cutoff` layers (all, if None) by psi.
        """
        embedding = embed_labels(self.shared.weight, c)
        parts = z.split(self.z_chunk, dim=1)
        rows = []
        for layer, psi in enumerate(weighted(truncation_psi, truncation_cutoff, self.num_ws)):
            own = [parts[layer] * psi] if layer == 0 or self.hierarchical else []
            row = torch.cat([*([embedding] if layer else []), *own], dim=1)
            rows.append(F.pad(row, (0, self.w_dim - row.shape[1])))
        return torch.stack(rows, dim=1)

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`: 4, 8, 16, …"""
        self.check_layer(layer)
        return 4 << layer

    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Compute the linear layer."""
        with self.autocast(4):
            return Activations(self.linear(ws[0][:, : self.z_chunk]).unflatten(1, (-1, 4, 4)))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute one block, and the attention after it."""
        x = before.features
        y = ws[layer][:, : self.condition]
        with self.autocast(4 << layer):
            for module in self.blocks[layer - 1].children():
                x = module(x, y) if isinstance(module, Block) else module(x)
        return Activations(x)

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Turn the last features to RGB, within [-1, 1]."""
        with self.autocast(self.resolution):
            return torch.tanh(self.output_layer(last.features).float())
