"""Layers of StyleGAN2.

Modulation scales the activations rather than the weights: `demod(conv(x * s, W))` equals a convolution with
per-sample weights, but the whole batch is one ordinary convolution.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.base import NoiseMode
from pipeline.generators.layers import (
    FullyConnected,
    find_activation,
    low_pass,
    normalize_2nd_moment,
    resample_filter_buffer,
    upsample2d,
)

LATENT_NORMS = ("each", "joint", "none")


@dataclass(frozen=True)
class LayerOptions:
    """What all layers of a synthesis network have in common.

    Attributes:
        architecture: how blocks join: "skip" (their RGB is added up), "resnet" (features are) or "orig" (neither).
        activation: what follows a convolution, one of `pipeline.generators.layers.ACTIVATIONS`.
        conv_clamp: bound on every convolution's output, or None.
        filter: shape of the filter of up-convolutions.
        rgb_filter: shape of the filter that doubles RGB images.
    """

    architecture: str = "skip"
    activation: str = "lrelu"
    conv_clamp: float | None = None
    filter: tuple[int, ...] = (4, 4)
    rgb_filter: tuple[int, ...] = (4, 4)


class MappingNetwork(nn.Module):
    """z (and label c) to w, with the tracked mean `w_avg` used for truncation."""

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_layers: int,
        lr_mul: float = 0.01,
        layer_features: int | None = None,
        embed_features: int | None = None,
        activation: str = "lrelu",
        latent_norm: str = "each",
    ):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_layers = z_dim, c_dim, w_dim, num_layers
        self.activation = find_activation(activation)
        if latent_norm not in LATENT_NORMS:
            raise ValueError(f"latent_norm '{latent_norm}' is none of {', '.join(LATENT_NORMS)}")
        self.latent_norm = latent_norm
        embed_features = embed_features or w_dim
        if c_dim:
            self.embed = FullyConnected(c_dim, embed_features)
        features = [
            z_dim + embed_features if c_dim else z_dim,
            *[layer_features or w_dim] * (num_layers - 1),
            w_dim,
        ]
        for i in range(num_layers):
            self.add_module(f"fc{i}", FullyConnected(features[i], features[i + 1], lr_mul=lr_mul))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Map z [B, z_dim] and c [B, c_dim] to w [B, w_dim]."""
        parts = [z]
        if self.c_dim:
            if c is None:
                raise ValueError(f"this generator is conditional: pass labels c of shape [B, {self.c_dim}]")
            parts.append(self.embed(c))
        if self.latent_norm == "each":
            parts = [normalize_2nd_moment(part) for part in parts]
        x = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        if self.latent_norm == "joint":
            x = normalize_2nd_moment(x)
        for i in range(self.num_layers):
            x = self.activation.function(self.get_submodule(f"fc{i}")(x)) * self.activation.gain
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
    """Modulated 3x3 convolution (optionally x2 up), noise, bias, activation, gain, clamp.

    The filter of a layer that does not double is kept only for the file's sake.
    """

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        up: bool,
        options: LayerOptions,
        gain: float = 1.0,
    ):
        super().__init__(in_channels, out_channels, 3, w_dim)
        self.resolution, self.up = resolution, up
        self.activation = find_activation(options.activation)
        self.gain = self.activation.gain * gain
        self.conv_clamp = None if options.conv_clamp is None else options.conv_clamp * gain
        self.register_buffer("resample_filter", resample_filter_buffer(options.filter if up else (4, 4)))
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
        demodulation = (styles.square() @ self.energy(weight) + 1e-8).rsqrt()
        weight = weight.to(x.dtype)
        x = x * styles.to(x.dtype)[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = low_pass(x, self.resample_filter)
        else:
            x = F.conv2d(x, weight, padding=1)
        # leaky_relu(x) * gain = leaky_relu(x * gain): the gain rides on the demodulation and on the bias.
        gain = self.gain if self.activation.homogeneous else 1.0
        scale, bias = (demodulation * gain)[:, :, None, None], (self.bias * gain)[None, :, None, None]
        x = torch.addcmul(bias.to(x.dtype), x, scale.to(x.dtype))
        if noise == "random":
            sample = torch.randn(x.shape[0], 1, self.resolution, self.resolution, device=x.device)
            x = x.add_((sample * (self.noise_strength * gain)).to(x.dtype))
        elif noise == "const":
            x = x.add_((self.noise_const * (self.noise_strength * gain)).to(x.dtype))
        x = self.activation.function(x)
        if not self.activation.homogeneous:
            x = x * self.gain
        if self.conv_clamp is None:
            return x
        return F.hardtanh(x, -self.conv_clamp, self.conv_clamp, inplace=not x.requires_grad)

    def energy(self, weight: Tensor) -> Tensor:
        """Squares of a weight [out, in, k, k], summed over its positions as they lie in memory: [in, out]."""
        if self.up:
            return weight.transpose(0, 1).square().sum(dim=(2, 3))
        return weight.square().sum(dim=(2, 3)).T

    def arrange(self) -> None:
        """Lay the weight out as a transposed convolution reads it, which otherwise copies it at every call."""
        if self.up:
            turned = self.weight.detach().transpose(0, 1).contiguous(memory_format=torch.channels_last)
            self.weight = nn.Parameter(turned.transpose(0, 1), self.weight.requires_grad)


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


class ResidualConv(nn.Module):
    """1x1 convolution past a block of the "resnet" architecture, doubled, weighed by sqrt(1/2) as the block is."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, options: LayerOptions):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.register_buffer("resample_filter", resample_filter_buffer(options.filter))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, in, H, W] to [B, out, 2H, 2W]."""
        weight = self.weight * math.sqrt(0.5 / self.weight.shape[1])
        return upsample2d(F.conv2d(x, weight.to(x.dtype)), self.resample_filter)


class SynthesisBlock(nn.Module):
    """All layers of one resolution: the constant or an up-convolution, a convolution, and perhaps ToRGB."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        paints: bool,
        options: LayerOptions,
    ):
        super().__init__()
        self.resolution, self.paints = resolution, paints
        self.residual = options.architecture == "resnet" and resolution > 4
        self.register_buffer("resample_filter", resample_filter_buffer(options.rgb_filter))
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(out_channels, 4, 4))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, True, options)
        gain = math.sqrt(0.5) if self.residual else 1.0
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, False, options, gain)
        if self.residual:
            self.skip = ResidualConv(in_channels, out_channels, options)
        if paints:
            self.torgb = ToRGB(out_channels, w_dim, options.conv_clamp)

    def begin(self, w: Tensor, noise: NoiseMode, dtype: torch.dtype) -> Tensor:
        """Compute the first layer [B, C, 4, 4] from the constant under w [B, w_dim]."""
        x = self.const.to(dtype).expand(w.shape[0], -1, -1, -1)
        out: Tensor = self.conv1(x.contiguous(memory_format=torch.channels_last), w, noise)
        return out

    def paint(self, x: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor | None:
        """Add the block's features x, seen under w [B, w_dim], to the doubled RGB of the block before."""
        if not self.paints:
            return rgb
        own: Tensor = self.torgb(x, w)
        return own if rgb is None else own + upsample2d(rgb, self.resample_filter)


class SynthesisNetwork(nn.Module):
    """Blocks b4, b8, ... b{resolution}."""

    def __init__(self, w_dim: int, channels: Mapping[int, int], options: LayerOptions):
        super().__init__()
        for resolution in sorted(channels):
            in_channels = channels.get(resolution // 2, 0)
            paints = options.architecture == "skip" or resolution == max(channels)
            block = SynthesisBlock(in_channels, channels[resolution], w_dim, resolution, paints, options)
            self.add_module(f"b{resolution}", block)

    def block(self, resolution: int) -> SynthesisBlock:
        """Return the block of a resolution."""
        block = self.get_submodule(f"b{resolution}")
        assert isinstance(block, SynthesisBlock)
        return block
