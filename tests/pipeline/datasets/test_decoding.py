"""Decoding: the same pixels as Pillow, every colour mode, every orientation, every way to be no image."""

import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.datasets import decoding
from pipeline.datasets.decoding import Crop, crop_box, decode
from pipeline.datasets.resizing import RESIZE
from pipeline.errors import SampleError
from pipeline.pictures.colours import ORIENTATION
from pipeline.pictures.opening import open_picture
from tests.pipeline.datasets.samples import encoded, smooth

ORIENTATIONS = range(1, 9)


def by_pillow(data: bytes, size: int, crop: Crop) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    left, top, width, height = crop_box(image.size, crop)
    box = image.crop((left, top, left + width, top + height))
    return np.asarray(box.resize((size, size), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("crop", ["center", "none", (5, 10, 50, 40)])
def test_every_orientation_and_crop_is_what_pillow_gives(kind: str, crop: Crop, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(smooth(80, 64), kind, exif=exif)
    assert (decode(data, 32, crop, "lanczos") == by_pillow(data, 32, crop)).all()


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": "4:2:2"}, {}])
def test_jpegs_are_decoded_to_pillows_bytes(options: dict[str, object]) -> None:
    data = encoded(smooth(50, 50), quality=80, **options)
    assert (decode(data, 50) == np.asarray(Image.open(io.BytesIO(data)))).all()


def test_a_large_jpeg_is_decoded_small_but_looks_the_same() -> None:
    image = smooth(1200, 900)
    data = encoded(image, quality=95)
    assert np.abs(decode(data, 64, "none", "lanczos").astype(int) - by_pillow(data, 64, "none")).max() <= 2
    # the box of a crop is rounded to the smaller image's pixels: a quarter of a delivered pixel
    reference = by_pillow(data, 64, "center")
    assert np.abs(decode(data, 64, "center", "lanczos").astype(int) - reference).max() <= 8
    opened = open_picture(data)
    scale = decoding.needed_scale(opened.size, 64, "center")
    small = decoding.decode_jpeg(data, opened, scale)
    assert small is not None
    assert 128 <= small.shape[0] < 900  # at least twice the target


def test_a_box_of_a_large_jpeg_is_where_it_was_declared() -> None:
    data = encoded(smooth(1200, 900), quality=95)
    box = (700, 100, 400, 400)
    assert np.abs(decode(data, 32, box, "lanczos").astype(int) - by_pillow(data, 32, box)).max() <= 8


@pytest.mark.parametrize("nonsense", [0, 9, 300])
def test_a_nonsensical_orientation_is_upright(nonsense: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = nonsense
    image = smooth(40, 32)
    assert (decode(encoded(image, "PNG", exif=exif), 32) == by_pillow(encoded(image, "PNG"), 32, "center")).all()


def test_letterbox_keeps_four_to_three_between_black_bars() -> None:
    found = decode(encoded(smooth(80, 80), "PNG"), 64, "letterbox")
    assert not found[:8].any()
    assert not found[56:].any()
    assert found[8:56].any(axis=2).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB"])
def test_colour_modes_become_rgb(mode: str) -> None:
    image = smooth(20, 20).convert("RGB")
    grey = image.convert("L")
    converted = grey if mode in ("L", "1") else image
    data = encoded(converted.convert(mode), "PNG" if mode in ("1", "L", "P", "RGB") else "TIFF")
    found = decode(data, 20).astype(int)
    expected = np.asarray(converted.convert("RGB")).astype(int)
    assert found.shape == (20, 20, 3)
    if mode != "1":
        assert np.abs(found - expected).mean() < 20  # a palette of 216 colours is the coarsest


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    half = Image.new("RGBA", (16, 16), (255, 0, 0, 128))
    assert (decode(encoded(clear, "PNG"), 16) == 255).all()
    assert (decode(encoded(half, "PNG"), 16) == (255, 127, 127)).all()
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([0, 0, 0] * 256)
    assert (decode(encoded(palette, "PNG", transparency=0), 16) == 255).all()


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found = decode(encoded(Image.fromarray(ramp), "PNG"), 16)
    assert np.abs(found[:, :, 0].astype(int) - ramp / 257).max() <= 0.5
    assert (found[:, :, 0] == found[:, :, 2]).all()


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(data, 16) == (255, 0, 0)).all()


JPEG = encoded(smooth(64, 64))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"this is text", "not an image"),
        (JPEG[: len(JPEG) // 2], "damaged: its data is cut short"),
        (JPEG[:3], "damaged or of a rare kind: its header declares no pixels"),
        (encoded(smooth(64, 64), "PNG")[:200], "damaged"),
        (encoded(Image.new("F", (8, 8)), "TIFF"), "float pixels have no declared range"),
        (encoded(Image.new("I", (8, 8), 70_000), "TIFF"), "integer pixels have no declared range"),
    ],
)
def test_what_is_no_image_has_a_reason(data: bytes, words: str) -> None:
    with pytest.raises(SampleError, match=words):
        decode(data, 16)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    for side in (10_000, 20_000):
        data = encoded(Image.new("1", (side, side)), "PNG")
        with pytest.raises(SampleError, match="89478485"):
            decode(data, 16)


def test_a_crop_that_does_not_fit_is_a_reason() -> None:
    with pytest.raises(SampleError, match=r"64x64 pixels, too few for the crop \[40, 0, 30, 30\]"):
        decode(JPEG, 16, (40, 0, 30, 30))


@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(16, 16), (30, 10), (90, 90)])
def test_fast_filters_are_pillows(name: str, size: tuple[int, int]) -> None:
    pixels = np.asarray(smooth(64, 48))
    expected = np.asarray(smooth(64, 48).resize(size, Image.Resampling[name.upper()]))
    found = RESIZE[name](pixels, size)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_the_pixels_do_not_depend_on_vector_instructions() -> None:
    script = (
        "import hashlib, numpy as np; from pipeline.datasets.resizing import RESIZE;"
        "a = np.random.default_rng(0).integers(0, 255, (90, 70, 3)).astype(np.uint8);"
        "print(hashlib.sha256(b''.join(RESIZE[n](a, s).tobytes() for n in RESIZE"
        " for s in ((32, 32), (200, 64)))).hexdigest())"
    )
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    plain = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    pixels = np.random.default_rng(0).integers(0, 255, (90, 70, 3)).astype(np.uint8)
    here = b"".join(RESIZE[name](pixels, size).tobytes() for name in RESIZE for size in ((32, 32), (200, 64)))
    assert plain.stdout.strip() == hashlib.sha256(here).hexdigest()
