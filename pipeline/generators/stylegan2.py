"""StyleGAN2 (Karras et al. 2020) in plain PyTorch, with the state-dict keys of StyleGAN2-ADA.

Modulation scales the activations rather than the weights: `demod(conv(x * s, W))` equals a convolution with
per-sample weights, but the whole batch is one ordinary convolution.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.devices import channels_last
from pipeline.errors import WeightsError
from pipeline.generators.base import NoiseMode

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)


class FullyConnected(nn.Module):
    """Linear layer with equalised learning rate: effective weight = weight * lr_mul / sqrt(in)."""

    def __init__(self, in_features: int, out_features: int, *, lr_mul: float = 1.0, bias_init: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_mul))
        self.weight_gain = lr_mul / math.sqrt(in_features)
        self.bias_gain = lr_mul

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in] to [B, out]."""
        return F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)


def normalize_2nd_moment(x: Tensor) -> Tensor:
    """Scale each row of [B, D] to unit mean square."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


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


def fir_kernel(resample_filter: Tensor, channels: int, gain: float) -> Tensor:
    """Turn the [4, 4] filter into a depthwise kernel [channels, 1, 4, 4]."""
    return (resample_filter * gain).expand(channels, 1, *resample_filter.shape)


def resample_filter_buffer() -> Tensor:
    """Return the binomial low-pass [1, 3, 3, 1] x [1, 3, 3, 1], normalised to sum 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps)
    return kernel / kernel.sum()


def upsample2d(x: Tensor, resample_filter: Tensor) -> Tensor:
    """Double the size of [B, C, H, W] by zero insertion and the low-pass filter (gain 4)."""
    kernel = fir_kernel(resample_filter.to(x.dtype), x.shape[1], gain=4)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


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

    def forward(
        self, x: Tensor | None, rgb: Tensor | None, w: Tensor, noise: NoiseMode, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Run the block on w [B, 2 or 3, w_dim]: conv0 (if any), conv1, torgb. Return features and RGB."""
        ws = iter(w.unbind(dim=1))
        if x is None:
            x = self.const.to(dtype).expand(w.shape[0], -1, -1, -1)
            x = x.contiguous(memory_format=torch.channels_last)
        else:
            x = self.conv0(x.to(dtype), next(ws), noise)
        x = self.conv1(x, next(ws), noise)
        block_rgb: Tensor = self.torgb(x, next(ws))
        if rgb is not None:
            block_rgb = block_rgb + upsample2d(rgb, self.resample_filter)
        return x, block_rgb


class SynthesisNetwork(nn.Module):
    """w+ to image: blocks b4, b8, ... b{resolution}."""

    def __init__(self, w_dim: int, channels: Mapping[int, int], conv_clamp: float | None):
        super().__init__()
        self.resolutions = sorted(channels)
        self.num_ws = 2 * len(self.resolutions)
        for resolution in self.resolutions:
            in_channels = channels.get(resolution // 2, 0)
            block = SynthesisBlock(in_channels, channels[resolution], w_dim, resolution, conv_clamp)
            self.add_module(f"b{resolution}", block)

    def forward(self, w: Tensor, noise: NoiseMode, dtype: torch.dtype, num_fp16_res: int) -> Tensor:
        """Map w+ [B, num_ws, w_dim] to images [B, 3, H, W]; the finest `num_fp16_res` blocks run in dtype."""
        x: Tensor | None = None
        rgb: Tensor | None = None
        first = 0
        for i, resolution in enumerate(self.resolutions):
            block = self.get_submodule(f"b{resolution}")
            convs = 1 if resolution == 4 else 2
            low = len(self.resolutions) - i <= num_fp16_res
            block_w = w[:, first : first + convs + 1]  # torgb shares its w with the next block's conv0
            x, rgb = block(x, rgb, block_w, noise, dtype if low else torch.float32)
            first += convs
        assert rgb is not None
        return rgb


class StyleGAN2(nn.Module):
    """The generator G: `map`, then `synthesize`.

    Args:
        resolution: output height and width, a power of two.
        channels: feature channels of every resolution from 4 to `resolution`.
        conv_clamp: bound on every convolution's output; official fp16 models use 256, None is no bound.
    """

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
        self.num_ws = self.synthesis.num_ws
        self.dtype = torch.float32
        self.num_fp16_res = 0

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], conv_clamp: float | None = None) -> Self:
        """Build the network whose sizes the tensors of `state` (StyleGAN2-ADA keys) tell, and load them.

        Raises:
            WeightsError: a key is missing, unknown or of the wrong shape.
        """
        try:
            generator = cls(**sizes_of_state(state), conv_clamp=conv_clamp)
            generator.load_state_dict(dict(state), strict=True)
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()
            raise WeightsError(f"these weights are not a StyleGAN2 generator: {' '.join(reason[:3])}") from error
        return channels_last(generator.eval().requires_grad_(False))

    def set_precision(self, dtype: torch.dtype, num_fp16_res: int = 4) -> Self:
        """Run the finest `num_fp16_res` resolutions in `dtype` (bfloat16 or float16, on a GPU)."""
        self.dtype, self.num_fp16_res = dtype, num_fp16_res
        return self

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
        w: Tensor = self.mapping(z, c)[:, None].expand(-1, self.num_ws, -1)
        if truncation_psi == 1.0:
            return w
        truncated = self.mapping.w_avg.lerp(w, truncation_psi)
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([truncated[:, :cutoff], w[:, cutoff:]], dim=1)

    def synthesize(self, w: Tensor, noise: NoiseMode = "const") -> Tensor:
        """Render w+ [B, num_ws, w_dim] as images [B, 3, H, W], about [-1, 1], not clipped."""
        image: Tensor = self.synthesis(w, noise, self.dtype, self.num_fp16_res)
        return image

    def forward(self, z: Tensor, c: Tensor | None = None, noise: NoiseMode = "random") -> Tensor:
        """Render z [B, z_dim]: `map`, then `synthesize`."""
        return self.synthesize(self.map(z, c), noise)


def sizes_of_state(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the constructor's sizes off a StyleGAN2-ADA state dict. Raises KeyError where a key is missing."""
    resolutions = sorted({int(m[1]) for m in (re.match(r"synthesis\.b(\d+)\.", key) for key in state) if m})
    if not resolutions:
        raise KeyError("no key begins with 'synthesis.b'")
    if resolutions != [4 << i for i in range(len(resolutions))]:
        raise ValueError(f"blocks of resolutions {resolutions} instead of 4, 8, 16, …")
    mapping_layers = len({key for key in state if re.match(r"mapping\.fc\d+\.weight$", key)})
    w_dim = state["mapping.w_avg"].shape[0]
    c_dim = state["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in state else 0
    return {
        "resolution": resolutions[-1],
        "channels": {r: state[f"synthesis.b{r}.conv1.weight"].shape[0] for r in resolutions},
        "z_dim": state["mapping.fc0.weight"].shape[1] - (w_dim if c_dim else 0),
        "w_dim": w_dim,
        "c_dim": c_dim,
        "mapping_layers": mapping_layers,
    }
