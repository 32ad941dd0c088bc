"""Bytes -> upright pixels: what is accepted, what is refused before it costs anything, what it looks like."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from countenance.recognition import image
from countenance.recognition.faults import ImageTooLarge, ImageTooSmall, ImageUnreadable
from countenance.recognition.image import STRICT_FORMATS, Limits, Picture, read

LIMITS = Limits(max_bytes=5_000_000, max_pixels=20_000_000)
STRICT = Limits(max_bytes=5_000_000, max_pixels=20_000_000, formats=STRICT_FORMATS)


def scene(width: int = 120, height: int = 90) -> Image.Image:
    """Red, green, blue and yellow quarters: every orientation of it is different."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (220, 20, 20)
    pixels[: height // 2, width // 2 :] = (20, 200, 20)
    pixels[height // 2 :, : width // 2] = (20, 20, 220)
    pixels[height // 2 :, width // 2 :] = (230, 220, 20)
    return Image.fromarray(pixels)


def encoded(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def decoded(data: bytes, limits: Limits = LIMITS, long_side: int = 960) -> Picture:
    return read(data, limits, long_side=long_side)


def close_to(pixels: np.ndarray, expected: Image.Image, tolerance: float = 6) -> bool:
    wanted = np.asarray(expected.convert("RGB")).astype(int)
    return pixels.shape == wanted.shape and float(np.abs(pixels.astype(int) - wanted).mean()) < tolerance


HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAAMUAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoDCBRZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xy"
    "bmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABgAAAAUAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAAM1t"
    "ZGF0AAAAwSgBrwng40ecuq///pk///5Fu5D+MLGkglP/7QKh38kJn/95mBrFkyTv9B1+Pyvs5xXwF/tHLKRnihxgBTjKiFZDypGB"
    "ILZQ0c2AA7fFM7+TWlK1ge3nc1r4azm6A50qae1JavrA98L5fgfg/CH6f3lj88pu1vcpQnqUXKj/+Rv3E+mNWPNFPeXPwuJXoMrr"
    "C5PRfDVdWRNOTchxAkEkklEzElNitivIRc4nlOlrYsoPHX2a9sMFsPYstVdcBRhKtxA="
)
"""96 x 80: the left half red, the right half blue. Drawn for this test; no library here can write HEIC."""


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that announces any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 100)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_announcing(width: int, height: int) -> bytes:
    """A real JPEG whose frame header is overwritten."""
    data = bytearray(encoded(scene()))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_accepted_formats_are_decoded(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    picture = decoded(encoded(scene(), kind))
    assert (picture.format, picture.width, picture.height) == (kind, 120, 90)
    assert close_to(picture.pixels, scene())


def test_only_jpeg_and_png_pass_the_strict_mode() -> None:
    for kind in STRICT_FORMATS:
        assert decoded(encoded(scene(), kind), STRICT).format == kind
    for kind in ("WEBP", "GIF", "BMP", "TIFF"):
        with pytest.raises(ImageUnreadable, match="accepted format"):
            decoded(encoded(scene(), kind), STRICT)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ImageUnreadable, match="accepted format"):
        decoded(encoded(scene(), kind))


def test_heif_brands_are_told_from_avif() -> None:
    def box(brand: bytes, *compatible: bytes) -> bytes:
        body = b"ftyp" + brand + b"\0\0\0\0" + b"".join(compatible)
        return struct.pack(">I", len(body) + 4) + body

    assert image.sniff(box(b"heic")) == "HEIF"
    assert image.sniff(box(b"mif1", b"mif1", b"heic")) == "HEIF"
    assert image.sniff(box(b"mif1", b"mif1", b"avif")) == "AVIF"
    assert image.sniff(box(b"isom")) is None


def test_heic_is_decoded_unless_formats_are_strict() -> None:
    picture = decoded(HEIC)
    assert (picture.format, picture.width, picture.height) == ("HEIF", 96, 80)
    expected = Image.new("RGB", (96, 80), (220, 20, 20))
    expected.paste((20, 20, 220), (48, 0, 96, 80))
    assert close_to(picture.pixels, expected, 8)
    with pytest.raises(ImageTooLarge, match="pixels"):
        decoded(HEIC, Limits(max_bytes=10**6, max_pixels=96 * 80 - 1))
    with pytest.raises(ImageUnreadable, match="accepted format"):
        decoded(HEIC, STRICT)


def test_a_heif_without_a_picture_is_unreadable() -> None:
    with pytest.raises(ImageUnreadable):
        decoded(struct.pack(">I", 16) + b"ftypheic\0\0\0\0" + b"\0" * 200)


@pytest.mark.parametrize("data", [b"", b"\xff", b"hello", b"\0" * 4096, b"RIFF\x04\0\0\0WEBP", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_unreadable(data: bytes) -> None:
    with pytest.raises(ImageUnreadable):
        decoded(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_broken_off_file_is_unreadable(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ImageUnreadable):
        decoded(data[: int(len(data) * share)])


def test_too_many_bytes_are_refused() -> None:
    data = encoded(scene())
    assert decoded(data, Limits(max_bytes=len(data), max_pixels=10**6)).width == 120
    with pytest.raises(ImageTooLarge, match="bytes"):
        decoded(data, Limits(max_bytes=len(data) - 1, max_pixels=10**6))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_too_many_pixels_are_refused(kind: str) -> None:
    data = encoded(scene(), kind)
    assert decoded(data, Limits(max_bytes=10**6, max_pixels=120 * 90)).width == 120
    with pytest.raises(ImageTooLarge, match="pixels"):
        decoded(data, Limits(max_bytes=10**6, max_pixels=120 * 90 - 1))


def test_bombs_are_refused_by_their_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_given: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(image, "_pixels", never)
    for bomb in (png_with_header(60_000, 60_000), jpeg_announcing(65_000, 65_000)):
        with pytest.raises(ImageTooLarge, match="pixels"):
            decoded(bomb)


def test_a_png_that_promises_more_than_it_holds_is_unreadable() -> None:
    with pytest.raises(ImageUnreadable):
        decoded(png_with_header(1000, 1000))


def test_a_jpeg_that_promises_more_than_it_holds_is_filled_the_same_way_every_time() -> None:
    # libjpeg, as every viewer, goes on with the last value where the coded data end; the limits hold all the same.
    data = jpeg_announcing(1200, 900)
    first, second = decoded(data), decoded(data)
    assert first.pixels.shape == (900, 1200, 3)
    np.testing.assert_array_equal(first.pixels, second.pixels)


def test_long_strips_are_refused() -> None:
    assert decoded(encoded(Image.new("RGB", (4000, 80)), "PNG")).width == 4000
    for size in ((4001, 80), (80, 4001)):
        with pytest.raises(ImageTooLarge, match="50 to 1"):
            decoded(encoded(Image.new("RGB", size), "PNG"))


def test_eighty_pixels_are_the_least() -> None:
    assert decoded(encoded(scene(80, 80))).width == 80
    for size in ((79, 200), (200, 79)):
        with pytest.raises(ImageTooSmall, match="80"):
            decoded(encoded(scene(*size)))


def test_compressed_text_and_profiles_of_a_png_are_not_inflated() -> None:
    whole = encoded(scene(), "PNG")
    bomb = zlib.compress(b"\0" * 50_000_000, 9)
    chunks = png_chunk(b"zTXt", b"Comment\0\0" + bomb) + png_chunk(b"iCCP", b"profile\0\0" + bomb)
    data = whole[:33] + chunks + whole[33:]
    bare = image._bare_png(data)
    assert b"zTXt" not in bare
    assert b"iCCP" not in bare
    assert close_to(decoded(data).pixels, scene())


def test_a_jpeg_of_too_many_scans_is_refused() -> None:
    data = encoded(scene())
    scan = data.index(b"\xff\xda")
    many = data[:scan] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * (image.MAXIMUM_SCANS + 1) + data[scan:]
    with pytest.raises(ImageUnreadable, match="scans"):
        decoded(many)


TURNED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera stores the upright scene when it writes this orientation: the inverse of what mends it."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_as_its_exif_says(orientation: int) -> None:
    turn = TURNED[orientation]
    stored = scene() if turn is None else scene().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decoded(encoded(stored, quality=95, exif=exif))
    assert (picture.width, picture.height) == (120, 90)
    assert close_to(picture.pixels, scene())


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_unknown_orientation_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert close_to(decoded(encoded(scene(), exif=exif)).pixels, scene())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_does_not_spoil_the_picture() -> None:
    data = encoded(scene(), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert close_to(decoded(data).pixels, scene())


def test_a_png_is_not_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decoded(encoded(scene(), "PNG", exif=exif))
    assert (picture.width, picture.height) == (120, 90)
    assert close_to(picture.pixels, scene(), 0.1)


def test_every_colour_mode_becomes_red_green_blue() -> None:
    grey = scene().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert close_to(decoded(encoded(grey)).pixels, grey)
    assert close_to(decoded(encoded(grey, "PNG")).pixels, grey, 0.1)
    assert close_to(decoded(encoded(deep, "PNG")).pixels, grey, 1)
    assert close_to(decoded(encoded(grey.convert("1"), "PNG")).pixels, grey.convert("1"), 0.1)
    assert close_to(decoded(encoded(scene().quantize(16), "PNG")).pixels, scene(), 3)
    assert close_to(decoded(encoded(scene().convert("CMYK"))).pixels, scene(), 8)


def test_transparency_is_shown_on_white() -> None:
    clear = scene().convert("RGBA")
    clear.putalpha(0)
    assert decoded(encoded(clear, "PNG")).pixels.min() == 255
    half = Image.new("RGBA", (100, 100), (0, 0, 0, 128))
    assert abs(int(decoded(encoded(half, "PNG")).pixels[50, 50, 0]) - 127) <= 1
    keyed = Image.new("L", (100, 100), 7)
    assert decoded(encoded(keyed, "PNG", transparency=7)).pixels.min() == 255


def test_text_of_a_png_is_ignored() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "hello", zip=True)
    assert close_to(decoded(encoded(scene(), "PNG", pnginfo=info)).pixels, scene(), 0.1)


@pytest.mark.parametrize(
    ("size", "denominator"),
    [((959, 600), 1), ((1919, 1080), 1), ((1920, 1080), 2), ((1080, 1920), 2), ((3840, 2160), 4), ((4000, 4999), 4)],
)
def test_a_large_jpeg_is_decoded_scaled_down(size: tuple[int, int], denominator: int) -> None:
    picture = decoded(encoded(scene(*size), quality=60))
    assert picture.denominator == denominator
    assert (picture.width, picture.height) == size
    assert picture.pixels.shape[:2] == (-(-size[1] // denominator), -(-size[0] // denominator))


def test_a_scaled_picture_is_the_whole_one_shrunk_and_can_be_had_larger() -> None:
    whole = scene(2000, 1504)
    picture = decoded(encoded(whole, quality=92))
    assert picture.denominator == 2
    assert close_to(picture.pixels, whole.resize((1000, 752), Image.Resampling.BOX))
    again = picture.at_scale(1)
    assert again.pixels.shape == (1504, 2000, 3)
    assert close_to(again.pixels, whole)
    assert picture.at_scale(2) is picture


def test_a_scaled_and_turned_picture_keeps_its_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decoded(encoded(scene(2000, 1200).transpose(Image.Transpose.ROTATE_90), exif=exif))
    assert (picture.width, picture.height, picture.denominator) == (2000, 1200, 2)
    assert close_to(picture.pixels, scene(1000, 600))
