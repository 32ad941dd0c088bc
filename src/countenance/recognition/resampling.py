"""Pixels -> fewer pixels, and pixels cut out turned: the only module that calls OpenCV.

Knows arithmetic on arrays; knows no formats and no faces. Every pixel of the picture has its say in a smaller one:
means of whole blocks first, bilinear sampling only for the rest of the way, which is less than half. (Bilinear
sampling alone reads four pixels and skips the others: fine structure turns into noise.) Why OpenCV here and not for
decoding: docs/design/decisions/0002.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def use_calling_thread_only() -> None:
    """Keep OpenCV from starting threads of its own, one for every core: a process-wide setting, made by whoever owns
    the process. What is done here takes less than a millisecond, and the cores are shared out elsewhere."""
    cv2.setNumThreads(1)


def shrunk(pixels: Pixels, by: int) -> Pixels:
    """The mean of every by x by block; what is left over at the right and lower edge is dropped.

    Args:
        pixels: H x W x 3, H and W at least `by`.
        by: 1 or more.
    """
    if by == 1:
        return pixels
    height, width = pixels.shape[0] // by, pixels.shape[1] // by
    whole = pixels[: height * by, : width * by]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """The picture at a smaller size.

    Args:
        pixels: H x W x 3.
        width: at most W.
        height: at most H.
    """
    while pixels.shape[1] >= 2 * width and pixels.shape[0] >= 2 * height:
        pixels = np.asarray(
            cv2.resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), interpolation=cv2.INTER_AREA), np.uint8
        )
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def warped(pixels: Pixels, inverse: NDArray[np.float64], side: int) -> Pixels:
    """A square sampled bilinearly; black where the picture ends.

    Args:
        pixels: H x W x 3.
        inverse: 2 x 3, from positions in the square to positions in `pixels`, pixel centres at whole numbers.
        side: pixels of the square.
    """
    return np.asarray(
        cv2.warpAffine(
            pixels,
            inverse,
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0),
        ),
        np.uint8,
    )
