"""Antialiased resizing of uint8 pixels, by name; every filter widens with the reduction."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Resize = Callable[[Pixels, tuple[int, int]], Pixels]


def with_torch(mode: str) -> Resize:
    """Pillow's filter of that name, but by torch's integer kernels: 2-6 times as fast, within two grey levels.

    They give the same bytes with and without vector instructions (tested), since they only use integers.
    """

    def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
        import torch  # here, because listing datasets must not wait for it
        import torch.nn.functional as F

        tensor = torch.from_numpy(np.require(pixels, requirements=("C", "W"))).permute(2, 0, 1)[None]
        scaled = F.interpolate(tensor, size[::-1], mode=mode, antialias=True, align_corners=False)
        return np.ascontiguousarray(scaled[0].permute(1, 2, 0).numpy())

    return resize


def with_pillow(filter_: Image.Resampling) -> Resize:
    """Pillow's own filter."""

    def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, filter_))

    return resize


RESIZE: dict[str, Resize] = {
    "bicubic": with_torch("bicubic"),
    "bilinear": with_torch("bilinear"),
    "lanczos": with_pillow(Image.Resampling.LANCZOS),
    "box": with_pillow(Image.Resampling.BOX),
}
