"""Layers of StyleGAN3: Fourier features under a learned rotation and shift, filtered convolutions, ToRGB."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.layers import LRELU_GAIN, FullyConnected
from pipeline.generators.stylegan3_filters import Resampling, design_low_pass, filtered_leaky_relu
from pipeline.generators.stylegan3_sampling import LayerSampling


class SynthesisInput(nn.Module):
    """The coordinates of a picture, turned and moved as w says, as waves of fixed frequencies, linearly mixed.

    Attributes:
        transform: a further movement of the picture [3, 3], inverse and in widths of the image.
        freqs, phases: of the waves, in cycles a width of the image [C, 2] and in cycles [C].
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, channels: int, first: LayerSampling):
        super().__init__()
        self.size, self.sampling_rate, self.bandwidth = first.in_size, first.in_sampling_rate, first.in_cutoff
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = FullyConnected(w_dim, 4)
        cpu = torch.device("cpu")  # these are so small that blank networks have them, too
        self.affine.weight = nn.Parameter(torch.zeros(4, w_dim, device=cpu))
        self.affine.bias = nn.Parameter(torch.eye(4, device=cpu)[0])
        normal, angle = torch.randn(2, channels, 2, device=cpu)
        even = (1 - normal.square().sum(dim=1, keepdim=True).div(-2).exp()).sqrt()  # radii of an even disc
        self.register_buffer("transform", torch.eye(3, device=cpu))
        self.register_buffer("freqs", F.normalize(normal) * even * self.bandwidth)
        self.register_buffer("phases", torch.atan2(*angle.unbind(dim=1)) / (2 * math.pi))

    def forward(self, w: Tensor) -> Tensor:
        """Map w [B, w_dim] to features [B, C, size, size]."""
        turn = self.affine(w.float())
        cosine, sine, x, y = (turn / turn[:, :2].norm(dim=1, keepdim=True)).unbind(dim=1)
        # Rotation times translation, of which the last row stays (0, 0, 1).
        rows = [cosine, -sine, sine * y - cosine * x, sine, cosine, -sine * x - cosine * y]
        moved = torch.stack(rows, dim=1).unflatten(1, (2, 3)) @ self.transform
        phases = self.phases + (self.freqs @ moved[:, :, 2:]).squeeze(2)
        freqs = self.freqs @ moved[:, :, :2]
        # Waves that the movement makes too short for the sampling rate fade out.
        room = self.sampling_rate / 2 - self.bandwidth
        amplitudes = (1 - (freqs.norm(dim=2) - self.bandwidth) / room).clamp(0, 1)
        place = (torch.arange(self.size, device=w.device) + 0.5 - self.size / 2) / self.sampling_rate
        across, down = (place[:, None] * freqs[:, None, :, axis] for axis in (0, 1))  # [B, size, C]
        cycles = across[:, None] + (down + phases[:, None])[:, :, None]
        waves = torch.sin(cycles * (2 * math.pi)) * amplitudes[:, None, None]
        features: Tensor = waves @ (self.weight.T / math.sqrt(len(self.weight)))
        return features.permute(0, 3, 1, 2)


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style, as activations (one convolution a batch).

    Attributes:
        magnitude_ema: mean square of the input, tracked in training; the input is divided by its root.
    """

    magnitude_ema: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel: int, w_dim: int, clamp: float):
        super().__init__()
        self.clamp = clamp
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.register_buffer("magnitude_ema", torch.ones([]))


class SynthesisLayer(ModulatedConv):
    """Modulated convolution, bias, leaky ReLU between two low-pass filters, which also change the sampling rate."""

    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        w_dim: int,
        sampling: LayerSampling,
        radial: bool,
        clamp: float,
    ):
        super().__init__(in_channels, out_channels, kernel, w_dim, clamp)
        self.sampling = sampling
        before, after = sampling.padding(kernel)
        self.plan = Resampling(sampling.up_factor, sampling.down_factor, before, after)
        radial = radial and not sampling.is_critically_sampled
        for name, taps, cutoff, half_width, round_ in (
            ("up_filter", sampling.up_taps, sampling.in_cutoff, sampling.in_half_width, False),
            ("down_filter", sampling.down_taps, sampling.out_cutoff, sampling.out_half_width, radial),
        ):
            self.register_buffer(
                name, design_low_pass(taps, cutoff, half_width, sampling.tmp_sampling_rate, round_)
            )

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x [B, in, in_size, in_size] under w [B, w_dim] to [B, out, out_size, out_size]."""
        styles = self.affine(w.float())
        styles = styles * styles.square().mean(dim=1, keepdim=True).rsqrt()
        weight: Tensor = self.weight
        energy = weight.square().sum(dim=(2, 3))
        norm = energy.mean(dim=1) / (weight.shape[2] * weight.shape[3])
        scale = ((styles.square() @ energy.T) / norm + 1e-8).rsqrt() * norm.rsqrt()
        input_gain = self.magnitude_ema.rsqrt()
        if x.dtype != torch.float32:
            # Keep half precision in range: what is taken from the weights here, the scale gives back.
            length = energy.sum(dim=1).sqrt()
            weight, scale = weight / length[:, None, None, None], scale * length
            styles, input_gain = styles * input_gain, torch.ones_like(input_gain)
        x = x * styles.to(x.dtype)[:, :, None, None]
        x = F.conv2d(x, weight.to(x.dtype), padding=weight.shape[2] - 1)
        scale = (scale * (input_gain * LRELU_GAIN))[:, :, None, None]
        shift = (self.bias * LRELU_GAIN)[None, :, None, None]
        x = torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))
        return filtered_leaky_relu(x, self.up_filter, self.down_filter, self.plan, self.clamp)


class ToRGB(ModulatedConv):
    """Modulated 1x1 convolution to three colours, without demodulation."""

    def __init__(self, in_channels: int, w_dim: int, clamp: float):
        super().__init__(in_channels, 3, 1, w_dim, clamp)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x [B, in, H, W] under w [B, w_dim] to RGB [B, 3, H, W], float32."""
        styles = self.affine(w.float()) * (self.magnitude_ema.rsqrt() / math.sqrt(self.weight.shape[1]))
        x = F.conv2d(x * styles.to(x.dtype)[:, :, None, None], self.weight.to(x.dtype), self.bias.to(x.dtype))
        return x.clamp(-self.clamp, self.clamp).float()
