"""Pixels go to floats and back unharmed."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipeline.images import encode_png, encode_small, grid, psnr, shrunk, to_float, to_uint8

PIXELS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.just(3)))


@given(PIXELS)
def test_floats_and_back(pixels: np.ndarray) -> None:
    floats = to_float(pixels)
    assert floats.min() >= -1
    assert floats.max() <= 1
    np.testing.assert_array_equal(to_uint8(floats), pixels)


@given(PIXELS)
def test_png_is_lossless_and_deterministic(pixels: np.ndarray) -> None:
    data = encode_png(pixels[0])
    assert data == encode_png(pixels[0].copy())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels[0])


def test_out_of_range_is_clipped() -> None:
    assert to_uint8(torch.tensor([-9.0, 9.0, 0.0]).reshape(1, 3, 1, 1)).ravel().tolist() == [0, 255, 128]


def test_psnr_of_a_known_error() -> None:
    target = torch.zeros(1, 3, 4, 4)
    assert psnr(target + 0.2, target).item() == pytest.approx(10 * np.log10(4 / 0.04), rel=1e-5)


def test_grid_places_images_in_rows() -> None:
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 2, 2, 3), np.uint8)
    sheet = grid(images, columns=2, gap=1)
    assert sheet.shape == (5, 5, 3)
    assert (sheet[0, 0, 0], sheet[0, 3, 0], sheet[3, 0, 0], sheet[3, 3, 0], sheet[2, 0, 0]) == (0, 1, 2, 255, 255)


def test_thumbnails_average_and_leave_small_images_alone() -> None:
    pixels = np.arange(8 * 4 * 3, dtype=np.uint8).reshape(8, 4, 3)
    assert shrunk(pixels, 8) is pixels
    small = shrunk(pixels, 4)
    assert small.shape == (4, 2, 3)
    expected = pixels.reshape(4, 2, 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).max() <= 1


def test_pictures_to_look_at_are_exact_where_they_are_small() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    kind, data = encode_small(noise)
    assert kind == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), noise)
    smooth = np.broadcast_to(np.arange(128, dtype=np.uint8)[:, None, None], (128, 128, 3))
    kind, data = encode_small(np.ascontiguousarray(smooth))
    assert kind == "image/jpeg"
    assert np.abs(np.asarray(Image.open(io.BytesIO(data))).astype(int) - smooth).max() <= 4
