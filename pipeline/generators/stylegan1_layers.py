"""The layers of StyleGAN (Karras et al. 2019), named as in its PyTorch port.

A layer is (up-)convolution, noise, bias, leaky ReLU, then instance normalisation and a style from the layer's w.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.base import NoiseMode
from pipeline.generators.layers import LRELU_SLOPE, double, normalize_2nd_moment

FUSED_FROM = 128  # resolutions from here up are reached by a transposed convolution
CONV_GAIN = math.sqrt(2)
MAPPING_LR_MUL = 0.01


class Bias(nn.Module):
    """The `bias` of a module, under a name of its own in the port's keys."""

    def __init__(self, features: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))


class Dense(nn.Module):
    """Linear layer with equalised learning rate: effective weight = weight * gain * lr_mul / sqrt(in)."""

    def __init__(self, in_features: int, out_features: int, gain: float, lr_mul: float):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=False)
        nn.init.normal_(self.linear.weight, std=1 / lr_mul)
        self.wscale = Bias(out_features)
        self.weight_gain, self.lr_mul = gain * lr_mul / math.sqrt(in_features), lr_mul

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in] to [B, out]."""
        return F.linear(x, self.linear.weight * self.weight_gain, self.wscale.bias * self.lr_mul)


class Noise(nn.Module):
    """Fixed noise map, and its strength in every channel."""

    noise: Tensor

    def __init__(self, channels: int, resolution: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))

    def forward(self, x: Tensor, mode: NoiseMode) -> Tensor | None:
        """Return what to add to x [B, C, H, W], or nothing."""
        if mode == "none":
            return None
        noise = self.noise
        if mode == "random":
            noise = torch.randn(x.shape[0], 1, *x.shape[2:], device=x.device)
        return noise * self.weight[:, None, None]


class Style(nn.Module):
    """w to the scale and shift of every channel."""

    def __init__(self, w_dim: int, channels: int):
        super().__init__()
        self.dense = Dense(w_dim, 2 * channels, gain=1.0, lr_mul=1.0)

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Map w [B, w_dim] to two tensors [B, C, 1, 1]."""
        scale, shift = self.dense(w.float())[:, :, None, None].chunk(2, dim=1)
        return scale + 1, shift


class Epilogue(nn.Module):
    """What follows every convolution: noise, bias, leaky ReLU, instance norm, style."""

    def __init__(self, w_dim: int, channels: int, resolution: int):
        super().__init__()
        self.apply_noise = Noise(channels, resolution)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.style_mod = Style(w_dim, channels)

    def forward(self, x: Tensor, w: Tensor, noise: NoiseMode) -> Tensor:
        """Map x [B, C, H, W] under w [B, w_dim] to the same size."""
        shift: Tensor = self.bias[:, None, None]
        added = self.apply_noise(x, noise)
        x = x + (shift if added is None else added + shift).to(x.dtype)
        x = F.leaky_relu(x, LRELU_SLOPE)
        variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)
        # Normalisation and style are one multiplication and one addition.
        scale, offset = self.style_mod(w)
        scale = scale * (variance + 1e-8).rsqrt()
        return torch.addcmul((offset - mean * scale).to(x.dtype), x, scale.to(x.dtype))


class Blur(nn.Module):
    """Smoothing of every channel by [1, 2, 1] x [1, 2, 1] / 16."""

    kernel: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("kernel", blur_kernel(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Smooth [B, C, H, W]."""
        return F.conv2d(x, self.kernel.to(x.dtype), padding=1, groups=x.shape[1])


def blur_kernel(channels: int) -> Tensor:
    """Return the depthwise kernel [channels, 1, 3, 3]."""
    taps = torch.tensor([0.25, 0.5, 0.25], device="cpu")  # a constant, also in blank networks
    return torch.outer(taps, taps).expand(channels, 1, 3, 3).clone()


class Layer(nn.Module):
    """A convolution with its epilogue; layer 0 has a constant in the convolution's place.

    An even layer doubles the size: below 128 by repeating pixels before the convolution, from 128 up by one
    transposed convolution, whose weight keeps TensorFlow's order [3, 3, in, out].
    """

    def __init__(self, index: int, in_channels: int, channels: int, w_dim: int):
        super().__init__()
        self.resolution = layer_resolution(index)
        self.up = index > 0 and index % 2 == 0
        self.fused = self.up and self.resolution >= FUSED_FROM
        self.gain = CONV_GAIN / math.sqrt(in_channels * 9)
        if index == 0:
            self.first_layer = nn.Parameter(torch.ones(1, channels, 4, 4))
        elif self.fused:
            self.weight = nn.Parameter(torch.randn(3, 3, in_channels, channels))
        else:
            self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
            nn.init.normal_(self.conv.weight)
        if self.up:
            self.blur = Blur(channels)
        self.epilogue = Epilogue(w_dim, channels, self.resolution)

    def forward(self, x: Tensor, w: Tensor, noise: NoiseMode) -> Tensor:
        """Map x [B, in, H, W] under w [B, w_dim] to [B, C, resolution, resolution]."""
        if self.fused:
            # The sum of four shifted kernels is the repetition of pixels, folded into the convolution.
            kernel = F.pad(self.weight.permute(2, 3, 0, 1) * self.gain, (1, 1, 1, 1))
            kernel = kernel[..., 1:, 1:] + kernel[..., :-1, 1:] + kernel[..., 1:, :-1] + kernel[..., :-1, :-1]
            x = F.conv_transpose2d(x, kernel.to(x.dtype), stride=2, padding=1)
        else:
            weight = (self.conv.weight * self.gain).to(x.dtype)
            x = F.conv2d(double(x) if self.up else x, weight, padding=1)
        if self.up:
            x = self.blur(x)
        out: Tensor = self.epilogue(x, w, noise)
        return out


class ToRGB(nn.Module):
    """1x1 convolution to three channels."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 3, 1, bias=False)
        nn.init.normal_(self.conv.weight)
        self.bias = nn.Parameter(torch.zeros(3))
        self.gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to RGB [B, 3, H, W] in fp32."""
        return F.conv2d(x.float(), self.conv.weight * self.gain, self.bias)


class MappingNetwork(nn.Module):
    """z to w: `dense0`, `dense1`, …"""

    def __init__(self, z_dim: int, w_dim: int, num_layers: int):
        super().__init__()
        for i in range(num_layers):
            dense = Dense(z_dim if i == 0 else w_dim, w_dim, CONV_GAIN, MAPPING_LR_MUL)
            self.add_module(f"dense{i}", dense)

    def forward(self, z: Tensor) -> Tensor:
        """Map z [B, z_dim] to w [B, w_dim]."""
        x = normalize_2nd_moment(z)
        for dense in self.children():
            x = F.leaky_relu(dense(x), LRELU_SLOPE)
        return x


def layer_resolution(layer: int) -> int:
    """Height and width of the features after a layer: 4, 4, 8, 8, 16, …"""
    return 4 << layer // 2
