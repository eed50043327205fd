"""StyleGAN2 (Karras et al. 2020) in plain PyTorch, with the state-dict keys of StyleGAN2-ADA.

Modulation scales the activations rather than the weights: `demod(conv(x * s, W))` equals a convolution with
per-sample weights, but the whole batch is one ordinary convolution.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.layered import LayeredGenerator, State
from pipeline.generators.layers import (
    LRELU_GAIN,
    LRELU_SLOPE,
    FullyConnected,
    fir_kernel,
    normalize_2nd_moment,
    numbers,
    resample_filter_buffer,
    truncate,
    upsample2d,
)


class MappingNetwork(nn.Module):
    """z (and label c) to w, with the tracked mean `w_avg` used for truncation."""

    w_avg: Tensor

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, num_layers: int, lr_mul: float = 0.01):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_layers = z_dim, c_dim, w_dim, num_layers
        if c_dim:
            self.embed = FullyConnected(c_dim, w_dim)
        for i in range(num_layers):
            in_features = z_dim + (w_dim if c_dim else 0) if i == 0 else w_dim
            self.add_module(f"fc{i}", FullyConnected(in_features, w_dim, lr_mul=lr_mul))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Map z [B, z_dim] and c [B, c_dim] to w [B, w_dim]."""
        x = normalize_2nd_moment(z)
        if self.c_dim:
            if c is None:
                raise ValueError(f"this generator is conditional: pass labels c of shape [B, {self.c_dim}]")
            x = torch.cat([x, normalize_2nd_moment(self.embed(c))], dim=1)
        for i in range(self.num_layers):
            x = F.leaky_relu(self.get_submodule(f"fc{i}")(x), LRELU_SLOPE) * LRELU_GAIN
        return x


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style, as activations (one convolution a batch)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, w_dim: int):
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)


class SynthesisLayer(ModulatedConv):
    """Modulated 3x3 convolution (optionally x2 up), noise, bias, leaky ReLU."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        up: bool,
        conv_clamp: float | None,
    ):
        super().__init__(in_channels, out_channels, 3, w_dim)
        self.resolution, self.up, self.conv_clamp = resolution, up, conv_clamp
        self.register_buffer("resample_filter", resample_filter_buffer())
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.noise_strength = nn.Parameter(torch.zeros([]))

    def forward(self, x: Tensor, w: Tensor, noise: NoiseMode) -> Tensor:
        """Map x [B, in, H, W] under w [B, w_dim] to [B, out, resolution, resolution]."""
        styles = self.affine(w.float())
        weight: Tensor = self.weight
        if x.dtype != torch.float32:
            # Keep half precision in range: demodulation cancels these scales exactly.
            weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True)
            styles = styles / styles.abs().amax(dim=1, keepdim=True)
        demodulation = (styles.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt()
        weight = weight.to(x.dtype)
        x = x * styles.to(x.dtype)[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            kernel = fir_kernel(self.resample_filter.to(x.dtype), self.out_channels, gain=4)
            x = F.conv2d(x, kernel, padding=1, groups=self.out_channels)
        else:
            x = F.conv2d(x, weight, padding=1)
        # leaky_relu(x) * gain = leaky_relu(x * gain): the gain rides on the demodulation and on the bias.
        shift: Tensor = self.bias[None, :, None, None]
        if noise == "random":
            sample = torch.randn(x.shape[0], 1, self.resolution, self.resolution, device=x.device)
            shift = shift + sample * self.noise_strength
        elif noise == "const":
            shift = shift + self.noise_const * self.noise_strength
        scale = (demodulation * LRELU_GAIN)[:, :, None, None]
        shift = (shift * LRELU_GAIN).to(x.dtype, memory_format=torch.channels_last)
        x = torch.addcmul(shift, x, scale.to(x.dtype))
        x = F.leaky_relu_(x, LRELU_SLOPE)
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)


class ToRGB(ModulatedConv):
    """Modulated 1x1 convolution to three channels, without demodulation."""

    def __init__(self, in_channels: int, w_dim: int, conv_clamp: float | None):
        super().__init__(in_channels, 3, 1, w_dim)
        self.conv_clamp = conv_clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x [B, in, H, W] under w [B, w_dim] to RGB [B, 3, H, W] in fp32."""
        styles = self.affine(w.float()) / math.sqrt(self.in_channels * self.kernel_size**2)
        x = F.conv2d(x * styles.to(x.dtype)[:, :, None, None], self.weight.to(x.dtype), self.bias.to(x.dtype))
        if self.conv_clamp is not None:
            x = x.clamp(-self.conv_clamp, self.conv_clamp)
        return x.float()


class SynthesisBlock(nn.Module):
    """All layers of one resolution: the constant or an up-convolution, a convolution, and ToRGB with skip."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, resolution: int, conv_clamp: float | None):
        super().__init__()
        self.resolution = resolution
        self.register_buffer("resample_filter", resample_filter_buffer())
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(out_channels, 4, 4))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, True, conv_clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, False, conv_clamp)
        self.torgb = ToRGB(out_channels, w_dim, conv_clamp)

    def begin(self, w: Tensor, noise: NoiseMode, dtype: torch.dtype) -> Tensor:
        """Compute the first layer [B, C, 4, 4] from the constant under w [B, w_dim]."""
        x = self.const.to(dtype).expand(w.shape[0], -1, -1, -1)
        out: Tensor = self.conv1(x.contiguous(memory_format=torch.channels_last), w, noise)
        return out

    def paint(self, x: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor:
        """Add the block's features x, seen under w [B, w_dim], to the doubled RGB of the block before."""
        own: Tensor = self.torgb(x, w)
        return own if rgb is None else own + upsample2d(rgb, self.resample_filter)


class SynthesisNetwork(nn.Module):
    """Blocks b4, b8, ... b{resolution}."""

    def __init__(self, w_dim: int, channels: Mapping[int, int], conv_clamp: float | None):
        super().__init__()
        for resolution in sorted(channels):
            in_channels = channels.get(resolution // 2, 0)
            block = SynthesisBlock(in_channels, channels[resolution], w_dim, resolution, conv_clamp)
            self.add_module(f"b{resolution}", block)

    def block(self, resolution: int) -> SynthesisBlock:
        """Return the block of a resolution."""
        block = self.get_submodule(f"b{resolution}")
        assert isinstance(block, SynthesisBlock)
        return block


class StyleGAN2(LayeredGenerator):
    """The generator G.

    It can stop after each of its num_ws - 1 convolutions, w[l] being the style of layer l; the last w is read by
    the last ToRGB only. The ToRGB of a resolution runs when its second convolution is left behind, under the w of
    the next layer, so that the image always shows changed features.

    Args:
        resolution: output height and width, a power of two.
        channels: feature channels of every resolution from 4 to `resolution`.
        conv_clamp: bound on every convolution's output; official fp16 models use 256, None is no bound.
    """

    title: ClassVar[str] = "StyleGAN2"
    settings: ClassVar[tuple[str, ...]] = ("conv_clamp",)

    def __init__(
        self,
        resolution: int,
        channels: Mapping[int, int],
        z_dim: int = 512,
        w_dim: int = 512,
        c_dim: int = 0,
        mapping_layers: int = 8,
        conv_clamp: float | None = None,
    ):
        super().__init__()
        self.resolution, self.z_dim, self.w_dim, self.c_dim = resolution, z_dim, w_dim, c_dim
        self.conv_clamp = conv_clamp
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, mapping_layers)
        self.synthesis = SynthesisNetwork(w_dim, channels, conv_clamp)
        self.num_ws = 2 * len(channels)
        self.num_layers = self.num_ws - 1

    @classmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a StyleGAN2-ADA state dict. Raises KeyError where a key is missing."""
        resolutions = numbers(r"synthesis\.b(\d+)\.", state)
        if not resolutions:
            raise ValueError("no key begins with 'synthesis.b'")
        if resolutions != [4 << i for i in range(len(resolutions))]:
            raise ValueError(f"blocks of resolutions {resolutions} instead of 4, 8, 16, …")
        w_dim = state["mapping.w_avg"].shape[0]
        conditional = any(key.startswith("mapping.embed.") for key in state)
        c_dim = state["mapping.embed.weight"].shape[1] if conditional else 0
        return {
            "resolution": resolutions[-1],
            "channels": {r: state[f"synthesis.b{r}.conv1.weight"].shape[0] for r in resolutions},
            "z_dim": state["mapping.fc0.weight"].shape[1] - (w_dim if c_dim else 0),
            "w_dim": w_dim,
            "c_dim": c_dim,
            "mapping_layers": len(numbers(r"mapping\.fc(\d+)\.", state)),
        }

    @property
    def mean_w(self) -> Tensor:
        """The tracked mean of w [w_dim], which truncation moves to."""
        return self.mapping.w_avg

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map z [B, z_dim] (and labels c [B, c_dim]) to w+ [B, num_ws, w_dim].

        Truncation moves the first `truncation_cutoff` layers (all, if None) to w_avg + psi * (w - w_avg).
        """
        return truncate(self.mapping(z, c), self.mapping.w_avg, truncation_psi, truncation_cutoff, self.num_ws)

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`: 4, 8, 8, 16, 16, …"""
        self.check_layer(layer)
        return block_of(layer)

    def styles(self, index: int) -> list[nn.Module]:
        """What turns w number `index` of w+ into scales of features: a convolution's and, of some, ToRGB's."""
        if index == self.num_layers:
            return [self.synthesis.block(self.resolution).torgb.affine]
        block = self.synthesis.block(block_of(index))
        if index % 2 == 0:
            return [block.conv1.affine]
        return [block.conv0.affine, self.synthesis.block(block.resolution // 2).torgb.affine]

    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Compute the 4x4 convolution on the constant."""
        return Activations(self.synthesis.block(4).begin(ws[0], noise, self.dtype_at(4)))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute one convolution; an up-convolution leaves a block behind, which paints its RGB first."""
        resolution = block_of(layer)
        block = self.synthesis.block(resolution)
        if layer % 2 == 0:
            return Activations(block.conv1(before.features, ws[layer], noise), before.rgb)
        rgb = self.synthesis.block(resolution // 2).paint(before.features, before.rgb, ws[layer])
        return Activations(block.conv0(before.features.to(self.dtype_at(resolution)), ws[layer], noise), rgb)

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Paint the last block's RGB."""
        return self.synthesis.block(self.resolution).paint(last.features, last.rgb, ws[-1])


def block_of(layer: int) -> int:
    """Resolution of a layer's block."""
    return 4 << (layer + 1) // 2
