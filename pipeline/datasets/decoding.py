"""From the bytes of an image file to pixels of the declared size: fast for JPEG, patient with everything else."""

import io
import math
import struct
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from pipeline.datasets.resizing import RESIZE
from pipeline.errors import SampleError

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, width, height
Crop = Literal["center", "none", "letterbox"] | Box

MAX_PIXELS = 89_478_485  # Pillow's limit, at which a file may be a decompression bomb
ORIENTATION = 0x0112
LETTERBOX = 4 / 3  # aspect of the picture between the bars: StyleGAN's LSUN cars are 512x384 of 512x512

# Pillow only warns at the limit; `open_image` refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# EXIF orientation -> how an array [H, W, C] is turned upright
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


def decode(data: bytes, resolution: int, crop: Crop = "center", resize: str = "bicubic") -> Pixels:
    """Decode an image, turn it upright, crop it and scale it with antialiasing to [resolution, resolution, 3].

    Grey becomes RGB; transparency is laid on white; 16 bits become 8; of an animation the first frame counts.
    Colour profiles are not applied, as in the papers' loaders.

    Raises:
        SampleError: the bytes are not an image that can be used, and why.
    """
    image = open_image(data)
    orientation = orientation_of(image)
    pixels = decode_jpeg(data, image, needed_scale(image.size, resolution, crop, orientation))
    if pixels is None:
        pixels = decode_with_pillow(image)
    if orientation != 1:
        pixels = UPRIGHT[orientation](pixels)
    height, width = image.size[::-1] if orientation < 5 else image.size
    left, top, wide, high = crop_box((width, height), crop)
    # The box is in the file's pixels, and the decoder may have shrunk them: at twice the size wanted, rounding the
    # box to whole pixels moves it by a quarter of a delivered pixel at most.
    shrunk = pixels.shape[1] / width, pixels.shape[0] / height
    box = (left * shrunk[0], top * shrunk[1], wide * shrunk[0], high * shrunk[1])
    if crop == "letterbox":
        canvas = np.zeros((resolution, resolution, 3), np.uint8)
        rows = round(resolution / LETTERBOX)
        start = (resolution - rows) // 2
        canvas[start : start + rows] = cut_and_scale(pixels, box, (resolution, rows), resize)
        return canvas
    return cut_and_scale(pixels, box, (resolution, resolution), resize)


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Read an image's header, whatever its file is called. Raises SampleError."""
    if not data:
        raise SampleError("the file is empty")
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise SampleError("not an image that can be decoded") from None
    except Image.DecompressionBombError:
        raise SampleError(f"the image has more than the {MAX_PIXELS} pixels allowed") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise SampleError(f"the image is damaged: {error}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise SampleError(f"the image has {width}x{height} pixels, more than the {MAX_PIXELS} allowed")
    return image


def orientation_of(image: ImageFile.ImageFile) -> int:
    """EXIF orientation 1 to 8; 1, which is upright, if it is absent or nonsense."""
    try:
        found = image.getexif().get(ORIENTATION)
    except (OSError, SyntaxError, ValueError, TypeError, struct.error):
        return 1
    return found if found in UPRIGHT else 1


def decode_jpeg(data: bytes, image: ImageFile.ImageFile, scale: float) -> Pixels | None:
    """Pixels [H, W, 3] of a grey or colour JPEG by libjpeg-turbo, or None if it is better left to Pillow.

    The same library as in Pillow's wheels, without its detour through rows of 32-bit pixels: the same bytes come
    out. An image to be shrunk a lot is decoded at a fraction (of eighths) that leaves at least `scale`.
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    width, height = image.size
    least = {"min_width": math.ceil(width * scale), "min_height": math.ceil(height * scale)} if scale < 1 else {}
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", **least))
    except ValueError:
        return None  # damaged, or an unusual subsampling: Pillow knows which


def decode_with_pillow(image: Image.Image) -> Pixels:
    """Pixels [H, W, 3] of any image Pillow can read. Raises SampleError."""
    try:
        if image.mode == "F":
            raise SampleError("32-bit float pixels have no declared range")
        if image.mode.startswith("I"):
            grey = np.asarray(image).astype(np.int64)
            if grey.min() < 0 or grey.max() > 65535:
                raise SampleError("32-bit integer pixels have no declared range")
            return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise SampleError(f"the image is damaged: {error}") from error


def needed_scale(size: tuple[int, int], resolution: int, crop: Crop, orientation: int) -> float:
    """Smallest scale that keeps twice the pixels the resized crop needs along both of its sides."""
    width, height = size if orientation < 5 else size[::-1]
    _, _, wide, high = crop_box((width, height), crop)
    rows = resolution / LETTERBOX if crop == "letterbox" else resolution
    return 2 * max(resolution / wide, rows / high)


def crop_box(size: tuple[int, int], crop: Crop) -> Box:
    """The used part of an upright image of `size` (width, height). Raises SampleError if the image is too small."""
    width, height = size
    if not isinstance(crop, str):
        left, top, wide, high = crop
        if left + wide > width or top + high > height:
            raise SampleError(f"the image has {width}x{height} pixels, too few for the crop {list(crop)}")
        return left, top, wide, high
    if crop == "none":
        return 0, 0, width, height
    aspect = LETTERBOX if crop == "letterbox" else 1.0
    wide = min(width, max(1, round(height * aspect)))
    high = min(height, max(1, round(width / aspect)))
    return (width - wide) // 2, (height - high) // 2, wide, high


def cut_and_scale(
    pixels: Pixels, box: tuple[float, float, float, float], size: tuple[int, int], resize: str
) -> Pixels:
    """Cut a box out and scale it to `size` (width, height)."""
    left, top = round(box[0]), round(box[1])
    part = pixels[top : top + max(1, round(box[3])), left : left + max(1, round(box[2]))]
    if part.shape[1::-1] == size:
        return np.ascontiguousarray(part)
    return RESIZE[resize](part, size)
