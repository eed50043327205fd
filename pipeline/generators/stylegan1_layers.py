"""The layers of StyleGAN (Karras et al. 2019), named as in its PyTorch port.

A layer is (up-)convolution, noise, bias, leaky ReLU, then instance normalisation and a style from the layer's w.
What the published code can be told to do otherwise is an option here: `EpilogueOptions`, `MappingNetwork`, `Layer`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.base import NoiseMode
from pipeline.generators.layers import double, embed_labels, find_activation, normalize_2nd_moment

FUSED_FROM = 128  # resolutions from here up are reached by a transposed convolution
CONV_GAIN = math.sqrt(2)
MAPPING_LR_MUL = 0.01

NORMS = ("joint", "none")


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation of this name, which may overwrite what it is given. Raises ValueError for others."""
    if name not in ("lrelu", "relu"):
        raise ValueError(f"activation '{name}' is neither 'lrelu' nor 'relu'")
    return find_activation(name).function


def check_norm(latent_norm: str) -> str:
    """Return this if it is one of NORMS. Raises ValueError for others."""
    if latent_norm not in NORMS:
        raise ValueError(f"latent_norm '{latent_norm}' is neither 'joint' nor 'none'")
    return latent_norm


@dataclass(frozen=True)
class EpilogueOptions:
    """What can follow a convolution otherwise than in the paper's final network.

    Attributes:
        activation: "lrelu" or "relu".
        pixel_norm: whether every pixel's features are scaled to unit mean square.
        instance_norm: whether every channel is normalised over its pixels.
    """

    activation: str = "lrelu"
    pixel_norm: bool = False
    instance_norm: bool = True


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
    """What follows every convolution: noise, bias, activation, normalisation (of instances), style."""

    def __init__(self, w_dim: int, channels: int, resolution: int, options: EpilogueOptions):
        super().__init__()
        self.options, self.activate = options, activation_of(options.activation)
        self.apply_noise = Noise(channels, resolution)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.style_mod = Style(w_dim, channels)

    def forward(self, x: Tensor, w: Tensor, noise: NoiseMode) -> Tensor:
        """Map x [B, C, H, W] under w [B, w_dim] to the same size."""
        shift: Tensor = self.bias[:, None, None]
        added = self.apply_noise(x, noise)
        x = x + (shift if added is None else added + shift).to(x.dtype)
        x = self.activate(x)
        if self.options.pixel_norm:
            x = normalize_2nd_moment(x.float()).to(x.dtype)
        scale, offset = self.style_mod(w)
        if self.options.instance_norm:
            # Normalisation and style are one multiplication and one addition.
            variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)
            scale = scale * (variance + 1e-8).rsqrt()
            offset = offset - mean * scale
        return torch.addcmul(offset.to(x.dtype), x, scale.to(x.dtype))


class Blur(nn.Module):
    """Smoothing of every channel, by [1, 2, 1] x [1, 2, 1] / 16 unless the weights hold another kernel."""

    kernel: Tensor

    def __init__(self, channels: int, height: int = 3, width: int = 3):
        super().__init__()
        usual = (height, width) == (3, 3)
        self.register_buffer("kernel", blur_kernel(channels) if usual else torch.zeros(channels, 1, height, width))

    def forward(self, x: Tensor) -> Tensor:
        """Smooth [B, C, H, W]; where the kernel has an even size, one more row or column is added at the end."""
        height, width = self.kernel.shape[2:]
        if not height % 2 or not width % 2:
            x = F.pad(x, (0, 1 - width % 2, 0, 1 - height % 2))
        padding = ((height - 1) // 2, (width - 1) // 2)
        return F.conv2d(x, self.kernel.to(x.dtype), padding=padding, groups=x.shape[1])


def blur_kernel(channels: int) -> Tensor:
    """Return the depthwise kernel [channels, 1, 3, 3]."""
    taps = torch.tensor([0.25, 0.5, 0.25], device="cpu")  # a constant, also in blank networks
    return torch.outer(taps, taps).expand(channels, 1, 3, 3).clone()


class Layer(nn.Module):
    """A convolution with its epilogue; layer 0 has a constant in the convolution's place, or a linear map of w.

    An even layer doubles the size: below 128 by repeating pixels before the convolution, from 128 up by one
    transposed convolution, whose weight keeps TensorFlow's order [3, 3, in, out].
    """

    def __init__(
        self,
        index: int,
        in_channels: int,
        channels: int,
        w_dim: int,
        options: EpilogueOptions = EpilogueOptions(),
        blur_size: tuple[int, int] = (3, 3),
        constant: bool = True,
    ):
        super().__init__()
        self.resolution = layer_resolution(index)
        self.up = index > 0 and index % 2 == 0
        self.fused = self.up and self.resolution >= FUSED_FROM
        self.gain = CONV_GAIN / math.sqrt(in_channels * 9)
        if index == 0 and constant:
            self.first_layer = nn.Parameter(torch.ones(1, channels, 4, 4))
        elif index == 0:
            self.first_dense = nn.Parameter(torch.randn(16 * channels, w_dim))
            self.gain = CONV_GAIN / 4 / math.sqrt(w_dim)
        elif self.fused:
            self.weight = nn.Parameter(torch.randn(3, 3, in_channels, channels))
        else:
            self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
            nn.init.normal_(self.conv.weight)
        if self.up:
            self.blur = Blur(channels, *blur_size)
        self.epilogue = Epilogue(w_dim, channels, self.resolution, options)

    def first(self, w: Tensor, dtype: torch.dtype, noise: NoiseMode) -> Tensor:
        """Style the constant, or what w [B, w_dim] gives in its place, as features [B, C, 4, 4]; layer 0 only."""
        if hasattr(self, "first_layer"):
            x = self.first_layer.to(dtype).expand(w.shape[0], -1, -1, -1)
        else:
            x = F.linear(w.float(), self.first_dense * self.gain).unflatten(1, (-1, 4, 4)).to(dtype)
        out: Tensor = self.epilogue(x, w, noise)
        return out

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
    """z (and label c) to w: `dense0`, `dense1`, …, the last of which may give several w's.

    z and the label's part are scaled to unit mean square as one.

    Args:
        c_dim: length of a label; `label_weight` [c_dim, z_dim] turns one into what is appended to z.
        hidden: features between the layers.
        latent_norm: "joint", or "none" where nothing is scaled.
        count: how many w's come of one z.
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        num_layers: int,
        c_dim: int = 0,
        hidden: int | None = None,
        activation: str = "lrelu",
        latent_norm: str = "joint",
        count: int = 1,
    ):
        super().__init__()
        self.count = count
        self.c_dim, self.latent_norm, self.activate = c_dim, check_norm(latent_norm), activation_of(activation)
        if c_dim:
            self.label_weight = nn.Parameter(torch.randn(c_dim, z_dim))
        widths = [2 * z_dim if c_dim else z_dim, *[hidden or w_dim] * (num_layers - 1), w_dim * count]
        for i in range(num_layers):
            self.add_module(f"dense{i}", Dense(widths[i], widths[i + 1], CONV_GAIN, MAPPING_LR_MUL))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Map z [B, z_dim] and c [B, c_dim] to w [B, w_dim], or to [B, count, w_dim] where there are several."""
        x = torch.cat([z, embed_labels(self.label_weight, c)], dim=1) if self.c_dim else z
        if self.latent_norm == "joint":
            x = normalize_2nd_moment(x)
        for dense in self.children():
            x = self.activate(dense(x))
        return x if self.count == 1 else x.unflatten(1, (self.count, -1))


def layer_resolution(layer: int) -> int:
    """Height and width of the features after a layer: 4, 4, 8, 8, 16, …"""
    return 4 << layer // 2
