"""lucidrains' StyleGAN2 (the package stylegan2_pytorch), with the keys of its averaged networks `SE` and `GE`.

It is a StyleGAN2 with an arithmetic of its own: no equalised learning rate in convolutions, features and RGB
doubled bilinearly, one noise image of uniform numbers for all layers, one w for the three layers of a resolution,
images in [0, 1]. Here every layer has a w of its own; the network's own w's are three equal ones for each
resolution.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.layered import State, StyleGenerator
from pipeline.generators.layers import LRELU_SLOPE, numbers

MAPPING_RATE = 0.1
MEAN_NOISE = 0.5  # of uniform numbers in [0, 1]


class MappingNetwork(nn.Module):
    """z to w: linear layers 0, 2, 4, … of `net`, each with a leaky ReLU."""

    w_avg: Tensor

    def __init__(self, w_dim: int, num_layers: int, rate: float):
        super().__init__()
        self.rate = rate
        self.net = nn.ModuleList()
        for _ in range(num_layers):
            self.net.extend([nn.Linear(w_dim, w_dim), nn.LeakyReLU(LRELU_SLOPE)])
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor) -> Tensor:
        """Map z [B, w_dim] to w [B, w_dim]."""
        x = F.normalize(z, dim=1)
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                x = F.linear(x, layer.weight * self.rate, layer.bias * self.rate)
            else:
                x = layer(x)
        return x


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by 1 + style, as activations (one convolution a batch)."""

    def __init__(self, in_channels: int, out_channels: int, size: int, demodulate: bool):
        super().__init__()
        self.demodulate = demodulate
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, size, size))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map x [B, in, H, W] under style [B, in] to [B, out, H, W]."""
        scale = style + 1
        weight = self.weight.to(x.dtype)
        x = F.conv2d(x * scale.to(x.dtype)[:, :, None, None], weight, padding=weight.shape[-1] // 2)
        if not self.demodulate:
            return x
        norm = scale.square() @ self.weight.square().sum(dim=(2, 3)).T
        return x * (norm + 1e-8).rsqrt().to(x.dtype)[:, :, None, None]


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels."""

    def __init__(self, w_dim: int, channels: int):
        super().__init__()
        self.to_style = nn.Linear(w_dim, channels)
        self.conv = ModulatedConv(channels, 3, 1, demodulate=False)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x [B, C, H, W] under w [B, w_dim] to RGB [B, 3, H, W] in fp32."""
        out: Tensor = self.conv(x, self.to_style(w.float()))
        return out.float()


class Block(nn.Module):
    """The layers of one resolution: two convolutions and what turns their result to RGB."""

    def __init__(self, w_dim: int, in_channels: int, channels: int):
        super().__init__()
        self.to_style1 = nn.Linear(w_dim, in_channels)
        self.to_noise1 = nn.Linear(1, channels)
        self.conv1 = ModulatedConv(in_channels, channels, 3, demodulate=True)
        self.to_style2 = nn.Linear(w_dim, channels)
        self.to_noise2 = nn.Linear(1, channels)
        self.conv2 = ModulatedConv(channels, channels, 3, demodulate=True)
        self.to_rgb = ToRGB(w_dim, channels)

    def first(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """Compute the first convolution of x [B, in, H, W] under w [B, w_dim]; noise [B or 1, 1, H, W]."""
        return activate(self.conv1(x, self.to_style1(w.float())), self.to_noise1, noise)

    def second(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """Compute the second convolution."""
        return activate(self.conv2(x, self.to_style2(w.float())), self.to_noise2, noise)


class SynthesisNetwork(nn.Module):
    """The constant, a convolution of it, and a block for each resolution."""

    def __init__(self, w_dim: int, channels: Sequence[int]):
        super().__init__()
        self.initial_block = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.initial_conv = nn.Conv2d(channels[0], channels[0], 3, padding=1)
        widths = [channels[0], *channels]
        self.blocks = nn.ModuleList(Block(w_dim, widths[i], widths[i + 1]) for i in range(len(channels)))


class LucidStyleGAN2(StyleGenerator):
    """The generator: for each resolution two convolutions and RGB, layers 0, 1 and 2 of 4 x 4, and so on.

    w[l] is the style of layer l. It can stop after all but the last; what a layer of RGB has painted stays.

    Args:
        channels: feature channels of every resolution 4, 8, 16, …
        mapping_rate: learning-rate multiplier of the mapping (`lr_mlp`), which its weights do not hold.
    """

    title: ClassVar[str] = "StyleGAN2 of lucidrains"
    settings: ClassVar[tuple[str, ...]] = ("mapping_rate",)

    noise: Tensor

    def __init__(
        self, channels: Sequence[int], w_dim: int = 512, mapping_layers: int = 8, mapping_rate: float = MAPPING_RATE
    ):
        super().__init__()
        self.resolution, self.z_dim, self.w_dim, self.c_dim = 2 << len(channels), w_dim, w_dim, 0
        self.num_ws = 3 * len(channels)
        self.num_layers = self.num_ws - 1
        self.S = MappingNetwork(w_dim, mapping_layers, mapping_rate)
        self.G = SynthesisNetwork(w_dim, channels)
        self.register_buffer("noise", torch.rand(self.resolution, self.resolution))

    @classmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a prepared state dict. Raises KeyError where a key is missing."""
        blocks = numbers(r"G\.blocks\.(\d{1,2})\.", state)
        if blocks != list(range(len(blocks))) or not blocks:
            raise ValueError(f"blocks {blocks} instead of 0, 1, 2, …")
        return {
            "channels": [state[f"G.blocks.{i}.conv1.weight"].shape[0] for i in blocks],
            "w_dim": state["S.w_avg"].shape[0],
            "mapping_layers": len(numbers(r"S\.net\.(\d+)\.", state)),
        }

    @property
    def mean_w(self) -> Tensor:
        """The mean of w [w_dim], which truncation moves to."""
        return self.S.w_avg

    def mapped(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Run the mapping network."""
        w: Tensor = self.S(z)
        return w

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`: 4, 4, 4, 8, 8, 8, …"""
        self.check_layer(layer)
        return 4 << layer // 3

    def style_resolution(self, index: int) -> int:
        """Resolution of what w number `index` styles: three w's each for 4, 8, 16, …"""
        return 4 << index // 3

    def styles(self, index: int) -> list[nn.Module]:
        """What turns w number `index` of w+ into scales of features."""
        block = self.block(index // 3)
        return [(block.to_style1, block.to_style2, block.to_rgb.to_style)[index % 3]]

    def block(self, index: int) -> Block:
        """Return the block of a resolution."""
        block = self.G.blocks[index]
        assert isinstance(block, Block)
        return block

    def noise_at(self, resolution: int, batch: int, mode: NoiseMode) -> Tensor:
        """Return the noise [B or 1, 1, H, W] of a resolution: the upper left part of the one image of noise."""
        if mode == "random":
            return torch.rand(batch, 1, resolution, resolution, device=self.device)
        if mode == "none":
            return self.noise.new_full((1, 1, 1, 1), MEAN_NOISE)
        return self.noise[None, None, :resolution, :resolution]

    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Compute the first convolution on what the constant gives."""
        x = self.G.initial_conv(self.G.initial_block).to(self.dtype_at(4)).expand(ws[0].shape[0], -1, -1, -1)
        return Activations(self.block(0).first(x, ws[0], self.noise_at(4, ws[0].shape[0], noise)))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute one convolution, or paint RGB."""
        resolution, block, x = 4 << layer // 3, self.block(layer // 3), before.features
        if layer % 3 == 2:
            return Activations(x, double(self.painted(before, ws, layer)))
        added = self.noise_at(resolution, x.shape[0], noise)
        if layer % 3 == 1:
            return Activations(block.second(x, ws[layer], added), before.rgb)
        x = F.interpolate(x.to(self.dtype_at(resolution)), scale_factor=2, mode="bilinear", align_corners=False)
        return Activations(block.first(x, ws[layer], added), before.rgb)

    def painted(self, before: Activations, ws: Sequence[Tensor], layer: int) -> Tensor:
        """Add the RGB of a block to that of the blocks before."""
        own: Tensor = self.block(layer // 3).to_rgb(before.features, ws[layer])
        return own if before.rgb is None else own + before.rgb

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Paint the last block's RGB, and bring [0, 1] to [-1, 1]."""
        return self.painted(last, ws, self.num_layers) * 2 - 1


def activate(x: Tensor, to_noise: nn.Module, noise: Tensor) -> Tensor:
    """Add a layer's noise to x [B, C, H, W], then leaky ReLU."""
    assert isinstance(to_noise, nn.Linear)
    shift = noise * to_noise.weight[:, 0][:, None, None] + to_noise.bias[:, None, None]
    return F.leaky_relu(x + shift.to(x.dtype), LRELU_SLOPE)


def double(rgb: Tensor) -> Tensor:
    """Double the size of RGB [B, 3, H, W] bilinearly, then smooth it by [1, 2, 1] x [1, 2, 1] / 16."""
    rgb = F.interpolate(rgb, scale_factor=2, mode="bilinear", align_corners=False)
    taps = torch.tensor([0.25, 0.5, 0.25], device=rgb.device)
    kernel = torch.outer(taps, taps).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(rgb, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)
