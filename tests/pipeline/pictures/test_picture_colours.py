"""Colours: every way to write a pixel gives the colour that is meant, upright and on white."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.decoding import decode, decode_whole
from pipeline.errors import SampleError
from pipeline.pictures import colours
from pipeline.pictures.colours import ORIENTATION, read_picture
from tests.pipeline.datasets.samples import encoded, smooth
from tests.pipeline.pictures.making import LONG, SHORT, big, chunk, png, tiff

RED, GREEN, BLUE, WHITE, BLACK = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3, [0] * 3


def little(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def grey(*values: int) -> list[list[int]]:
    return [[value] * 3 for value in values]


def row_of(data: bytes) -> list[list[int]]:
    """The colours of the first row."""
    found: list[list[int]] = read_picture(data)[0].tolist()
    return found


PALETTE = (b"PLTE", bytes([255, 0, 0, 0, 255, 0]))


PNGS = {
    "grey 16": (png(2, [big(0x1234, 0x8000)], 16), grey(18, 128)),
    "grey 16, one transparent": (png(2, [big(0x1234, 0x8000)], 16, 0, [(b"tRNS", big(0x1234))]), grey(255, 128)),
    "grey 16, almost transparent": (png(1, [big(0x1235)], 16, 0, [(b"tRNS", big(0x1234))]), grey(18)),
    "grey 16, black transparent": (png(2, [big(0, 257)], 16, 0, [(b"tRNS", big(0))]), grey(255, 1)),
    "grey 8, one transparent": (png(2, [b"\x07\x08"], 8, 0, [(b"tRNS", big(7))]), grey(255, 8)),
    "grey 8, upper bits unused": (png(2, [b"\x07\x08"], 8, 0, [(b"tRNS", big(0x107))]), grey(255, 8)),
    "grey 4, one transparent": (png(2, [b"\x1e"], 4, 0, [(b"tRNS", big(1))]), grey(255, 238)),
    "grey 2, one transparent": (png(4, [b"\x1b"], 2, 0, [(b"tRNS", big(1))]), grey(0, 255, 170, 255)),
    "grey 1, black transparent": (png(2, [b"\x40"], 1, 0, [(b"tRNS", big(0))]), grey(255, 255)),
    "grey 1, white transparent": (png(2, [b"\x40"], 1, 0, [(b"tRNS", big(1))]), grey(0, 255)),
    "grey and alpha 16": (png(2, [big(0, 0x8000, 0, 0xFFFF)], 16, 4), grey(127, 0)),
    "grey and alpha": (png(2, [b"\0\x80\0\xff"], 8, 4), grey(127, 0)),
    "RGB 16": (png(1, [big(0xFFFF, 0x8000, 0)], 16, 2), [[255, 128, 0]]),
    "RGB 16, one transparent": (
        png(
            2,
            [big(0x1200, 0x34FF, 0x5600, 0x1201, 0x34FF, 0x5600)],
            16,
            2,
            [(b"tRNS", big(0x1200, 0x34FF, 0x5600))],
        ),
        [WHITE, [0x12, 0x34, 0x56]],
    ),
    "RGB, one transparent": (png(2, [b"\1\2\3\1\2\4"], 8, 2, [(b"tRNS", big(1, 2, 3))]), [WHITE, [1, 2, 4]]),
    "RGBA 16": (png(2, [big(65535, 0, 0, 0x8080, 65535, 0, 0, 0)], 16, 6), [[255, 127, 127], WHITE]),
    "palette": (png(2, [b"\0\1"], 8, 3, [PALETTE]), [RED, GREEN]),
    "palette, one transparent": (png(2, [b"\0\1"], 8, 3, [PALETTE, (b"tRNS", b"\xff\0")]), [RED, WHITE]),
    "palette, opacities": (
        png(2, [b"\0\1"], 8, 3, [PALETTE, (b"tRNS", b"\x80\x40")]),
        [[255, 127, 127], [191, 255, 191]],
    ),
    "palette 1": (png(2, [b"\x40"], 1, 3, [PALETTE]), [RED, GREEN]),
    "text called as what Pillow keeps": (
        png(2, [b"\1\2\3\4\5\6"], 8, 2, [(b"tEXt", b"transparency\0x"), (b"tEXt", b"interlace\0x")]),
        [[1, 2, 3], [4, 5, 6]],
    ),
}


@pytest.mark.parametrize("name", PNGS)
def test_png(name: str) -> None:
    data, expected = PNGS[name]
    assert row_of(data) == expected


def with_(**tags: object) -> dict[int, tuple[int, object]]:
    """Tags of a TIFF, all of them SHORT, called t258 and so on."""
    return {int(name[1:]): (SHORT, values) for name, values in tags.items()}


def colour_map(*colours: list[int]) -> tuple[int, ...]:
    return tuple(colours[place][band] if place < len(colours) else 0 for band in range(3) for place in range(256))


RED_GREEN = colour_map([65535, 0, 0], [0, 65535, 0])
PLANES = {**with_(t284=2), 273: (LONG, (8, 10, 12)), 279: (LONG, (2, 2, 2))}
TIFFS = {
    "grey 16": (tiff(2, 1, (16,), 1, little(0x1234, 0x8000)), grey(18, 128)),
    "grey 16, big-endian": (tiff(2, 1, (16,), 1, big(0x1234, 0x8000), order=">"), grey(18, 128)),
    "grey 16, 0 is white": (tiff(2, 1, (16,), 0, little(0x1234, 0)), grey(237, 255)),
    "grey 12": (tiff(2, 1, (12,), 1, b"\xff\xf8\0"), grey(255, 128)),
    "grey 8, 0 is white": (tiff(2, 1, (8,), 0, b"\x10\xff"), grey(239, 0)),
    "grey 4": (tiff(2, 1, (4,), 1, b"\x1e"), grey(17, 238)),
    "grey 4, 0 is white": (tiff(2, 1, (4,), 0, b"\x1e"), grey(238, 17)),
    "grey 1, 0 is white": (tiff(2, 1, (1,), 0, b"\x40"), grey(255, 0)),
    "grey 1": (tiff(2, 1, (1,), 1, b"\x40"), grey(0, 255)),
    "grey and alpha": (tiff(2, 1, (8, 8), 1, b"\x40\x80\0\0", tags=with_(t338=2)), grey(159, 255)),
    "grey multiplied by alpha": (tiff(2, 1, (8, 8), 1, b"\x40\x80\0\0", tags=with_(t338=1)), grey(191, 255)),
    "RGB 16": (tiff(1, 1, (16,) * 3, 2, little(0xFFFF, 0x8000, 0)), [[255, 128, 0]]),
    "RGB in planes": (
        tiff(2, 1, (8,) * 3, 2, b"\1\2\3\4\5\6", tags=PLANES),
        [[1, 3, 5], [2, 4, 6]],
    ),
    "RGBA": (tiff(1, 1, (8,) * 4, 2, b"\xff\0\0\x80", tags=with_(t338=2)), [[255, 127, 127]]),
    "RGB multiplied by alpha": (tiff(1, 1, (8,) * 4, 2, b"\x80\0\0\x80", tags=with_(t338=1)), [[255, 127, 127]]),
    "RGB and what is no alpha": (tiff(1, 1, (8,) * 4, 2, b"\xff\0\0\0", tags=with_(t338=0)), [RED]),
    "palette": (tiff(2, 1, (8,), 3, b"\0\1", tags=with_(t320=RED_GREEN)), [RED, GREEN]),
    "palette of 8 bits": (tiff(2, 1, (8,), 3, b"\0\1", tags=with_(t320=colour_map(RED, GREEN))), [RED, GREEN]),
    "palette and alpha": (
        tiff(2, 1, (8, 8), 3, b"\0\xff\1\0", tags=with_(t338=2, t320=RED_GREEN)),
        [RED, WHITE],
    ),
    "CMYK": (tiff(2, 1, (8,) * 4, 5, b"\0\xff\xff\0\0\0\0\xff"), [RED, BLACK]),
    "YCbCr": (tiff(1, 1, (8,) * 3, 6, bytes([76, 85, 255])), [[254, 0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", TIFFS)
def test_tiff(name: str) -> None:
    data, expected = TIFFS[name]
    assert row_of(data) == expected


def test_lab_is_red_where_it_is_red() -> None:
    found = row_of(tiff(1, 1, (8,) * 3, 8, bytes([136, 81, 67])))
    assert np.abs(np.array(found) - [RED]).max() < 16


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"]
)
def test_compressed_tiffs_have_the_colours_of_raw_ones(compression: str) -> None:
    image = smooth(24, 16)
    found = read_picture(encoded(image, "TIFF", compression=compression)).astype(int)
    assert np.abs(found - np.asarray(image)).max() <= (0 if compression != "jpeg" else 24)


def test_of_a_tiff_the_first_page_counts_and_pages_that_go_round_end() -> None:
    data = tiff(1, 1, (8,) * 3, 2, bytes(RED), next_page=12)
    assert row_of(data) == [RED]
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    assert row_of(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))[0] == RED


JP2 = encoded(smooth(16, 16), "JPEG2000", no_jp2=True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff(1, 1, (8,), 1, b"\x80", tags=with_(t339=2)), "signed pixels"),
        (tiff(1, 1, (16,), 1, b"\0\x80", tags=with_(t339=2)), "signed pixels"),
        (tiff(1, 1, (32,), 1, bytes([200, 0, 0, 0])), "32-bit integer pixels have no declared range"),
        (tiff(1, 1, (32,), 1, struct.pack("<f", 0.5), tags=with_(t339=3)), "32-bit float pixels"),
        (tiff(1, 1, (16,) * 3, 2, bytes(6), tags=PLANES), "16-bit planes"),
        (tiff(1, 1, (8,) * 3, 2, bytes(3), tags=with_(t254=1)), "thumbnail"),
        (tiff(1, 1, (8,) * 3, 2, bytes(3), tags={50706: (1, (1, 4, 0, 0))}), r"camera's raw file \(DNG\)"),
        (tiff(1, 1, (16, 16), 1, bytes(4), tags=with_(t338=2)), "rare kind: unknown pixel mode"),
        (tiff(1, 1, (5,), 1, bytes(1)), "rare kind: unknown pixel mode"),
        (
            tiff(8, 8, (8,) * 3, 6, bytes(96), tags=with_(t530=(2, 2))),
            "it has 96 bytes, too few for its 8x8 pixels",
        ),
        (JP2[:42] + b"\0" + JP2[43:], "less than 8 bits a channel"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)), "is a PNG that Xcode has changed"),
        (b"Pf\n1 1\n-1.0\n" + struct.pack("<f", 0.5), "a float picture"),
        (png(0, [b""], 8, 2), "its header declares no pixels"),
        (png(1, [b"\0"], 3, 2), "its header declares no pixels, or colours that there are not"),
        (png(1, [b"\0"], 8, 3), "damaged: its decoder gave up"),
    ],
)
def test_numbers_that_mean_no_colour_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(SampleError, match=words):
        decode(data, 4)


def test_gif() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    assert row_of(encoded(image, "GIF")) == [RED, GREEN]
    assert row_of(encoded(image, "GIF", transparency=1)) == [RED, WHITE]


def test_around_a_gifs_smaller_first_frame_it_is_transparent() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    data = bytearray(encoded(image, "GIF"))
    at = data.index(b",\0\0\0\0\2\0\1\0")
    data[6:10] = struct.pack("<HH", 4, 3)
    data[at + 1 : at + 5] = struct.pack("<HH", 1, 1)
    found = read_picture(bytes(data))
    assert found.shape == (3, 4, 3)
    assert found[1].tolist() == [WHITE, RED, RED, WHITE]
    assert (found[[0, 2]] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "AVIF"])
def test_of_an_animation_the_first_frame_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    found = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), 16).astype(int)
    assert np.abs(found - RED).max() <= 8


def test_a_still_picture_that_stands_for_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("blue", "green")]
    still = Image.new("RGB", (16, 16), "red")
    data = encoded(still, "PNG", save_all=True, default_image=True, append_images=frames)
    assert (decode(data, 16) == RED).all()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P1 2 1\n0 1", grey(255, 0)),
        (b"P4 2 1\n\x40", grey(255, 0)),
        (b"P2 2 1 15\n3 15", grey(51, 255)),
        (b"P5 2 1 15\n\x03\x0f", grey(51, 255)),
        (b"P5 2 1 65535\n" + big(0x1234, 0x8000), grey(18, 128)),
        (b"P5 2 1 1023\n" + big(1023, 512), grey(255, 128)),
        (b"P6 1 1 255\n\xff\0\0", [RED]),
        (b"P6\n# made by hand\n1 1\n255\n\xff\0\0", [RED]),
        (b"P3 1 1 255\n255 0 0", [RED]),
    ],
)
def test_ppm(data: bytes, expected: list[list[int]]) -> None:
    assert row_of(data) == expected


def test_bmp() -> None:
    assert row_of(encoded(Image.new("RGB", (2, 1), "red"), "BMP")) == [RED, RED]
    header = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 32, 0, 4, 0, 0, 0, 0)
    unused = b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + header + bytes([0, 0, 255, 0])
    assert row_of(unused) == [RED]  # the fourth byte of such a BMP is not opacity
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 56, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0) + masks
    assert row_of(b"BM" + struct.pack("<IHHI", 74, 0, 0, 70) + header + bytes([0, 0, 255, 128])) == [
        [255, 127, 127]
    ]


def test_jpeg_2000() -> None:
    assert row_of(encoded(Image.new("RGB", (8, 8), "red"), "JPEG2000"))[0] == RED
    assert row_of(encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "JPEG2000"))[0] == [255, 127, 127]
    assert row_of(encoded(Image.fromarray(np.full((8, 8), 0x8000, np.uint16)), "JPEG2000"))[0] == [128] * 3


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_transparency_of_lossy_kinds_is_laid_on_white(kind: str) -> None:
    found = decode(encoded(Image.new("RGBA", (16, 16), (255, 0, 0, 128)), kind), 16).astype(int)
    assert np.abs(found - [255, 127, 127]).max() <= 4


def jpeg_with(image: Image.Image, marker: bytes, offset: int, value: int) -> bytes:
    """A JPEG with one byte changed, so far behind a marker."""
    data = bytearray(encoded(image, quality=100, subsampling=0))
    data[data.index(marker) + offset] = value
    return bytes(data)


def test_jpegs_of_four_channels() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(decode(encoded(cmyk, quality=100), 16).astype(int) - RED).max() <= 4
    # red as YCCK: red's complement in YCbCr, written by way of "CMYK", which Pillow inverts
    ycck = Image.new("CMYK", (16, 16), (255 - 179, 255 - 171, 255, 0))
    assert np.abs(decode(jpeg_with(ycck, b"Adobe", 11, 2), 16).astype(int) - RED).max() <= 4


def test_a_jpeg_of_rgb_is_not_taken_for_ycbcr() -> None:
    data = encoded(Image.new("RGB", (16, 16), "red"), keep_rgb=True, quality=100)
    assert np.abs(decode(data, 16).astype(int) - RED).max() <= 2


@pytest.mark.parametrize(("offset", "value", "words"), [(4, 12, "12-bit layers"), (9, 2, "2-layer images")])
def test_jpegs_of_rare_kinds_are_named(offset: int, value: int, words: str) -> None:
    with pytest.raises(SampleError, match=f"rare kind: cannot handle {words}"):
        decode(jpeg_with(smooth(16, 16), b"\xff\xc0", offset, value), 16)


def test_what_follows_a_jpeg_changes_nothing() -> None:
    image = smooth(16, 16)
    data, other = encoded(image), encoded(Image.new("RGB", (16, 16), "blue"))
    expected = decode(data, 16)
    together = encoded(image, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16), "blue")])
    for more in (data + b"junk" * 100, data + bytes(1000), data + other, together):
        assert (decode(more, 16) == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "off"), [("WEBP", 0), ("TIFF", 0), ("LZW", 0), ("AVIF", 12)])
def test_every_kind_is_turned_upright_once(kind: str, off: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = smooth(48, 32)
    expected = decode_whole(encoded(image, "PNG", exif=exif))
    options = {
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
        "LZW": {"compression": "tiff_lzw"},
    }
    found = decode_whole(encoded(image, "TIFF" if kind == "LZW" else kind, exif=exif, **options.get(kind, {})))
    assert found.shape == expected.shape == ((48, 32, 3) if orientation > 4 else (32, 48, 3))
    assert np.abs(found.astype(int) - expected).max() <= off


def test_a_tall_tiff_of_16_bits_is_turned_once() -> None:
    data = tiff(2, 1, (16,), 1, little(0, 0xFFFF), tags=with_(t274=6))
    assert read_picture(data).tolist() == [grey(0), grey(255)]


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"x" * 50]
)
def test_damaged_exif_is_upright(exif: bytes) -> None:
    image = smooth(16, 16)
    assert (decode(encoded(image, exif=exif), 16) == decode(encoded(image), 16)).all()
    assert (decode(encoded(image, "PNG", exif=exif), 16) == np.asarray(image)).all()


def test_which_side_is_up_may_be_told_in_texts() -> None:
    image = smooth(16, 16)
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    raw = b"\nexif\n%8d\n%s\n" % (len(exif.tobytes()), exif.tobytes().hex().encode())
    xmp = b'<x tiff:Orientation="3"/>'
    texts = [
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        (b"eXIf", exif.tobytes()[6:]),
    ]
    rows = [row.tobytes() for row in np.asarray(image)]
    for text in texts:
        assert (decode(png(16, rows, 8, 2, [text]), 16) == np.asarray(image)[::-1, ::-1]).all()


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16"]


@pytest.mark.parametrize("mode", MODES)
def test_strips_give_what_the_whole_gives(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth(20, 13).convert("RGB")
    if mode == "I;16":
        image = Image.fromarray(np.arange(260, dtype=np.uint16).reshape(13, 20) * 250)
        image.info["transparency"] = 250
    elif mode in ("LA", "PA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize((20, 13)))
        image = image.convert(mode)
    else:
        image = image.convert(mode)
    whole = colours.to_rgb(image)
    monkeypatch.setattr(colours, "STRIP", 50)
    assert whole.shape == (13, 20, 3)
    assert whole.std() > 5
    assert (colours.to_rgb(image) == whole).all()


@pytest.mark.parametrize("size", [(1, 30_000), (100_000, 1)])
@pytest.mark.parametrize("crop", ["center", "none"])
def test_a_picture_that_is_nearly_a_line(size: tuple[int, int], crop: str) -> None:
    data = encoded(Image.new("RGB", size, (200, 100, 50)), "PNG")
    for resize in ("bicubic", "bilinear", "lanczos", "box"):
        found = decode(data, 32, crop, resize).astype(int)  # type: ignore[arg-type]
        assert np.abs(found - [200, 100, 50]).max() <= 2


def test_a_png_that_is_cut_behind_its_last_pixel_is_damaged() -> None:
    data = encoded(Image.new("RGB", (8, 8), "red"), "PNG")
    with pytest.raises(SampleError, match="cut in its IDAT"):
        read_picture(data[:-20])
