"""The residual discriminator of StyleGAN2, with the minibatch standard deviation."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EqualizedConv(nn.Module):
    """Convolution with equalised learning rate: effective weight = weight / sqrt(fan_in)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.padding = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H, W]."""
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.padding)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class DownBlock(nn.Module):
    """Two convolutions and a halving, beside a 1x1 skip."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv0 = EqualizedConv(in_channels, in_channels, 3)
        self.conv1 = EqualizedConv(in_channels, out_channels, 3)
        self.skip = EqualizedConv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H/2, W/2]."""
        skip: Tensor = self.skip(F.avg_pool2d(x, 2))
        x = activate(self.conv1(F.avg_pool2d(activate(self.conv0(x)), 2)))
        return (x + skip) / math.sqrt(2)


class Discriminator(nn.Module):
    """Realness score of images.

    Args:
        channels: feature channels from the full resolution down to 4x4.
    """

    def __init__(self, channels: Sequence[int], group_size: int = 8):
        super().__init__()
        self.from_rgb = EqualizedConv(3, channels[0], 1)
        self.blocks = nn.ModuleList(DownBlock(i, o) for i, o in pairwise(channels))
        self.conv = EqualizedConv(channels[-1] + 1, channels[-1], 3)
        self.fc = EqualizedConv(channels[-1], channels[-1], 4)
        self.fc.padding = 0
        self.out = EqualizedConv(channels[-1], 1, 1)
        self.group_size = group_size

    def forward(self, x: Tensor) -> Tensor:
        """Score images [B, 3, H, W] in [-1, 1] as logits [B]."""
        x = activate(self.from_rgb(x))
        for block in self.blocks:
            x = block(x)
        x = torch.cat([x, self.minibatch_std(x)], dim=1)
        x = activate(self.conv(x))
        x = activate(self.fc(x))
        score: Tensor = self.out(x)
        return score.flatten()

    def minibatch_std(self, x: Tensor) -> Tensor:
        """Standard deviation over groups of the batch, averaged to one channel [B, 1, H, W]."""
        group = math.gcd(self.group_size, x.shape[0])
        y = x.reshape(group, -1, *x.shape[1:])
        std = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3), keepdim=True)
        return std.repeat(group, 1, x.shape[2], x.shape[3])
