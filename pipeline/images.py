"""Pixels: between uint8 and [-1, 1], to PNG, and side by side."""

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]
EXACT = 64  # pixels of a side up to which a picture to look at loses nothing


def to_float(pixels: Pixels | Tensor) -> Tensor:
    """Turn uint8 [B, H, W, 3] into float32 [B, 3, H, W] in [-1, 1], channels last in memory."""
    tensor = torch.as_tensor(pixels)
    return tensor.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1


def to_uint8(images: Tensor) -> Pixels:
    """Turn float [B, 3, H, W] about [-1, 1] into uint8 [B, H, W, 3], clipped and rounded."""
    pixels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    array: Pixels = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())
    return array


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio [B] in dB of images clipped to [-1, 1] against targets, both [B, 3, H, W]."""
    mse = (images.clamp(-1, 1) - targets).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / mse.clamp_min(1e-10))


def encode_png(pixels: NDArray[Any], compress_level: int = 6) -> bytes:
    """Encode uint8 [H, W, 3] as PNG; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=compress_level)
    return buffer.getvalue()


def encode_small(pixels: Pixels) -> tuple[str, bytes]:
    """Encode uint8 [H, W, 3] to be looked at, as (MIME type, bytes): beyond EXACT pixels as a good JPEG."""
    if max(pixels.shape[:2]) <= EXACT:
        return "image/png", encode_png(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=92, subsampling=0)
    return "image/jpeg", buffer.getvalue()


def shrunk(pixels: Pixels, largest: int) -> Pixels:
    """Average an image uint8 [H, W, 3] down so that no side is longer than `largest`; a smaller one stays."""
    height, width = pixels.shape[:2]
    if max(height, width) <= largest:
        return pixels
    share = largest / max(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def grid(pixels: Pixels, columns: int, gap: int = 0) -> Pixels:
    """Lay images uint8 [B, H, W, 3] out in rows of `columns`, `gap` white pixels apart."""
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap), columns * (width + gap), channels), 255, dtype=np.uint8)
    for i, image in enumerate(pixels):
        top, left = divmod(i, columns)
        top, left = top * (height + gap), left * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap] if gap else sheet
