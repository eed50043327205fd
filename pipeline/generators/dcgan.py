"""DCGAN (Radford et al. 2016), with the state-dict keys of the PyTorch example's `netG`.

`main` is transposed convolution, batch norm, ReLU and so on, and tanh at the end; sizes double from 4x4.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.layered import LayeredGenerator, State
from pipeline.generators.layers import normalize_channels, numbers, truncate

BATCH_NORM_EPS = 1e-5


class BatchNorm(nn.Module):
    """Batch norm by stored statistics."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C, H, W]."""
        return normalize_channels(x, self.running_mean, self.running_var, BATCH_NORM_EPS, self.weight, self.bias)


class DCGAN(LayeredGenerator):
    """The generator; layer l is the l-th transposed convolution with its batch norm and ReLU, the last one paints.

    Args:
        widths: channels from z over the features of 4x4, 8x8, … to the image's, 1 (grey) or 3.
    """

    title: ClassVar[str] = "DCGAN"

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        if widths[-1] not in (1, 3):
            raise ValueError(f"its images have {widths[-1]} channels instead of 1 or 3")
        self.num_layers, self.num_ws = len(widths) - 2, 1
        self.resolution, self.z_dim, self.w_dim, self.c_dim = 2 << self.num_layers + 1, widths[0], widths[0], 0
        self.main = nn.Module()
        for i, (before, after) in enumerate(pairwise(widths)):
            stride, padding = (2, 1) if i else (1, 0)
            conv = nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False)
            self.main.add_module(str(3 * i), conv)
            if i < self.num_layers:
                self.main.add_module(str(3 * i + 1), BatchNorm(after))

    @classmethod
    def prepare_state(cls, state: State) -> State:
        """Leave out the count of batches seen in training."""
        return {key: tensor for key, tensor in state.items() if not key.endswith(".num_batches_tracked")}

    @classmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a prepared state dict. Raises KeyError where a key is missing."""
        last = max(numbers(r"main\.(\d+)\.", state), default=0)
        outputs = [state[f"main.{i}.weight"].shape[1] for i in range(0, last + 1, 3)]
        return {"widths": [state["main.0.weight"].shape[0], *outputs]}

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Return z [B, z_dim] as the only w [B, 1, z_dim], multiplied by psi. There are no labels."""
        return truncate(z, z.new_zeros(self.w_dim), truncation_psi, truncation_cutoff, self.num_ws)

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`: 4, 8, 16, …"""
        self.check_layer(layer)
        return 4 << layer

    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Compute the features of 4x4."""
        return Activations(self.stage(ws[0][:, :, None, None], 0))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute the features of the next size."""
        return Activations(self.stage(before.features, layer))

    def stage(self, x: Tensor, layer: int) -> Tensor:
        """Transposed convolution, batch norm and ReLU."""
        with self.autocast(4 << layer):
            conv, norm = (self.main.get_submodule(str(3 * layer + i)) for i in (0, 1))
            return F.relu(norm(conv(x)))

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Turn the last features to RGB, within [-1, 1]; grey becomes three equal channels."""
        with self.autocast(self.resolution):
            image: Tensor = self.main.get_submodule(str(3 * self.num_layers))(last.features)
        return torch.tanh(image.float()).expand(-1, 3, -1, -1)
