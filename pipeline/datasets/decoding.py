"""From the bytes of an image file to pixels of the declared size: fast for JPEG, patient with everything else."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import simplejpeg
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from pipeline.datasets.resizing import RESIZE
from pipeline.errors import SampleError
from pipeline.pictures.colours import UPRIGHT, Pixels, orientation_of, read_picture
from pipeline.pictures.guarded import read_guarded
from pipeline.pictures.kinds import kind_of
from pipeline.pictures.opening import check_size, one_line, open_picture

Box = tuple[int, int, int, int]  # left, top, width, height
Crop = Literal["center", "none", "letterbox"] | Box
Size = tuple[int, int]  # width, height

LETTERBOX = 4 / 3  # aspect of the picture between the bars: StyleGAN's LSUN cars are 512x384 of 512x512
HERE = ("PNG", "WEBP")  # kinds whose decoders take time by the pixel and have been attacked for long
MAX_BYTES_HERE = 2**24  # of such a file: beyond it, what is not pixels might take long
MAX_SCANS_HERE = 20  # of a JPEG; each goes over all pixels, and a few bytes are enough for one
LOST = ("premature end of data segment", "bad Huffman code", "bad arithmetic code", "Premature end of JPEG file")


def decode(data: bytes, resolution: int, crop: Crop = "center", resize: str = "bicubic") -> Pixels:
    """Decode an image, turn it upright, crop it and scale it with antialiasing to [resolution, resolution, 3].

    Grey becomes RGB; transparency is laid on white; 16 bits become 8; of an animation the first frame counts.
    Colour profiles are not applied, as in the papers' loaders.

    Raises:
        SampleError: the bytes are not an image that can be used, and why.
    """
    pixels, (width, height) = decode_upright(data, lambda size: needed_scale(size, resolution, crop))
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


def decode_whole(data: bytes) -> Pixels:
    """Decode an image to upright RGB pixels [H, W, 3] of its own size. Raises SampleError."""
    return decode_upright(data, lambda size: 1.0)[0]


def decode_upright(data: bytes, scale: Callable[[Size], float]) -> tuple[Pixels, Size]:
    """Upright RGB pixels [H, W, 3], and the size they have in the file.

    Args:
        data: the encoded image.
        scale: of the upright size; the pixels may be fewer by as much.

    Raises:
        SampleError: the bytes are not an image that can be used, and why.
    """
    kind = kind_of(data)
    if kind == "JPEG":
        image = open_picture(data, kind)
        orientation = orientation_of(image)
        size = image.size if orientation < 5 else image.size[::-1]
        pixels = decode_jpeg(data, image, scale(size))
        if pixels is not None:
            return UPRIGHT[orientation](pixels), size
    here = kind in HERE and len(data) <= MAX_BYTES_HERE
    pixels = read_picture(data) if here else read_guarded(data)
    return pixels, pixels.shape[1::-1]


def decode_jpeg(data: bytes, image: ImageFile, scale: float) -> Pixels | None:
    """Pixels [H, W, 3] of a grey or colour JPEG by libjpeg-turbo, or None if it is better left to Pillow.

    The same library as in Pillow's wheels, without its detour through rows of 32-bit pixels: the same bytes come
    out. An image to be shrunk a lot is decoded at a fraction (of eighths) that leaves at least `scale`.

    Raises:
        SampleError: part of its pixels are lost.
    """
    if image.mode not in ("RGB", "L") or len(data) > MAX_BYTES_HERE or has_many_scans(data, image):
        return None
    width, height = image.size
    least = {"min_width": math.ceil(width * scale), "min_height": math.ceil(height * scale)} if scale < 1 else {}
    try:
        check_size(simplejpeg.decode_jpeg_header(data)[1::-1])
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", **least))
    except ValueError as error:
        if any(words in str(error) for words in LOST):
            raise SampleError(
                f"the image is damaged: its data is cut short or garbled ({one_line(error)})"
            ) from error
        return None  # damaged, or an unusual subsampling: Pillow knows which


def has_many_scans(data: bytes, image: ImageFile) -> bool:
    """Whether a JPEG may go over its pixels more often than any program makes it."""
    assert isinstance(image, JpegImageFile)
    assert image.fp is not None
    header = bytes([0xFF, 0xDA, 0, 6 + 2 * image.layers, image.layers])  # of a scan of all channels
    at = image.fp.tell() - 8 - 2 * image.layers  # Pillow stops behind the first
    if "progressive" not in image.info and data[at : at + len(header)] == header:
        return False
    return data.count(b"\xff\xda") > MAX_SCANS_HERE


def needed_scale(size: Size, resolution: int, crop: Crop) -> float:
    """Smallest scale that keeps twice the pixels the resized crop of an upright image needs along both sides."""
    _, _, wide, high = crop_box(size, crop)
    rows = resolution / LETTERBOX if crop == "letterbox" else resolution
    return 2 * max(resolution / wide, rows / high)


def crop_box(size: Size, crop: Crop) -> Box:
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


def cut_and_scale(pixels: Pixels, box: tuple[float, float, float, float], size: Size, resize: str) -> Pixels:
    """Cut a box out and scale it to `size` (width, height)."""
    left, top = round(box[0]), round(box[1])
    part = pixels[top : top + max(1, round(box[3])), left : left + max(1, round(box[2]))]
    if part.shape[1::-1] == size:
        return np.ascontiguousarray(part)
    return RESIZE[resize](part, size)
