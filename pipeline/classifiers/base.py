"""What a classifier is to the stages: a frozen network from images to logits, and what it is called."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier that is ready to be asked and to be attacked.

    Attributes:
        network: images [B, 3, H, W] in [-1, 1] to logits [B, num_classes]; in eval mode, its weights frozen.
        name: what tables and records call it.
        sha256: digest of its weights and of what they are put into.
        classes: names of the classes, where they are known.
    """

    network: nn.Module
    name: str
    sha256: str
    num_classes: int
    classes: tuple[str, ...] = ()


class Shrunk(nn.Module):
    """A classifier of small images that takes larger ones too, and averages them down (AdvMix: 64 for CelebA)."""

    def __init__(self, network: nn.Module, size: int):
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images [B, 3, H, W] in [-1, 1] of any size from `size` up."""
        if x.shape[-1] != self.size:
            x = F.adaptive_avg_pool2d(x, self.size)
        logits: Tensor = self.network(x)
        return logits


class Standardised(nn.Module):
    """A classifier that was trained on (x - mean) / std of images in [0, 1], made to take [-1, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images [B, 3, H, W] in [-1, 1]."""
        logits: Tensor = self.network(((x + 1) / 2 - self.mean) / self.std)
        return logits


@torch.inference_mode()
def classify(network: nn.Module, images: Tensor, batch_size: int = 256) -> Tensor:
    """Class probabilities [N, num_classes] of images [N, 3, H, W] in [-1, 1]."""
    return torch.cat([network(batch).softmax(dim=1) for batch in images.split(batch_size)])
