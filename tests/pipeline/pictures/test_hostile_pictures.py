"""Hostile, damaged and mistaken files: every one is a sentence, soon, and nothing in them is run."""

import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.decoding import decode
from pipeline.datasets.files import read_sample
from pipeline.errors import SampleError
from pipeline.pictures import guarded, opening
from pipeline.pictures.kinds import kind_of
from tests.pipeline.datasets.samples import encoded, smooth
from tests.pipeline.pictures.making import LONG, SHORT, chunk, png, tiff

ENDLESS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{} loop\nshowpage\n%%EOF\n"


def refused(data: bytes, words: str) -> None:
    with pytest.raises(SampleError, match=words):
        decode(data, 8)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ENDLESS, "is PostScript, a program that draws, which is not read as an image"),
        (b"\xc5\xd0\xd3\xc6" + bytes(26) + ENDLESS, "is PostScript"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"\xd7\xcd\xc6\x9a" + bytes(40), "is a Windows metafile"),
        (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(40), "is a Windows metafile"),
        (b"8BPS\0\1" + bytes(20), "is a Photoshop document"),
        (b"SIMPLE  =                    T", "is a FITS file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(8), "is an HDF5 file"),
        (b"GRIB" + bytes(40), "is a GRIB file"),
        (bytes(128) + b"DICM", "is a DICOM file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "is a HEIC picture"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "is a camera's raw file"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(20), "is a camera's raw file"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "is a video"),
        (b"\xff\x0a" + bytes(20), "is a JPEG XL picture"),
        (b"PK\3\4" + bytes(20), "is a ZIP archive"),
        (b"\0\5\x16\7" + bytes(20), "is the shadow of a file that macOS keeps"),
        (b"<!DOCTYPE html><title>404</title>", "is a web page, not an image, .* download it again"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "fetch it by `git lfs pull`"),
        (b'{"error": "quota exceeded"}', "is text, not an image"),
        ("grüße".encode(), "is text, not an image"),
        (bytes(5000), "is nothing but zeros"),
        (bytes(range(7, 256)), "not an image that can be decoded"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, words: str) -> None:
    refused(data, words)


KINDS = {"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"}


def test_only_these_kinds_are_opened() -> None:
    assert set(opening.CLASSES) == KINDS
    assert {kind_of(encoded(smooth(8, 8), kind)) for kind in KINDS} == KINDS


def with_frames(kind: str) -> bytes:
    frames = [smooth(24, 16, seed) for seed in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010E] = 6, "a picture"
FILES = {
    "png": encoded(smooth(24, 16), "PNG", exif=EXIF.tobytes()),
    "palette": encoded(smooth(24, 16).convert("P"), "PNG", transparency=3),
    "apng": with_frames("PNG"),
    "jpeg": encoded(smooth(24, 16), exif=EXIF.tobytes()),
    "progressive": encoded(smooth(24, 16), progressive=True),
    "cmyk": encoded(smooth(24, 16).convert("CMYK")),
    "mpo": with_frames("MPO"),
    "webp": encoded(smooth(24, 16), "WEBP", exif=EXIF.tobytes()),
    "animation": with_frames("WEBP"),
    "gif": with_frames("GIF"),
    "bmp": encoded(smooth(24, 16), "BMP"),
    "ppm": encoded(smooth(24, 16), "PPM"),
    "tiff": encoded(smooth(24, 16), "TIFF"),
    "lzw": encoded(smooth(24, 16), "TIFF", compression="tiff_lzw"),
    "jpeg in tiff": encoded(smooth(24, 16), "TIFF", compression="jpeg"),
    "fax": encoded(smooth(24, 16).convert("1"), "TIFF", compression="group4"),
    "jp2": encoded(smooth(24, 16), "JPEG2000"),
    "codestream": encoded(smooth(24, 16), "JPEG2000", no_jp2=True),
    "avif": encoded(smooth(24, 16), "AVIF", exif=EXIF.tobytes()),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused_or_the_same(name: str) -> None:
    data = FILES[name]
    expected = decode(data, 16)
    refusals = 0
    for length in range(0, len(data), max(1, len(data) // 40)):
        try:
            assert (decode(data[:length], 16) == expected).all()
        except SampleError:
            refusals += 1
    assert refusals >= 5


@pytest.mark.parametrize("name", FILES)
def test_whatever_is_changed_in_a_file_it_is_read_or_refused(name: str) -> None:
    data, draw = FILES[name], random.Random(name)
    reasons = []
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 3))):
            at = draw.randrange(len(changed))
            changed[at : at + draw.randrange(2)] = draw.choice((b"", b"\xff", b"\0", draw.randbytes(3)))
        try:
            assert decode(bytes(changed), 16).shape == (16, 16, 3)
        except SampleError as error:
            reasons.append(str(error))
    assert reasons
    assert all(reason.isprintable() and len(reason) > 12 for reason in reasons)


def test_every_flipped_bit_of_pngs_pixels_is_noticed() -> None:
    data = encoded(smooth(24, 16), "PNG")
    at = data.index(b"IDAT")
    for place in range(at, len(data) - 12):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        refused(bytes(changed), "damaged")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_was_cut_and_closed_again_is_not_half_grey(progressive: bool) -> None:
    data = encoded(smooth(64, 64), progressive=progressive)
    refused(data[: data.rindex(b"\xff\xda") + 60] + b"\xff\xd9", "cut short or garbled")


ERRORS: list[Exception] = [
    *(AssertionError(), RuntimeError("r"), KeyError(3), IndexError("i"), OverflowError("o"), zlib.error("z")),
    *(
        struct.error("s"),
        RecursionError("r"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "u"),
        EOFError(),
        Warning("w"),
    ),
    *(NotImplementedError(), ZeroDivisionError("d"), ValueError("a\nb\0c"), Image.DecompressionBombError("b")),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["_open", "load", "getexif", "convert"])
def test_whatever_a_decoder_raises_is_its_pictures_failure(
    error: Exception, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    data = encoded(smooth(16, 16).convert("P"), "PNG")
    expected = decode(data, 16)
    monkeypatch.setattr(opening.PngImageFile, place, fail)
    if place == "getexif":  # says nothing of the pixels
        assert (decode(data, 16) == expected).all()
        return
    with pytest.raises(SampleError, match=r"^the image (is damaged|has too many)[^\n\0]+$"):
        decode(data, 16)


def test_too_little_memory_may_be_enough_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: object) -> None:
        raise MemoryError

    monkeypatch.setattr(opening.PngImageFile, "load", fail)
    with pytest.raises(SampleError, match="too little memory") as found:
        decode(encoded(smooth(16, 16), "PNG"), 16)
    assert found.value.unreadable


def test_a_user_who_stops_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(image: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(opening.PngImageFile, "load", stop)
    with pytest.raises(KeyboardInterrupt):
        decode(encoded(smooth(16, 16), "PNG"), 16)


def test_an_avif_damaged_anywhere_is_its_own_failure() -> None:
    data = FILES["avif"]
    reasons = set()
    for place in range(0, len(data), 5):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        try:
            decode(bytes(changed), 8)
        except SampleError as error:
            reasons.add(str(error))
    assert len(reasons) > 3
    assert not any("crashed" in reason or "ended" in reason for reason in reasons)


RED_ROWS = [bytes([255, 0, 0] * 8)] * 8
BOMB = zlib.compress(bytes(1 << 20), 9)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"zTXt", b"k\0\0" + BOMB)] * 2000,
        [(b"zTXt", b"\0\0" + BOMB)] * 2000,
        [(b"iCCP", b"k\0\0" + BOMB)] * 2000,
        [(b"iTXt", b"k\0\1\0\0\0" + BOMB)] * 2000,
        [(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\n" * 9))] * 2000,
        [(b"gAMA", b"")],
        [(b"acTL", struct.pack(">II", 2**31 - 1, 0))],
        [(b"eXIf", b"II*\0\xff\xff\xff\xff")],
    ],
    ids=lambda chunks: f"{len(chunks)} {chunks[0][0].decode()}",
)
def test_what_is_beside_the_pixels_of_a_png_costs_nothing(chunks: list[tuple[bytes, bytes]]) -> None:
    assert (decode(png(8, RED_ROWS, 8, 2, chunks), 8) == (255, 0, 0)).all()


def test_what_says_which_side_is_up_is_left_out_if_its_checksum_is_wrong() -> None:
    data = bytearray(png(8, RED_ROWS, 8, 2, [(b"eXIf", bytes(20)), (b"tEXt", b"XML:com.adobe.xmp\0x")]))
    data[data.index(b"eXIf") + 6] ^= 1
    assert (decode(bytes(data), 8) == (255, 0, 0)).all()


def test_more_pixels_than_a_png_declares_are_not_unpacked() -> None:
    data = png(8, RED_ROWS, 8, 2)
    at = data.index(b"IDAT") - 4
    rows = zlib.compress(b"".join(b"\0" + row for row in RED_ROWS) + bytes(2**24))
    assert (decode(data[:at] + chunk(b"IDAT", rows) + chunk(b"IEND", b""), 8) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    "data",
    [
        tiff(60_000, 60_000, (1,), 1, bytes(100)),
        tiff(8, 8, (8,) * 3, 2, bytes(100), tags={322: (LONG, 60_000), 323: (LONG, 60_000), 324: (LONG, 8)}),
        b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\xff\0\xff\xff\0" + bytes(8),
        b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2\x44\1\0;",
        b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2\x44\1\0;",
        b"\xff\x4f\xff\x51" + struct.pack(">HH8IHBBB", 41, 0, *(60_000, 60_000, 0, 0) * 2, 1, 7, 1, 1),
        b"P5 60000 60000 255\n",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        png(60_000, [b""] * 60_000, 1),
    ],
    ids=["tiff", "tile", "webp", "gif", "gif frame", "jp2", "ppm", "bmp", "png"],
)  # fmt: skip
def test_too_many_pixels_are_refused_by_the_header(data: bytes) -> None:
    refused(data, r"pixels, more than the 89478485 allowed|too many pixels")


def test_a_file_of_a_gigabyte_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_BYTES", 100)
    refused(encoded(smooth(16, 16)), "bytes, more than the 100 allowed for an image")


def test_files_without_end_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "device.png", "folder.png"):
        with pytest.raises(SampleError, match="not a file, but a folder, a pipe or a device"):
            read_sample(tmp_path / name)
    with (tmp_path / "holes.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SampleError, match="1099511627776 bytes, more than the 1073741824 allowed"):
        read_sample(tmp_path / "holes.png")


def test_tags_of_a_tiff_that_point_anywhere() -> None:
    for tags in ({273: (LONG, 2**32 - 1)}, {278: (LONG, 0)}, {277: (SHORT, 60_000)}):
        with pytest.raises(SampleError):
            decode(tiff(8, 8, (8,) * 3, 2, bytes(192), tags=tags), 8)


def many_scans(side: int, times: int) -> bytes:
    """A grey progressive JPEG whose last scan is there many times over."""
    data = encoded(Image.new("L", (side, side), 100), progressive=True)
    tables = data.rindex(b"\xff\xc4")
    return data[:-2] + data[tables:-2] * times + data[-2:]


def test_a_jpeg_that_goes_over_its_pixels_for_minutes_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert np.abs(decode(many_scans(32, 100), 8).astype(int) - 100).max() <= 1
    monkeypatch.setattr(guarded, "CPU_SECONDS", 0.3)
    refused(many_scans(2000, 1000), "decoding the image takes longer than 0.3 seconds")
    assert np.abs(decode(many_scans(32, 100), 8).astype(int) - 100).max() <= 1


def test_a_baseline_jpeg_of_many_scans_is_not_decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("RGB", (32, 32), "red"), subsampling=0)
    at = data.rindex(b"\xff\xda")
    scans = b"".join(b"\xff\xda\0\x08\1" + bytes([channel, 0, 0, 63, 0]) + b"\x7f" for channel in (1, 2, 3))
    given: list[bytes] = []
    monkeypatch.setattr(
        "pipeline.datasets.decoding.read_guarded", lambda data: given.append(data) or np.zeros((8, 8, 3))
    )
    decode(data[:at] + scans * 100 + data[-2:], 8, "none", "box")
    assert len(given) == 1
