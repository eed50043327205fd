"""A small perceptual net for small images, trained by `pipeline train-perceptual`."""

from collections.abc import Mapping
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import WeightsError
from pipeline.perceptual.base import Features, PerceptualNet

CHANNELS = (16, 32, 48)


class SmallPerceptual(PerceptualNet):
    """Three convolutions; the second and third halve the size."""

    def __init__(self, channels: tuple[int, ...] = CHANNELS):
        super().__init__(channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=1 if i == 3 else 2, padding=1)
            for i, o in zip((3, *channels), channels, strict=False)
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """Load trained weights. Raises WeightsError if they are something else's."""
        try:
            net = cls(tuple(state[f"lin{i}"].shape[0] for i in range(len(CHANNELS))))
            net.load_state_dict(dict(state))
        except (KeyError, RuntimeError) as error:
            raise WeightsError(f"these are not the weights of a small perceptual net: {error}") from error
        return net

    def trunk(self, images: Tensor) -> Features:
        """Features [B, 16, H, W], [B, 32, H/2, W/2] and [B, 48, H/4, W/4]."""
        features = []
        x = images
        for conv in self.convs:
            x = F.relu(conv(x))
            features.append(x)
        return features
