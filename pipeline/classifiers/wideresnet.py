"""wideresnet: WRN-28-width of Zagoruyko and Komodakis (2016), which NaTra and DMAT train."""

import torch.nn.functional as F
from torch import Tensor, nn

DEPTH = 28
BLOCKS_A_GROUP = (DEPTH - 4) // 6


class WideBlock(nn.Module):
    """Normalise, rectify, convolve, twice, beside a skip."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.norm0, self.norm1 = nn.BatchNorm2d(in_channels), nn.BatchNorm2d(out_channels)
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.skip = (
            None if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H/stride, W/stride]."""
        active = F.relu(self.norm0(x))
        skip = x if self.skip is None else self.skip(active)
        changed: Tensor = self.conv1(F.relu(self.norm1(self.conv0(active))))
        return changed + skip


class WideResNet(nn.Module):
    """Three groups of four blocks with 16, 32 and 64 times `width` channels."""

    def __init__(self, num_classes: int, width: int = 10):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        channels, blocks = 16, []
        for group, out in enumerate((16 * width, 32 * width, 64 * width)):
            for number in range(BLOCKS_A_GROUP):
                blocks.append(WideBlock(channels, out, 2 if group and number == 0 else 1))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes] of images [B, 3, H, W] in [-1, 1]."""
        x = F.relu(self.norm(self.blocks(self.stem(x)))).mean(dim=(2, 3))
        logits: Tensor = self.head(x)
        return logits


def build(num_classes: int, resolution: int, width: int) -> WideResNet:
    """The network for a manifest or a training run."""
    return WideResNet(num_classes, width)
