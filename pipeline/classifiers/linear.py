"""linear: one linear layer on the pixels, the classifier of AdvMix's Table 2."""

from torch import Tensor, nn


class LinearClassifier(nn.Module):
    """Logits that are linear in the pixels of images [B, 3, resolution, resolution] in [-1, 1]."""

    def __init__(self, num_classes: int, resolution: int):
        super().__init__()
        self.head = nn.Linear(3 * resolution**2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes]."""
        logits: Tensor = self.head(x.flatten(1))
        return logits


def build(num_classes: int, resolution: int, width: int) -> LinearClassifier:
    """The network for a manifest or a training run; it has no width."""
    return LinearClassifier(num_classes, resolution)
