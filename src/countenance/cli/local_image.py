"""An image file on this machine, on its way into a request.

Knows which files are images, how many bytes a request may carry, and how to make a smaller copy when asked to.
Source of the limit: `ImageBlob` of the Rekognition service model (5,242,880 bytes). Orientation follows the
Rekognition developer guide, "Getting image orientation": EXIF counts, except in PNG.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Final

import pi_heif
from PIL import Image, ImageOps

from countenance.errors import Error

MAX_IMAGE_BYTES: Final = 5_242_880

FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")
"""What the server accepts when `strict_formats` is off; whether it is on, only the server knows."""

SHRINK_SIDES_PX: Final = (4096, 3072, 2048, 1536, 1024)
"""Longest sides to try in turn: as large as fits, since small faces are lost first."""

SHRINK_QUALITY: Final = 92
"""libjpeg quality at which a copy's features are those of the original for all practical purposes."""

pi_heif.register_heif_opener()


class LocalImageError(Error):
    """The file is no image, or cannot be sent as it is."""


def read_image(path: Path, *, shrink: bool) -> bytes:
    """The bytes to send for a file.

    Args:
        path: the file.
        shrink: when it is too large, send a smaller upright JPEG copy of it instead of refusing.

    Raises:
        LocalImageError: not an image, or too large and `shrink` is off.
        OSError: the file cannot be read.
    """
    if not path.is_file():
        raise LocalImageError(f"{path} is not a file")
    size = path.stat().st_size
    data = path.read_bytes() if size <= MAX_IMAGE_BYTES or shrink else b""
    _require_image(path)
    if size > MAX_IMAGE_BYTES and not shrink:
        raise _too_large(path, size)
    return fitted(path, data, shrink=shrink)


def fitted(name: Path | str, data: bytes, *, shrink: bool) -> bytes:
    """The bytes to send for an image that was read already. Raises LocalImageError."""
    if len(data) <= MAX_IMAGE_BYTES:
        return data
    if not shrink:
        raise _too_large(name, len(data))
    return _smaller(name, data)


def _too_large(name: Path | str, size: int) -> LocalImageError:
    return LocalImageError(
        f"{name} has {size / 1e6:.1f} MB; a request carries images of at most {MAX_IMAGE_BYTES / 1e6:.1f} MB",
        hint="--shrink sends a smaller copy of it",
    )


def upright(data: bytes, *, most_pixels: int | None = None) -> Image.Image:
    """The picture as the server sees it: turned as its EXIF block says, in RGB.

    Args:
        most_pixels: one with more is not decoded, which takes memory by the pixel; None: the picture is the user's own.

    Raises:
        LocalImageError: it cannot be decoded, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            # The picture is the user's own; the size at which Pillow starts to worry is not a reason to stop.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            if most_pixels is not None and picture.width * picture.height > most_pixels:
                raise LocalImageError(f"the image has {picture.width} x {picture.height} pixels")
            turned = picture if picture.format == "PNG" else ImageOps.exif_transpose(picture)
            return turned.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LocalImageError(f"the image cannot be decoded ({type(error).__name__})") from None


def _require_image(path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.open(path, formats=FORMATS).close()
    except Image.DecompressionBombError:
        raise LocalImageError(f"{path} has more pixels than can be handled") from None
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise LocalImageError(f"{path} is not an image", hint="JPEG, PNG, WebP, AVIF and HEIC are") from None


def _smaller(path: Path | str, data: bytes) -> bytes:
    picture = upright(data)
    for side in SHRINK_SIDES_PX:
        copy = picture
        if max(picture.size) > side:
            copy = picture.copy()
            copy.thumbnail((side, side), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        copy.save(out, "JPEG", quality=SHRINK_QUALITY)
        if out.tell() <= MAX_IMAGE_BYTES:
            return out.getvalue()
    raise LocalImageError(f"{path} cannot be made small enough")
