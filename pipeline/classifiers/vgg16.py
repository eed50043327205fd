"""vgg16: configuration D of Simonyan and Zisserman (2015) with batch normalisation, which NaTra trains."""

import torch.nn.functional as F
from torch import Tensor, nn

# Channels of the thirteen convolutions in units of `width`, block by block.
BLOCKS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))


class VGG16(nn.Module):
    """Thirteen convolutions in five blocks and three linear layers on the mean over places; from 32x32 up."""

    def __init__(self, num_classes: int, width: int = 64):
        super().__init__()
        channels, blocks = 3, []
        for block in BLOCKS:
            layers: list[nn.Module] = []
            for factor in block:
                # A bias before batch normalisation has no effect.
                layers += [nn.Conv2d(channels, factor * width, 3, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(factor * width), nn.ReLU()]
                channels = factor * width
            blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.blocks = nn.Sequential(*blocks)
        self.fc0, self.fc1 = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes] of images [B, 3, H, W] in [-1, 1]."""
        x = self.blocks(x).mean(dim=(2, 3))
        logits: Tensor = self.head(F.relu(self.fc1(F.relu(self.fc0(x)))))
        return logits


def build(num_classes: int, resolution: int, width: int) -> VGG16:
    """The network for a manifest or a training run."""
    return VGG16(num_classes, width)
