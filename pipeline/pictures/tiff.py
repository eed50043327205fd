"""TIFF files as their tags mean them, where Pillow reads something else without a word."""

import numpy as np
from PIL import Image, ImagePalette
from PIL.TiffImagePlugin import TiffImageFile

from pipeline.errors import SampleError
from pipeline.pictures.opening import check_size, decoder, open_picture

# tags
SUBFILE, BITS, PHOTOMETRIC, STRIP_BYTES, PLANES, COLORMAP = 254, 258, 262, 279, 284, 320
TILE_WIDTH, TILE_LENGTH, TILE_BYTES, FORMAT, DNG = 322, 323, 325, 339, 50706
REDUCED, MASK = 1, 4  # kinds of sub-file
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # formats of samples
MIN_IS_WHITE = 0


def open_tiff(data: bytes) -> Image.Image:
    """The first page of a TIFF file, pixels decoded and upright; grey of 12 and 16 bits as I;16 from 0 to 65535.

    Raises:
        SampleError: it is damaged, or what its numbers mean as a picture is not declared.
    """
    image = open_picture(data, "TIFF")
    assert isinstance(image, TiffImageFile)
    with decoder():
        tags = image.tag_v2
        check_meaning(image)
        image.load()
        if image.mode.startswith("I;16"):
            grey = np.asarray(image).astype(np.uint16)
            if max(tags.get(BITS, (1,))) == 12:
                grey = ((grey.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)
            return Image.fromarray(65535 - grey if tags.get(PHOTOMETRIC, MIN_IS_WHITE) == MIN_IS_WHITE else grey)
        colours = tags.get(COLORMAP, ())
        if image.mode in ("P", "PA") and max(colours) < 256:  # written with 8 bits a colour instead of 16
            image.putpalette(ImagePalette.raw("RGB;L", bytes(colours)))
    return image


def check_meaning(image: TiffImageFile) -> None:
    """Raise SampleError for a page that is not the picture, or of which Pillow would make another one."""
    tags, (width, height) = image.tag_v2, image.size
    formats, bits = tags.get(FORMAT, (UNSIGNED,)), tags.get(BITS, (1,))
    if DNG in tags:
        raise SampleError("the file is a camera's raw file (DNG); convert it to PNG or JPEG")
    if tags.get(SUBFILE, 0) & (REDUCED | MASK):
        raise SampleError("the first page of the TIFF file is a thumbnail or a mask, not the image")
    if FLOAT in formats:
        raise SampleError("32-bit float pixels have no declared range")
    if max(bits) == 32:
        raise SampleError("32-bit integer pixels have no declared range")
    if SIGNED in formats:
        raise SampleError("signed pixels have no declared range")
    check_size((tags.get(TILE_WIDTH, 1), tags.get(TILE_LENGTH, 1)))
    if image.info["compression"] == "raw":
        if tags.get(PLANES) == 2 and max(bits) > 8:
            raise SampleError("16-bit planes one after the other are read only if compressed; compress the TIFF")
        there = sum(tags.get(STRIP_BYTES) or tags.get(TILE_BYTES) or ())
        if (
            0 < there < width * height * sum(bits) // 8
        ):  # cut, or channels that are stored at a fraction of the size
            raise SampleError(
                f"the image is damaged: it has {there} bytes, too few for its {width}x{height} pixels"
            )
