"""The truncated VGG of five layers that AdvMix trains (section 5), and a short way to train it."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.devices import channels_last
from pipeline.seeds import torch_generator


class TruncatedVGG(nn.Module):
    """Four convolutions in two blocks and a linear layer; takes images [B, 3, H, W] in [-1, 1]."""

    def __init__(self, num_classes: int, width: int = 24, feature_dim: int = 64):
        super().__init__()
        channels = (3, width, width, 2 * width, 2 * width)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(channels))
        self.squeeze = nn.Linear(2 * width * 16, feature_dim)
        self.head = nn.Linear(feature_dim, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Features [B, feature_dim] before the last layer."""
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(x))
            if i % 2:
                x = F.max_pool2d(x, 2)
        return F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 4).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


def mix_colours(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mix the colour channels of each image [B, 3, H, W] in [-1, 1] at random, so that colour tells nothing."""
    matrix = torch.rand(images.shape[0], 3, 3, generator=rng).to(images.device)
    light = torch.einsum("boc,bchw->bohw", matrix, (images + 1) / 2)
    gain = torch.rand(images.shape[0], 3, 1, 1, generator=rng).to(images.device)
    peak = light.amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-3)
    return (light / peak * (0.15 + 0.85 * gain)).clamp(0, 1) * 2 - 1


def train_classifier(
    images: Tensor, labels: Tensor, num_classes: int, *, epochs: int, seed: int, free_colours: bool
) -> TruncatedVGG:
    """Train on images [N, 3, H, W] in [-1, 1] with Adam at 1e-3; `free_colours` mixes the colours of each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = channels_last(TruncatedVGG(num_classes).to(images.device))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        rng = torch_generator(seed, "classifier", epoch)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, 2 * (1 - epoch / epochs))
        for rows in torch.randperm(len(images), generator=rng).split(64):
            batch = images[rows]
            batch = mix_colours(batch, rng) if free_colours else batch
            loss = F.cross_entropy(model(batch), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def classify(model: nn.Module, images: Tensor, batch_size: int = 256) -> Tensor:
    """Class probabilities [N, num_classes] of images [N, 3, H, W]."""
    return torch.cat([model(batch).softmax(dim=1) for batch in images.split(batch_size)])
