"""ProGAN (Karras et al. 2018, Progressive Growing of GANs).

Keys: `b4.dense`, `b4.conv1`, then `b{r}.conv0`, `b{r}.conv1` for every resolution r, and `b{R}.torgb`, each with
`weight` and `bias`. Weights are as trained, without the gain of the equalised learning rate: `dense`
[C * 16, w_dim], convolutions [out, in, k, k]; the dense bias is [C], or [C, 4, 4]. The `ToRGB`s of coarser
resolutions are left out.

The official networks' `Conv0_up/weight` [k, k, out, in] is a transposed convolution with the doubling folded in.
That equals doubling, then a convolution with `weight.permute(2, 3, 0, 1).flip(2, 3)`.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.layered import LayeredGenerator, State
from pipeline.generators.layers import double, normalize_2nd_moment, numbers, truncate
from pipeline.generators.stylegan1_layers import activation_of, check_norm

CONV_GAIN = math.sqrt(2)
BLOCK = r"b(\d+)\."


class Dense(nn.Module):
    """z to features of 4x4, with a bias for every channel or, if `pixel_bias`, for every number."""

    def __init__(self, z_dim: int, channels: int, pixel_bias: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels * 16, z_dim))
        self.bias = nn.Parameter(torch.zeros(channels, 4, 4) if pixel_bias else torch.zeros(channels))
        self.gain = CONV_GAIN / 4 / math.sqrt(z_dim)

    def forward(self, w: Tensor) -> Tensor:
        """Map [B, z_dim] to [B, C, 4, 4]."""
        flat = F.linear(w, self.weight * self.gain)
        x: Tensor = flat.unflatten(1, (-1, 4, 4)) + (
            self.bias if self.bias.dim() == 3 else self.bias[:, None, None]
        )
        return x


class Conv(nn.Module):
    """Convolution with equalised learning rate: effective weight = weight * gain / sqrt(fan in)."""

    def __init__(self, in_channels: int, out_channels: int, size: int, gain: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, size, size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.gain = gain / math.sqrt(in_channels * size**2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H, W]."""
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.weight.shape[-1] // 2)


class ProGAN(LayeredGenerator):
    """The generator: dense and a convolution at 4x4 (layers 0 and 1), then two convolutions for each resolution.

    Args:
        channels: feature channels of every resolution 4, 8, 16, …
        w_dim: length of a w, which is z and the label.
        c_dim: length of a label.
        activation: "lrelu" or "relu".
        pixel_norm: whether every pixel's features are scaled to unit mean square.
        latent_norm: "joint" if z, with the label, is, else "none".
        norm_eps: what is added to a mean square.
        pixel_bias: whether the dense layer has a bias for every pixel (pytorch_GAN_zoo).
    """

    title: ClassVar[str] = "ProGAN"
    settings: ClassVar[tuple[str, ...]] = ("c_dim", "activation", "pixel_norm", "latent_norm", "norm_eps")

    def __init__(
        self,
        channels: Sequence[int],
        w_dim: int = 512,
        c_dim: int = 0,
        activation: str = "lrelu",
        pixel_norm: bool = True,
        latent_norm: str = "joint",
        norm_eps: float = 1e-8,
        pixel_bias: bool = False,
    ):
        super().__init__()
        if not 0 <= c_dim < w_dim:
            raise ValueError(f"labels of {c_dim} numbers do not fit into an input of {w_dim}")
        self.num_layers, self.num_ws = 2 * len(channels), 1
        self.resolution, self.z_dim, self.w_dim, self.c_dim = 2 << len(channels), w_dim - c_dim, w_dim, c_dim
        self.activation, self.pixel_norm = activation_of(activation), pixel_norm
        self.latent_norm, self.norm_eps = check_norm(latent_norm), norm_eps
        for i, width in enumerate(channels):
            block = nn.Module()
            if i == 0:
                block.dense = Dense(w_dim, width, pixel_bias)
            else:
                block.conv0 = Conv(channels[i - 1], width, 3, CONV_GAIN)
            block.conv1 = Conv(width, width, 3, CONV_GAIN)
            self.add_module(f"b{4 << i}", block)
        block.torgb = Conv(channels[-1], 3, 1, gain=1.0)

    @classmethod
    def prepare_state(cls, state: State) -> State:
        """Leave out the `ToRGB`s that do not render."""
        last = max(numbers(BLOCK, state), default=0)
        unused = re.compile(rf"b(?!{last}\.)\d+\.torgb\.")
        return {key: tensor for key, tensor in state.items() if not unused.match(key)}

    @classmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a prepared state dict. Raises KeyError where a key is missing."""
        stages = len(numbers(BLOCK, state))
        return {
            "w_dim": state["b4.dense.weight"].shape[1],
            "pixel_bias": state["b4.dense.bias"].dim() == 3,
            "channels": [state[f"b{4 << i}.conv1.bias"].shape[0] for i in range(stages)],
        }

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Scale z [B, z_dim], with labels c [B, c_dim] appended, to unit mean square: the only w [B, 1, w_dim].

        Truncation multiplies it by psi; what `synthesize` gets is not scaled again.

        Raises:
            ValueError: the network has labels, and there are none.
        """
        if self.c_dim and c is None:
            raise ValueError(f"this generator is conditional: pass labels c of shape [B, {self.c_dim}]")
        w = torch.cat([z, c], dim=1) if self.c_dim and c is not None else z
        if self.latent_norm == "joint":
            w = normalize_2nd_moment(w, self.norm_eps)
        return truncate(w, z.new_zeros(self.w_dim), truncation_psi, truncation_cutoff, self.num_ws)

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`: 4, 4, 8, 8, 16, …"""
        self.check_layer(layer)
        return 4 << layer // 2

    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Compute the dense layer."""
        with self.autocast(4):
            return Activations(self.activate(self.get_submodule("b4.dense")(ws[0])))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute one convolution."""
        x = before.features
        resolution = 4 << layer // 2
        with self.autocast(resolution):
            if layer % 2 == 0:
                x = double(x)
            return Activations(self.activate(self.get_submodule(f"b{resolution}.conv{layer % 2}")(x)))

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Turn the last features to RGB."""
        with self.autocast(self.resolution):
            image: Tensor = self.get_submodule(f"b{self.resolution}.torgb")(last.features)
        return image.float()

    def activate(self, x: Tensor) -> Tensor:
        """Leaky ReLU, then every pixel's features scaled to unit mean square."""
        x = self.activation(x).float()
        return normalize_2nd_moment(x, self.norm_eps) if self.pixel_norm else x
