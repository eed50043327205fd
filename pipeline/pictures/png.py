"""What makes the picture in a PNG file: checked against its checksums, without profiles, texts and animation."""

import struct
import zlib

import numpy as np
from PIL import Image

from pipeline.errors import SampleError
from pipeline.pictures.kinds import refusal
from pipeline.pictures.opening import decoder, open_picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEPTH = 24  # where a file says how many bits a channel has
PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
ORIENTED = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts that may say which side is up


def plain_png(data: bytes) -> bytes:
    """A PNG file's picture alone: colours, transparency, pixels and which side is up.

    Texts and profiles can be made to unpack to a thousand times their size, or be called like what Pillow keeps of
    an image ("transparency", "interlace"); frames of an animation beyond its still picture are not used.

    Raises:
        SampleError: pixels, palette or transparency are damaged.
    """
    if data[12:16] == b"CgBI":
        raise SampleError(refusal("a PNG that Xcode has changed for iPhones"))
    if data[12:16] != b"IHDR":
        raise SampleError("the image is damaged: a PNG file that does not begin with its header")
    view, at, dropped = memoryview(data), len(SIGNATURE), False
    pieces: list[bytes | memoryview] = [SIGNATURE]
    oriented: set[bytes] = set()
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        key = next((key for key in ORIENTED if data.startswith(key, at + 8)), name) if name in TEXTS else name
        keep = name in PIXELS or name == b"IEND" or (key in (b"eXIf", *ORIENTED) and key not in oriented)
        if name in PIXELS and end > len(data):
            raise SampleError(f"the image is damaged: it is cut in its {name.decode()}")
        if keep and end <= len(data) and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            if name in PIXELS:
                raise SampleError(f"the image is damaged: checksum of its {name.decode()} is wrong")
            keep = False
        if keep:
            oriented.add(key)
            pieces.append(view[at:end])
        dropped |= not keep
        at = end
        if name == b"IEND":
            break
    return b"".join(pieces) if dropped else data


def open_png(data: bytes) -> Image.Image:
    """The picture of a PNG file, pixels decoded, with its transparent colour in the units of its pixels.

    Raises:
        SampleError: it is damaged.
    """
    data = plain_png(data)
    image = open_picture(data, "PNG")
    with decoder():
        image.load()
        key = image.info.get("transparency")
        top = (1 << data[DEPTH]) - 1
        if image.mode == "L" and key is not None:  # Pillow scales grey of 2 and 4 bits, but not this
            image.info["transparency"] = (key & top) * 255 // top
        elif image.mode == "RGB" and key is not None and top == 255:
            image.info["transparency"] = tuple(part & top for part in key)
        elif image.mode == "RGB" and key is not None:
            return cut_out_of_16_bits(data, image, key)
    return image


def cut_out_of_16_bits(data: bytes, image: Image.Image, key: tuple[int, int, int]) -> Image.Image:
    """RGBA of an image whose channels have 16 bits, of which Pillow keeps 8: transparent where all 16 are `key`."""
    lower = open_picture(data, "PNG")
    lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]  # the other byte of each pair
    lower.load()
    clear = np.ones(image.size[::-1], dtype=bool)
    for upper_band, lower_band, part in zip(image.split(), lower.split(), key, strict=True):
        clear &= (np.asarray(upper_band) == part >> 8) & (np.asarray(lower_band) == part & 255)
    image = image.copy()
    del image.info["transparency"]
    image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    return image
