"""An encoder from images to w+, trained against a frozen generator (BIES; Wang et al., section 3.1)."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.devices import channels_last
from pipeline.encoders.base import ImageEncoder
from pipeline.errors import WeightsError


class ResidualBlock(nn.Module):
    """Two convolutions and a halving, beside a 1x1 skip."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H/2, W/2]."""
        skip: Tensor = self.skip(F.avg_pool2d(x, 2))
        x = self.conv1(F.leaky_relu(self.conv0(x), 0.2))
        return F.leaky_relu(x + skip, 0.2)


class Encoder(ImageEncoder):
    """Corrects w+ by looking at an image and at what the present w+ renders.

    The first pass begins at the mean w, whose rendering is the same for every image: one pass is the plain
    encoder of BIES. More passes correct what the last one left (as ReStyle does, Alaluf et al. 2021).

    Args:
        channels: feature channels from the full resolution down to 4x4.
        num_ws: layers of w+.
        space: `w` gives every layer the same w, `w+` each its own.
    """

    sees_rendering = True
    mean_w: Tensor
    w_scale: Tensor

    def __init__(self, channels: tuple[int, ...], num_ws: int, w_dim: int, space: str = "w+"):
        super().__init__()
        self.channels, self.num_ws, self.w_dim, self.space = channels, num_ws, w_dim, space
        self.resolution = 4 << (len(channels) - 1)
        outputs = w_dim * (num_ws if space == "w+" else 1)
        self.stem = nn.Conv2d(6, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(i, o) for i, o in pairwise(channels))
        self.hidden = nn.Linear(channels[-1] * 16, channels[-1] * 4)
        self.out = nn.Linear(channels[-1] * 4, outputs)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
        self.register_buffer("mean_w", torch.zeros(w_dim))
        self.register_buffer("w_scale", torch.ones(w_dim))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], num_ws: int, **settings: Any) -> Self:
        """Build the encoder whose sizes the tensors tell. Raises WeightsError if they are something else's."""
        try:
            blocks = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
            widths = [state["stem.weight"].shape[0]]
            widths += [state[f"blocks.{i}.skip.weight"].shape[0] for i in range(blocks)]
            w_dim = state["mean_w"].shape[0]
            space = "w" if state["out.weight"].shape[0] == w_dim else "w+"
            encoder = cls(tuple(widths), num_ws, w_dim, space)
            encoder.load_state_dict({key: tensor.float() for key, tensor in state.items()})
        except (KeyError, RuntimeError, IndexError) as error:
            reason = " ".join(str(error).strip().splitlines()[:3])
            raise WeightsError(f"these are not the weights of an encoder for this generator: {reason}") from error
        return channels_last(encoder.eval().requires_grad_(False))

    def start(self, batch: int) -> Tensor:
        """The w+ before the first pass: the mean w in every layer, [batch, num_ws, w_dim]."""
        return self.mean_w.expand(batch, self.num_ws, -1)

    def forward(self, images: Tensor, rendered: Tensor, w: Tensor) -> Tensor:
        """Correct w+ [B, num_ws, w_dim], which renders as `rendered`, for images [B, 3, H, W] in [-1, 1]."""
        x = F.leaky_relu(self.stem(torch.cat([images, rendered.clamp(-1, 1)], dim=1)), 0.2)
        for block in self.blocks:
            x = block(x)
        x = F.leaky_relu(self.hidden(x.flatten(1)), 0.2)
        change: Tensor = self.out(x).reshape(len(x), -1, self.w_dim)
        return w + change * self.w_scale


def default_channels(resolution: int) -> tuple[int, ...]:
    """Widths from the full resolution down to 4x4: 16, 32, 64 and 128 from 32x32 on, 16 above."""
    steps = int(math.log2(resolution)) - 2
    return tuple(min(128, max(16, 128 >> (steps - i))) for i in range(steps + 1))
