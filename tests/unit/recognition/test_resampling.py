"""Fewer pixels: every one of the picture's has its say."""

from __future__ import annotations

import numpy as np
import pytest

from countenance.recognition.resampling import resized, shrunk, warped

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("by", [1, 2, 3, 5, 8])
def test_a_block_becomes_its_mean(by: int) -> None:
    pixels = RNG.integers(0, 256, (6 * by + by - 1, 9 * by, 3), dtype=np.uint8)
    blocks = pixels[: 6 * by, : 9 * by].astype(float).reshape(6, by, 9, by, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk(pixels, by), blocks, atol=0.51)


@pytest.mark.parametrize(("width", "height"), [(640, 427), (320, 213), (100, 67), (801, 534)])
def test_fine_structure_becomes_grey_not_noise(width: int, height: int) -> None:
    pixels = np.zeros((1068, 1602, 3), np.uint8)
    pixels[::2, ::2] = 255
    pixels[1::2, 1::2] = 255
    small = resized(pixels, width, height)
    assert small.shape == (height, width, 3)
    # A chequered field has the mean 127.5; sampling one pixel in four would show 0 and 255. Between half and full
    # size bilinear sampling alone is at work, and leaves some of the pattern.
    assert abs(float(small.mean()) - 127.5) < 1.5
    if width <= 801:
        assert small.std() < 40


def test_a_ramp_stays_where_it_was() -> None:
    pixels = np.repeat(np.linspace(0, 250, 1000).astype(np.uint8)[None, :, None], 3, axis=2).repeat(300, axis=0)
    small = resized(pixels, 130, 39)[20, :, 0].astype(float)
    centres = (np.arange(130) + 0.5) * 1000 / 130 - 0.5
    np.testing.assert_allclose(small, centres * 250 / 999, atol=1.5)


def test_a_picture_cut_from_a_larger_array_is_read_where_it_lies() -> None:
    whole = RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    part = whole[51:251, 33:333]
    np.testing.assert_array_equal(shrunk(part, 4), shrunk(np.ascontiguousarray(part), 4))
    np.testing.assert_array_equal(resized(part, 80, 50), resized(np.ascontiguousarray(part), 80, 50))


def test_warping_by_a_shift_cuts_out_and_beyond_the_picture_is_black() -> None:
    pixels = RNG.integers(1, 256, (60, 60, 3), dtype=np.uint8)
    cut = warped(pixels, np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 20.0]]), 56)
    np.testing.assert_array_equal(cut[:40, :50], pixels[20:, 10:])
    assert cut[41:].max() == 0
    assert cut[:, 51:].max() == 0
