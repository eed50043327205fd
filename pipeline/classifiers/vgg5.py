"""vgg5: the truncated VGG of five layers that AdvMix trains (section 5)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class TruncatedVGG(nn.Module):
    """Four convolutions in two blocks and a linear layer; takes images [B, 3, H, W] in [-1, 1] of any size."""

    def __init__(self, num_classes: int, width: int = 24, feature_dim: int = 64):
        super().__init__()
        channels = (3, width, width, 2 * width, 2 * width)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(channels))
        self.squeeze = nn.Linear(2 * width * 16, feature_dim)
        self.head = nn.Linear(feature_dim, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Features [B, feature_dim] before the last layer."""
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if i % 2:
                x = F.max_pool2d(x, 2)  # before the ReLU, of which a quarter is left then; the two commute
            x = F.relu(x)
        return F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 4).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


def build(num_classes: int, resolution: int, width: int) -> TruncatedVGG:
    """The network for a manifest or a training run."""
    return TruncatedVGG(num_classes, width)
