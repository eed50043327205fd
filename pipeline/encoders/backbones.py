"""The residual networks under pSp's, e4e's and ReStyle's encoders, in evaluation mode.

`ImprovedResNet` is the IR-SE network of ArcFace implementations (Deng et al. 2019; squeeze and excitation: Hu et
al. 2018), `ResNet` the one of He et al. (2016) without its first pooling. Both divide height and width by 16, in
four stages. The keys are those of the published checkpoints; widths and depths are read off the tensors.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.layers import numbers

State = Mapping[str, Tensor]
STAGES = 4


class StoredBatchNorm(nn.Module):
    """Batch normalisation by stored statistics."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    eps = 1e-5

    def __init__(self, channels: int):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C, H, W]."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class SqueezeExcitation(nn.Module):
    """Scales channels by what their means say."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.fc2 = nn.Conv2d(squeezed, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x [B, C, H, W]."""
        hidden = F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(hidden))


class ImprovedBlock(nn.Module):
    """Normalise, convolve, PReLU, convolve, normalise, perhaps squeeze and excite; beside a skip."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, squeezed: int | None):
        super().__init__()
        self.stride = stride
        self.shortcut_layer = (
            None
            if in_channels == out_channels
            else nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), StoredBatchNorm(out_channels)
            )
        )
        self.res_layer = nn.Sequential(
            StoredBatchNorm(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, padding=1, bias=False),
            StoredBatchNorm(out_channels),
        )
        if squeezed is not None:
            self.res_layer.append(SqueezeExcitation(out_channels, squeezed))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H/stride, W/stride]."""
        skip = x[:, :, :: self.stride, :: self.stride] if self.shortcut_layer is None else self.shortcut_layer(x)
        out: Tensor = self.res_layer(x) + skip
        return out

    @classmethod
    def from_state(cls, state: State, prefix: str, first: bool) -> Self:
        """Build the block whose sizes the tensors tell; the first and those that widen halve the size."""
        out_channels, in_channels = state[f"{prefix}.res_layer.1.weight"].shape[:2]
        squeeze = state.get(f"{prefix}.res_layer.5.fc1.weight")
        stride = 2 if first or in_channels != out_channels else 1
        return cls(in_channels, out_channels, stride, None if squeeze is None else squeeze.shape[0])


class BasicBlock(nn.Module):
    """Two normalised convolutions beside a skip."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = StoredBatchNorm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = StoredBatchNorm(out_channels)
        self.downsample = (
            None
            if stride == 1
            else nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), StoredBatchNorm(out_channels)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H/stride, W/stride]."""
        skip = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + skip)

    @classmethod
    def from_state(cls, state: State, prefix: str) -> Self:
        """Build the block whose sizes the tensors tell; those with a convolution in the skip halve the size."""
        out_channels, in_channels = state[f"{prefix}.conv1.weight"].shape[:2]
        return cls(in_channels, out_channels, 2 if f"{prefix}.downsample.0.weight" in state else 1)


class Backbone(nn.Module):
    """A stem and a row of blocks, of which the last of each of the three coarser stages is looked at."""

    first_key: ClassVar[str]
    in_channels: int
    widths: tuple[int, int, int]

    def set_body(
        self, blocks: Sequence[ImprovedBlock] | Sequence[BasicBlock], widths: list[int], halvings: int
    ) -> None:
        """Take the blocks, `widths` being their channels. Raises ValueError unless they are of four stages."""
        self.body = nn.ModuleList(blocks)
        begins = [i for i, block in enumerate(blocks) if block.stride == 2]
        if len(begins) != halvings:
            raise ValueError(f"{len(begins)} of its blocks halve the size instead of {halvings}")
        self.ends = [begins[-2] - 1, begins[-1] - 1, len(blocks) - 1]
        self.widths = (widths[self.ends[0]], widths[self.ends[1]], widths[self.ends[2]])

    def stem(self, x: Tensor) -> Tensor:
        """Compute what comes before the blocks."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map [B, in, H, W] to features of 1/4, 1/8 and 1/16 of its size."""
        x = self.stem(x)
        seen = []
        for i, block in enumerate(self.body):
            x = block(x)
            if i in self.ends:
                seen.append(x)
        return seen


class ImprovedResNet(Backbone):
    """IR-SE, of 24 blocks in the published encoders."""

    first_key = "input_layer.0.weight"

    def __init__(self, state: State):
        super().__init__()
        width, self.in_channels = state[self.first_key].shape[:2]
        self.input_layer = nn.Sequential(
            nn.Conv2d(self.in_channels, width, 3, padding=1, bias=False), StoredBatchNorm(width), nn.PReLU(width)
        )
        indices = numbers(r"body\.(\d+)\.", state)
        blocks = [ImprovedBlock.from_state(state, f"body.{i}", first=i == 0) for i in indices]
        self.set_body(blocks, [state[f"body.{i}.res_layer.1.weight"].shape[0] for i in indices], halvings=STAGES)

    def stem(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, width, H, W]."""
        out: Tensor = self.input_layer(x)
        return out


class ResNet(Backbone):
    """ResNet-34 in the published encoders, whose stem halves the size once."""

    first_key = "conv1.weight"

    def __init__(self, state: State):
        super().__init__()
        width, self.in_channels = state[self.first_key].shape[:2]
        self.conv1 = nn.Conv2d(self.in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = StoredBatchNorm(width)
        self.relu = nn.PReLU(width)
        indices = numbers(r"body\.(\d+)\.", state)
        blocks = [BasicBlock.from_state(state, f"body.{i}") for i in indices]
        self.set_body(blocks, [state[f"body.{i}.conv1.weight"].shape[0] for i in indices], halvings=STAGES - 1)

    def stem(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, width, H/2, W/2]."""
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        return out


def backbone_of(state: State) -> Backbone:
    """Build the backbone that the tensors are of. Raises KeyError or ValueError where they are of none."""
    return ImprovedResNet(state) if ImprovedResNet.first_key in state else ResNet(state)
