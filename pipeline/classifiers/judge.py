"""The judge: a small classifier that looks at shapes, because it was trained with the colours mixed at random."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.classifiers.vgg5 import TruncatedVGG
from pipeline.devices import channels_last
from pipeline.seeds import torch_generator


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
    """Train on images [N, 3, H, W] in [-1, 1]; `free_colours` mixes the colours of each.

    Adam at 2e-3, falling linearly to zero over the second half.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = channels_last(TruncatedVGG(num_classes).to(images.device))
    optimizer = torch.optim.Adam(model.parameters())
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
