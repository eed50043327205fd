"""Pictures of any kind and mode to upright RGB pixels, on white where they are transparent."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import SampleError
from pipeline.pictures.kinds import kind_of
from pipeline.pictures.opening import decoder, open_picture
from pipeline.pictures.png import open_png
from pipeline.pictures.tiff import open_tiff

Pixels = NDArray[np.uint8]

ORIENTATION = 0x0112
# EXIF orientation -> how an array [H, W, C] is turned upright
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
STRIP = 2**22  # pixels that are converted at once
TO_8_BITS = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)


def read_picture(data: bytes) -> Pixels:
    """Decode a picture of any kind that is read: upright, RGB, [H, W, 3].

    16 bits become 8; of several pages or frames the first counts; colour profiles are not applied.

    Raises:
        SampleError: it cannot be used, and why.
    """
    kind = kind_of(data)
    if kind == "PNG":
        return upright(open_png(data))
    if kind == "TIFF":
        return upright(open_tiff(data))
    image = open_picture(data, kind)
    with decoder():
        frame = image.tile[0].extents if kind == "GIF" else None
        image.load()
    pixels = upright(image)
    if frame is None:
        return pixels
    left, top, right, bottom = frame
    canvas = np.full_like(pixels, 255)  # a GIF's first frame may be smaller: what is around it is transparent
    canvas[top:bottom, left:right] = pixels[top:bottom, left:right]
    return canvas


def upright(image: Image.Image) -> Pixels:
    """Upright RGB pixels [H, W, 3] of a decoded image. Raises SampleError."""
    return UPRIGHT[orientation_of(image)](to_rgb(image))


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1, which is upright, if it is absent or nonsense."""
    try:
        found = image.getexif().get(ORIENTATION)
        return int(found) if found in UPRIGHT else 1
    except Exception:  # noqa: BLE001 - damaged metadata raises anything and says nothing of the pixels
        return 1


def to_rgb(image: Image.Image) -> Pixels:
    """RGB pixels [H, W, 3] of a decoded image, on white where it is transparent. Raises SampleError."""
    if image.mode == "F":
        raise SampleError("32-bit float pixels have no declared range")
    width, height = image.size
    rows = max(1, STRIP // width)
    with decoder():
        if rows >= height:
            return strip_to_rgb(image)
        pixels = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, rows):
            pixels[top : top + rows] = strip_to_rgb(image.crop((0, top, width, min(height, top + rows))))
    return pixels


def strip_to_rgb(image: Image.Image) -> Pixels:
    """RGB pixels [H, W, 3] of an image, all at once."""
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if image.mode == "I" and (grey.min() < 0 or grey.max() > 65535):
            raise SampleError("32-bit integer pixels have no declared range")
        pixels: Pixels = TO_8_BITS[grey]
        if (key := image.info.get("transparency")) is not None:
            pixels[grey == key] = 255
        return np.repeat(pixels[:, :, None], 3, axis=2)
    if image.mode == "La":  # grey that is multiplied by its opacity already
        grey, opacity = np.moveaxis(np.asarray(image).astype(np.int16), 2, 0)
        pixels = np.minimum(grey + 255 - opacity, 255).astype(np.uint8)
        return np.repeat(pixels[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"), np.uint8)
