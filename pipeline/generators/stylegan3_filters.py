"""StyleGAN3's low-pass filters, and its leaky ReLU between two of them (appendix C.3 and D)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.generators.layers import LRELU_SLOPE

aten = torch.ops.aten


def design_low_pass(
    taps: int, cutoff: float, half_width: float, rate: float, radial: bool = False
) -> Tensor | None:
    """Design a Kaiser-windowed low-pass filter [taps], or [taps, taps] if radially symmetric; of one tap: None.

    Args:
        cutoff, half_width, rate: cutoff frequency, half of the transition band, and sampling rate, in one unit.
    """
    if taps == 1:
        return None
    place = torch.arange(taps, dtype=torch.float64, device="cpu") - (taps - 1) / 2  # also in blank networks
    attenuation = 2.285 * (taps - 1) * math.pi * (2 * half_width / (rate / 2)) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    else:
        beyond = max(attenuation - 21, 0.0)
        beta = 0.5842 * beyond**0.4 + 0.07886 * beyond
    window = torch.special.i0(beta * (1 - (2 * place / (taps - 1)).square()).clamp_min(0).sqrt())
    kernel: Tensor
    if radial:
        radius = torch.hypot(place[:, None], place[None, :]).clamp_min(1e-6) / rate
        kernel = torch.special.bessel_j1(2 * cutoff * math.pi * radius) / radius * torch.outer(window, window)
    else:
        kernel = torch.special.sinc(2 * cutoff / rate * place) * window
    return (kernel / kernel.sum()).float()


@dataclass(frozen=True)
class Resampling:
    """Between which rates a layer's leaky ReLU is taken, and how the finer signal is padded or cropped before."""

    up: int
    down: int
    before: int
    after: int

    def crops(self, taps: int) -> tuple[int, int, int]:
        """How much of a transposed convolution's output goes: before, after, and at both ends beside that."""
        before, after = taps - 1 - self.before, taps - self.up - self.after
        both = max(min(before, after), 0)
        return before - both, after - both, both

    def upsample(self, x: Tensor, kernel: Tensor | None) -> Tensor:
        """Insert zeros, pad and filter along both axes. Returns memory of its own."""
        if kernel is None:
            return F.pad(x, [self.before, self.after] * 2) if self.before or self.after else x.clone()
        start, end, both = self.crops(len(kernel))
        for axis in (0, 1):
            weight, stride, padding = along(axis, kernel, x.shape[1], self.up, both)
            x = F.conv_transpose2d(x, weight, stride=stride, padding=padding, groups=x.shape[1])
        return F.pad(x, [-start, -end] * 2) if start or end else x

    def upsample_transposed(self, gradient: Tensor, kernel: Tensor | None) -> Tensor:
        """Gradient by what `upsample` was given, from that by what it returned."""
        if kernel is None:
            return F.pad(gradient, [-self.before, -self.after] * 2) if self.before or self.after else gradient
        start, end, both = self.crops(len(kernel))
        if start or end:
            gradient = F.pad(gradient, [start, end] * 2)
        for axis in (1, 0):
            weight, stride, padding = along(axis, kernel, gradient.shape[1], self.up, both)
            gradient = F.conv2d(gradient, weight, stride=stride, padding=padding, groups=gradient.shape[1])
        return gradient

    def downsample(self, x: Tensor, kernel: Tensor | None) -> Tensor:
        """Filter and keep every `down`-th sample along both axes."""
        if kernel is None:
            return x
        if kernel.dim() == 2:
            weight = kernel.flip(0, 1).expand(x.shape[1], 1, -1, -1)
            return F.conv2d(x, weight, stride=self.down, groups=x.shape[1])
        for axis in (0, 1):
            weight, stride, _ = along(axis, kernel.flip(0), x.shape[1], self.down)
            x = F.conv2d(x, weight, stride=stride, groups=x.shape[1])
        return x

    def downsample_transposed(self, gradient: Tensor, kernel: Tensor | None) -> Tensor:
        """Gradient by what `downsample` was given, from that by what it returned. Memory of its own."""
        channels = gradient.shape[1]
        if kernel is None:
            return gradient.clone()
        if kernel.dim() == 2:
            weight = kernel.flip(0, 1).expand(channels, 1, -1, -1)
            return F.conv_transpose2d(gradient, weight, stride=self.down, groups=channels)
        for axis in (1, 0):
            weight, stride, _ = along(axis, kernel.flip(0), channels, self.down)
            gradient = F.conv_transpose2d(gradient, weight, stride=stride, groups=channels)
        return gradient


def along(
    axis: int, kernel: Tensor, channels: int, step: int, padding: int = 0
) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
    """Return depthwise weights [channels, 1, taps, 1] or [channels, 1, 1, taps], strides and paddings."""
    weight = kernel[None, None, :, None] if axis == 0 else kernel[None, None, None, :]
    strides, paddings = ((step, 1), (padding, 0)) if axis == 0 else ((1, step), (0, padding))
    return weight.expand(channels, -1, -1, -1), strides, paddings


class _FilteredLeakyReLU(torch.autograd.Function):
    """Keeps one copy of the finer signal for the gradient, where the separate steps would keep two."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, up_filter: Tensor | None, down_filter: Tensor | None, plan: Resampling, clamp: float
    ) -> Tensor:
        up_filter, down_filter = (None if f is None else f.to(x.dtype) for f in (up_filter, down_filter))
        if up_filter is not None:
            up_filter = up_filter * plan.up
        fine = F.leaky_relu_(plan.upsample(x, up_filter), LRELU_SLOPE).clamp_(-clamp, clamp)
        ctx.save_for_backward(fine, up_filter, down_filter)
        ctx.plan, ctx.clamp = plan, clamp
        out = plan.downsample(fine, down_filter)
        return out.clone() if down_filter is None else out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        fine, up_filter, down_filter = ctx.saved_tensors
        plan, clamp = ctx.plan, ctx.clamp
        gradient = plan.downsample_transposed(gradient, down_filter)
        aten.leaky_relu_backward.grad_input(gradient, fine, LRELU_SLOPE, True, grad_input=gradient)
        if math.isfinite(clamp):
            aten.hardtanh_backward.grad_input(gradient, fine, -clamp, clamp, grad_input=gradient)
        return plan.upsample_transposed(gradient, up_filter), None, None, None, None


def filtered_leaky_relu(
    x: Tensor, up_filter: Tensor | None, down_filter: Tensor | None, plan: Resampling, clamp: float
) -> Tensor:
    """Take the leaky ReLU of x [B, C, H, W] at a finer rate: upsample, leaky ReLU, clamp, filter, downsample.

    Its gain is left to the caller (leaky ReLU of a multiple is that multiple). Differentiable once.

    Args:
        up_filter, down_filter: [taps], or for `down_filter` [taps, taps]; None is no filter.
        clamp: bound on what leaves the leaky ReLU; infinite for none.
    """
    out: Tensor = _FilteredLeakyReLU.apply(x, up_filter, down_filter, plan, clamp)  # type: ignore[no-untyped-call]
    return out
