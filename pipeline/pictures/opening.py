"""Opens pictures: only kinds that are known to be harmless, few enough pixels, one sentence for any damage."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import DecompressionBombError
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pipeline.errors import SampleError
from pipeline.pictures.kinds import kind_of

MAX_PIXELS = 89_478_485  # Pillow's limit, at which a file may be a decompression bomb
MAX_BYTES = 2**30  # of a file: more than MAX_PIXELS of 16 bits and four channels

# Pillow's own class for each kind. Image.open is not asked: it would try formats that run other programs, such as
# PostScript, and says no more than "cannot identify" where a class says what is wrong.
CLASSES: dict[str, type[ImageFile]] = {
    "AVIF": AvifImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": JpegImageFile,
    "JPEG2000": Jpeg2KImageFile,
    "PNG": PngImageFile,
    "PPM": PpmImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
}

# Pillow warns of odd metadata, which is not used, and of sizes, which are checked here.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_picture(data: bytes, kind: str | None = None) -> ImageFile:
    """Read a picture's header; no pixels are decoded.

    Args:
        data: the encoded picture.
        kind: what it is, where that is known; otherwise its content decides.

    Raises:
        SampleError: it is not a picture that is read, has too many pixels, or is damaged.
    """
    kind = kind or kind_of(data)
    check_bytes(len(data))
    with decoder():
        image = CLASSES[kind](io.BytesIO(data))
    check_size(image.size)
    if kind == "JPEG2000":
        check_depth(data)
    return image


def check_depth(data: bytes) -> None:
    """Raise SampleError for a JPEG 2000 picture of less than 8 bits, which Pillow shows too dark."""
    at = data.find(b"\xff\x4f\xff\x51")  # its codestream begins with sizes, then has the depth of each channel
    if at >= 0 and (data[at + 42 : at + 43] or b"\7")[0] & 0x7F < 7:
        raise SampleError("the image is a JPEG 2000 picture of less than 8 bits a channel; convert it to PNG")


def check_bytes(count: int) -> None:
    """Raise SampleError if a file is larger than any image that is decoded."""
    if count > MAX_BYTES:
        raise SampleError(f"the file has {count} bytes, more than the {MAX_BYTES} allowed for an image")


def check_size(size: tuple[int, int]) -> None:
    """Raise SampleError if an image of `size` (width, height) has more pixels than are decoded."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise SampleError(f"the image has {width}x{height} pixels, more than the {MAX_PIXELS} allowed")


@contextmanager
def decoder() -> Iterator[None]:
    """Turn whatever a decoder raises into a SampleError; wraps calls into decoders and nothing of ours."""
    try:
        yield
    except SampleError:
        raise
    except MemoryError as error:
        raise SampleError("there is too little memory to decode the image", unreadable=True) from error
    except DecompressionBombError as error:
        raise SampleError(f"the image has too many pixels: {one_line(error)}") from error
    except SyntaxError as error:  # what Pillow says of a header that it does not understand
        raise SampleError(f"the image is damaged or of a rare kind: {one_line(error)}") from error
    except Exception as error:  # damaged files raise anything, from AssertionError on
        raise SampleError(f"the image is damaged: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """What an exception says, fit for a table: printable, short, never empty."""
    words = "".join(letter if letter.isprintable() else " " for letter in str(error))
    words = " ".join(words.split())[:200]
    if words == "not identified by this driver":
        return "its header declares no pixels, or colours that there are not"
    return words or f"its decoder gave up ({type(error).__name__})"
