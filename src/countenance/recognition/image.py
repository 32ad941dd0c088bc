"""Bytes -> upright R G B pixels, without trusting the bytes.

Knows file formats and decoders; knows no faces. The order is what protects the server: length, magic bytes,
dimensions out of the header, and only then a decoder, restricted to the one format that the magic bytes named.

A large picture is taken at 1/2, 1/4 or 1/8 where that still leaves enough pixels to find faces in (a JPEG by the
scaled inverse DCT of libjpeg, others by averaging once decoded); `Picture.at_scale` decodes it again, larger, for a
small face that needs its own pixels.

Formats and limits of the AWS mode: Amazon Rekognition Developer Guide, "Guidelines and quotas" (JPEG and PNG, at
least 80 pixels on both sides) and "Getting image orientation" (EXIF orientation of JPEG is applied, PNG is not
rotated).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import numpy as np
import pi_heif
from numpy.typing import NDArray
from PIL import Image

from countenance.recognition.faults import ImageTooLarge, ImageTooSmall, ImageUnreadable, RecognitionError

T = TypeVar("T")
Pixels = NDArray[np.uint8]

pi_heif.register_heif_opener()

# Our own limit is checked on the header, before any decoder allocates; Pillow's global one would only get in the
# way of an operator who raises ours.
Image.MAX_IMAGE_PIXELS = None

# Pillow warns of broken EXIF on stderr, with a path of this installation, once per picture a client sends.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

MINIMUM_SIDE: Final = 80
MAXIMUM_ASPECT: Final = 50
"""Longer than any panorama; beyond it a face is narrower than the detector sees once the strip is scaled down."""
MAXIMUM_SCANS: Final = 200
"""Scans of a progressive JPEG. Encoders write about ten; each one costs a pass over all coefficients."""

_ORIENTATION_TAG: Final = 0x0112
_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, table 4, tag Orientation: the value and what turns the picture upright."""

_PNG_CHUNKS: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""What decoding the first picture needs. The rest (text, profiles, animation) is where PNG bombs hide."""

STRICT_FORMATS: Final = ("JPEG", "PNG")
ALL_FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")


_FILL: Final = b"\xff" * 65536
"""Longer than any segment of a JPEG (ITU-T T.81, B.1.1.4: two bytes of length), so a run like this is fill bytes
between segments, which Pillow skips one at a time: five million of them took it 2.7 s."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is accepted."""

    max_bytes: int
    max_pixels: int
    formats: tuple[str, ...] = ALL_FORMATS


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    `pixels` is upright and may be smaller than the picture by `denominator`; `width` and `height` are those of
    the whole upright picture.
    """

    format: str
    width: int
    height: int
    denominator: int
    pixels: Pixels = field(repr=False)
    data: bytes = field(repr=False)

    def at_scale(self, denominator: int) -> Picture:
        """The same picture decoded at 1/denominator (1, 2, 4 or 8)."""
        if denominator == self.denominator:
            return self
        pixels = _guarded(lambda: _decode(self.format, self.data, denominator))
        return replace(self, denominator=denominator, pixels=pixels)


def read(data: bytes, limits: Limits, *, long_side: int) -> Picture:
    """Decode a picture for finding faces.

    Args:
        data: the file as received.
        limits: what is accepted.
        long_side: pixels that the longer side must keep when a large picture is scaled down: by the decoder
            itself for JPEG, right after it otherwise, so that nothing later works on more pixels than it needs.

    Raises:
        ImageTooLarge: more bytes, more pixels or a longer strip than accepted.
        ImageTooSmall: a side under 80 pixels.
        ImageUnreadable: not an accepted format, broken off, or contradicting itself.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"The image has {len(data)} bytes; at most {limits.max_bytes} are accepted.")
    name = sniff(data)
    if name is None or name not in limits.formats:
        accepted = ", ".join(limits.formats)
        raise ImageUnreadable(f"The image is not in an accepted format ({accepted}).")
    if name == "JPEG" and _FILL in data:
        raise ImageUnreadable("The JPEG is filled up with padding.")
    announced = _announced_size(name, data)
    if announced is not None:
        _check(*announced, limits)
    picture, orientation = _guarded(lambda: _open(name, data))
    width, height = picture.size
    _check(width, height, limits)
    if name == "JPEG" and _scans(data) > MAXIMUM_SCANS:
        raise ImageUnreadable(f"The JPEG has more than {MAXIMUM_SCANS} scans.")
    if orientation >= 5:
        width, height = height, width
    denominator = 1
    while denominator < 8 and max(width, height) // (denominator * 2) >= long_side:
        denominator *= 2
    pixels = _guarded(lambda: _scaled_pixels(picture, orientation, denominator))
    return Picture(name, width, height, denominator, pixels, data)


def sniff(data: bytes) -> str | None:
    """The format that the first bytes announce, or None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        # ISO/IEC 14496-12: size, "ftyp", major brand, minor version, compatible brands.
        size = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
            return "HEIF"
    return None


def _check(width: int, height: int, limits: Limits) -> None:
    if min(width, height) < MINIMUM_SIDE:
        raise ImageTooSmall(f"The image is {width} x {height} pixels; both sides need {MINIMUM_SIDE} at least.")
    if width * height > limits.max_pixels:
        raise ImageTooLarge(f"The image is {width} x {height} pixels; at most {limits.max_pixels} pixels are accepted.")
    if max(width, height) > MAXIMUM_ASPECT * min(width, height):
        raise ImageTooLarge(f"The image is {width} x {height} pixels: more than {MAXIMUM_ASPECT} to 1.")


def _open(name: str, data: bytes) -> tuple[Image.Image, int]:
    """The lazily opened picture and the orientation that its file asks for."""
    if name == "PNG":
        return Image.open(io.BytesIO(_bare_png(data)), formats=["PNG"]), 1
    picture = Image.open(io.BytesIO(data), formats=[name])
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - a broken EXIF block says nothing about the picture itself
        orientation = 1
    return picture, orientation if orientation in _TRANSPOSE else 1


def _pixels(picture: Image.Image, orientation: int, shrink: int) -> Pixels:
    """Upright R G B pixels, each the mean of shrink x shrink of the picture's."""
    if shrink > 1 and picture.mode in ("L", "RGB", "CMYK", "YCbCr"):
        picture, shrink = picture.reduce(shrink), 1
    if picture.mode.startswith("I"):
        # 16 bits of grey: keep the upper eight, as libpng does for colour; Pillow's own conversion clips.
        picture.load()
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        # What lies under full transparency is arbitrary; viewers show it on white.
        seen = picture.convert("RGBA")
        picture = Image.new("RGB", seen.size, "white")
        picture.paste(seen, mask=seen.getchannel("A"))
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    if shrink > 1:
        picture = picture.reduce(shrink)
    if orientation in _TRANSPOSE:
        picture = picture.transpose(_TRANSPOSE[orientation])
    return np.asarray(picture)


def _decode(name: str, data: bytes, denominator: int) -> Pixels:
    picture, orientation = _open(name, data)
    return _scaled_pixels(picture, orientation, denominator)


def _scaled_pixels(picture: Image.Image, orientation: int, denominator: int) -> Pixels:
    if denominator > 1 and picture.format == "JPEG":
        width, height = picture.size
        # Pillow takes the smallest of libjpeg's scales that is not below the size asked for.
        picture.draft("RGB", (max(1, width // denominator), max(1, height // denominator)))
        denominator = 1
    return _pixels(picture, orientation, denominator)


def _guarded(work: Callable[[], T]) -> T:
    """Run a decoder on bytes that may be hostile: whatever it trips over, the picture is unreadable."""
    try:
        return work()
    except (RecognitionError, MemoryError):
        raise
    except Exception as error:  # decoders raise a dozen kinds, from struct.error to RuntimeError
        raise ImageUnreadable("The image cannot be decoded: it is damaged or incomplete.") from error


def _scans(data: bytes) -> int:
    """How often a JPEG starts a scan (ITU-T T.81, table B.1: FF DA). Four times as fast as `data.count`."""
    values = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero(values[np.flatnonzero(values[:-1] == 0xFF) + 1] == 0xDA))


def _announced_size(name: str, data: bytes) -> tuple[int, int] | None:
    """Width and height straight from the header where opening the file already costs memory by its size."""
    if name == "PNG":
        if data[12:16] != b"IHDR" or len(data) < 33:
            raise ImageUnreadable("The PNG does not begin with its header.")
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if name == "WEBP":
        # https://developers.google.com/speed/webp/docs/riff_container
        kind, body = data[12:16], data[20:30]
        if len(body) < 10:
            raise ImageUnreadable("The WebP breaks off in its header.")
        if kind == b"VP8X":
            return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
        if kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


def _bare_png(data: bytes) -> bytes:
    """The file reduced to the chunks that its first picture consists of (PNG, third edition, section 5)."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        kind = data[at + 4 : at + 8]
        if kind in _PNG_CHUNKS:
            parts.append(data[at:end])
        if kind == b"IEND":
            return b"".join(parts)
        at = end
    raise ImageUnreadable("The PNG breaks off before its end.")
