"""Pictures made to hurt a decoder, from a seed. Knows file formats; knows no request.

`sane(picture)` writes one picture in every format the server reads, `damaged` breaks such a file somewhere, and
`BOMBS` are small files that announce or unpack to something enormous. A bomb names the answers it may get.

Sources of the layouts: ITU-T T.81 (JPEG), PNG third edition, TIFF 6.0 and EXIF 2.32, the WebP container
specification, ISO/IEC 14496-12 and 23008-12 (AVIF, HEIC), GIF89a, the PSD file format.
"""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

UNREADABLE = frozenset({"InvalidImageFormatException"})
TOO_LARGE = frozenset({"ImageTooLargeException"})
TOO_SMALL = frozenset({"InvalidParameterException"})
READABLE = frozenset({"OK"})

HEIC_96 = base64.b85decode(
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<00042ZDn*}000000000XXk=`10000000000aA{+700000000000000000000B57=IV*mgE07O6l"
    "0RRC200001dH?|c0000000372001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn01j|zbZr0t000010002iX>f9I0002DX>en20001Z"
    "Xm(>m0RwOV0058x000009`FGC{rLC*01pFT0096PKmiN^|NjGU00093kN^M!000939=ZZRVE_RDD?$MQ18@KU0|1Z!00RI30{|YNFoA`Z>PacC"
    "ZUPz%2mk;B0LTCU0{{p>VgLaE2SfqEa<C#m0000JV{dG7ZewhC0096E00w{n000zeb8uw<00000003YB003YB000nhX?SS>000032nYxO000+h"
    "aBX1#00000000310R({p0|Wp70AFonVRQfh08=OduM1%M$qLUCuSZZ@noFxp#wEXX?cFF!r!Me)qFaK#k?8odO>$7*4OwT2czQN0Wfzq{e#9Ri"
    "M?!l4PN94J{plp51J0q<j}_%c`wMn(Rs"
)
"""A computed colour ramp of 96 x 96 pixels; no Python library in reach writes HEIC without GPL parts."""


@dataclass(frozen=True, slots=True)
class Bomb:
    """One hostile file and the answers that are right for it."""

    name: str
    data: bytes
    codes: frozenset[str]


def noise(seed: int, width: int = 160, height: int = 128) -> Image.Image:
    """A picture without a face in which every block differs."""
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = np.dstack([columns % 256, rows % 256, (columns + rows) % 256]).astype(np.int16)
    speckle = np.random.default_rng(seed).integers(-40, 40, ramp.shape, dtype=np.int16)
    return Image.fromarray((ramp + speckle).clip(0, 255).astype(np.uint8))


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def sane(picture: Image.Image) -> dict[str, bytes]:
    """The picture in every accepted format and in the modes decoders trip over; all of them can be read."""
    grey = picture.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [picture, picture.rotate(90).resize(picture.size)]
    return {
        "jpeg": _saved(picture, "JPEG", quality=85),
        "jpeg-progressive": _saved(picture, "JPEG", progressive=True),
        "jpeg-cmyk": _saved(picture.convert("CMYK"), "JPEG"),
        "jpeg-grey": _saved(grey, "JPEG"),
        "jpeg-turned": _saved(picture, "JPEG", exif=exif),
        "jpeg-restarts": _saved(picture, "JPEG", restart_marker_rows=1),
        "png": _saved(picture, "PNG"),
        "png-16": _saved(deep, "PNG"),
        "png-palette": _saved(picture.quantize(16), "PNG", transparency=3),
        "png-alpha": _saved(picture.convert("RGBA"), "PNG"),
        "png-1": _saved(picture.convert("1"), "PNG"),
        "png-animated": _saved(picture, "PNG", save_all=True, append_images=frames[1:]),
        "webp": _saved(picture, "WEBP", quality=80),
        "webp-lossless": _saved(picture, "WEBP", lossless=True),
        "webp-animated": _saved(picture, "WEBP", save_all=True, append_images=frames[1:]),
        "avif": _saved(picture, "AVIF", quality=60, speed=10),
        "avif-sequence": _saved(picture, "AVIF", save_all=True, append_images=frames[1:], speed=10),
        "heic": HEIC_96,
    }


INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff", b"\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")
"""Values at the edges of integer types, which lengths and offsets inside a file are made of."""


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _flip(rng: random.Random, data: bytes) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16, 64))):
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    return bytes(broken)


def _flip_head(rng: random.Random, data: bytes) -> bytes:
    head = min(len(data), 400)
    return _flip(rng, data[:head]) + data[head:]


def _write_edge(rng: random.Random, data: bytes) -> bytes:
    value, at = rng.choice(INTERESTING), rng.randrange(min(len(data), 600))
    return data[:at] + value + data[at + len(value) :]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, 300))
    return data[:end] + data[start:end] * rng.choice((1, 2, 50)) + data[end:]


def _drop(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 300) :]


def _pad(rng: random.Random, data: bytes) -> bytes:
    return data + rng.randbytes(rng.choice((1, 100, 5000)))


DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut,
    _flip,
    _flip_head,
    _write_edge,
    _repeat,
    _drop,
    _pad,
)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The file broken in one to three ways."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(DAMAGES)(rng, data) or b"\x00"
    return data


# -- bombs


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _zeros(count: int) -> bytes:
    """`count` zero bytes, deflated: about a thousandth of them."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [packer.compress(block[: min(1 << 20, count - at)]) for at in range(0, count, 1 << 20)]
    return b"".join(parts) + packer.flush()


def _jpeg_with(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _resized(jpeg: bytes, width: int, height: int) -> bytes:
    """The same scan under a frame header that lies about its size."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def _exif(tiff: bytes) -> bytes:
    return _segment(0xE1, b"Exif\0\0" + tiff)


def _entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def _ifd(*entries: bytes, follows: int = 0) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", follows)


def _tiff(ifd: bytes) -> bytes:
    return b"II*\0\x08\0\0\0" + ifd


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def _announcing(isobmff: bytes, width: int, height: int) -> bytes:
    """An AVIF or HEIC whose `ispe` property lies about the size."""
    at = isobmff.index(b"ispe") + 8
    return isobmff[:at] + struct.pack(">II", width, height) + isobmff[at + 8 :]


def _webp_canvas(width: int, height: int, body: bytes) -> bytes:
    header = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + (width - 1).to_bytes(3, "little")
    whole = b"WEBP" + header + (height - 1).to_bytes(3, "little") + body
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


@cache
def bombs() -> tuple[Bomb, ...]:
    """Every bomb. Building them takes about a second, so it is done once a run."""
    picture = noise(1)
    files = sane(picture)
    jpeg, png = files["jpeg"], files["png"]
    progressive = files["jpeg-progressive"]
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    whole_scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    idat = _chunk(b"IDAT", zlib.compress(bytes(128 * (1 + 160 * 3))))
    big = _zeros(200 << 20)
    many_frames = [picture.resize((80, 80)).rotate(turn) for turn in range(0, 360, 6)]
    loop = _tiff(_ifd(_entry(0x0112, 3, 1, 6), _entry(0x8769, 4, 1, 8), follows=8))
    huge_count = _tiff(_ifd(_entry(0x0112, 3, 0xFFFFFFFF, 8), _entry(0x010E, 2, 0xFFFFFFF0, 8)))
    crowded = _tiff(_ifd(*[_entry(0x0112, 3, 1, 1)] * 5000))
    text_orientation = _tiff(_ifd(_entry(0x0112, 2, 4, 0x41414141)))
    absent = frozenset({"InvalidImageFormatException", "InvalidParameterException", "ImageTooLargeException"})
    either = UNREADABLE | READABLE
    return (
        Bomb("png-100k", _png(100_000, 100_000, _chunk(b"IDAT", big)), TOO_LARGE),
        Bomb("png-2g", _png(0x7FFFFFFF, 0x7FFFFFFF, idat), TOO_LARGE),
        Bomb("png-over-31-bits", _png(0xFFFFFFFF, 0xFFFFFFFF, idat), TOO_LARGE),
        Bomb("png-no-size", _png(0, 0, idat), TOO_SMALL),
        Bomb("png-1-wide", _png(1, 60_000, idat), TOO_SMALL),
        Bomb("png-strip", _png(80, 60_000, idat), TOO_LARGE),
        Bomb("png-idat-too-long", _png(160, 128, _chunk(b"IDAT", big)), either),
        Bomb("png-ztxt", _png(160, 128, _chunk(b"zTXt", b"a\0\0" + big), idat), READABLE),
        Bomb("png-itxt", _png(160, 128, _chunk(b"iTXt", b"a\0\1\0\0\0" + big), idat), READABLE),
        Bomb("png-iccp", _png(160, 128, _chunk(b"iCCP", b"a\0\0" + big), idat), READABLE),
        Bomb("png-many-chunks", _png(160, 128, _chunk(b"tEXt", b"a\0b") * 60_000, idat), READABLE),
        Bomb("png-many-idat", _png(160, 128, *[_chunk(b"IDAT", b"")] * 60_000, idat), either),
        Bomb("png-chunk-length", png[:33] + b"\xff\xff\xff\xff" + png[37:], UNREADABLE),
        Bomb("png-endless", png[:-12], UNREADABLE),
        Bomb("jpeg-lies-larger", _resized(jpeg, 60_000, 60_000), TOO_LARGE),
        Bomb("jpeg-lies-large", _resized(jpeg, 4_000, 4_000), either),
        Bomb("jpeg-lies-small", _resized(jpeg, 8, 8), TOO_SMALL),
        Bomb("jpeg-no-height", _resized(jpeg, 160, 0), absent),
        Bomb("jpeg-5000-scans", progressive[:-2] + scan * 5000 + b"\xff\xd9", UNREADABLE),
        Bomb("jpeg-5000-whole-scans", jpeg[:-2] + whole_scan[:600] * 5000 + b"\xff\xd9", UNREADABLE),
        Bomb("jpeg-many-comments", _jpeg_with(jpeg, *[_segment(0xFE, b"x" * 60_000)] * 50), READABLE),
        Bomb("jpeg-many-tables", _jpeg_with(jpeg, *[_segment(0xDB, b"\0" + b"\1" * 64)] * 20_000), READABLE),
        Bomb(
            "jpeg-many-profiles", _jpeg_with(jpeg, *[_segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000))] * 50), either
        ),
        Bomb("jpeg-only-markers", b"\xff\xd8" + b"\xff" * 1_000_000, UNREADABLE),
        Bomb("jpeg-only-start", b"\xff\xd8\xff", UNREADABLE),
        Bomb("exif-loop", _jpeg_with(jpeg, _exif(loop)), READABLE),
        Bomb("exif-huge-count", _jpeg_with(jpeg, _exif(huge_count)), READABLE),
        Bomb("exif-crowded", _jpeg_with(jpeg, _exif(crowded)), READABLE),
        Bomb("exif-text-orientation", _jpeg_with(jpeg, _exif(text_orientation)), READABLE),
        Bomb("exif-many", _jpeg_with(jpeg, *[_exif(crowded)] * 60), READABLE),
        Bomb("webp-canvas", _webp_canvas(1 << 24, 1 << 24, files["webp"][12:]), TOO_LARGE),
        Bomb("webp-canvas-16383", _webp_canvas(16_383, 16_383, files["webp"][12:]), TOO_LARGE),
        Bomb("webp-canvas-lies", _webp_canvas(7_000, 7_000, files["webp"][12:]), either),
        Bomb("webp-frames", _saved(many_frames[0], "WEBP", save_all=True, append_images=many_frames[1:]), READABLE),
        Bomb("avif-announces-100k", _announcing(files["avif"], 100_000, 100_000), TOO_LARGE | UNREADABLE),
        Bomb("avif-announces-3000", _announcing(files["avif"], 3_000, 3_000), either),
        Bomb("avif-announces-nothing", _announcing(files["avif"], 0, 0), absent),
        Bomb("heic-announces-100k", _announcing(HEIC_96, 100_000, 100_000), TOO_LARGE | UNREADABLE),
        Bomb("heic-announces-7000", _announcing(HEIC_96, 7_000, 7_000), either),
        Bomb("heic-of-avif", files["avif"].replace(b"avif", b"heic"), UNREADABLE),
        Bomb("isobmff-nested", _box(b"ftyp", b"heic\0\0\0\0mif1") + _nested(2_000), UNREADABLE),
        Bomb("isobmff-endless", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0\0\0\0meta" + bytes(100_000), UNREADABLE),
        Bomb("gif", _saved(picture.quantize(16), "GIF"), UNREADABLE),
        Bomb("gif-65535", b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(100), UNREADABLE),
        Bomb("tiff", _saved(picture, "TIFF"), UNREADABLE),
        Bomb("bmp", _saved(picture, "BMP"), UNREADABLE),
        Bomb("psd", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 56, 30_000, 30_000, 32, 4), UNREADABLE),
        Bomb("svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9e9" height="9e9"/>', UNREADABLE),
        Bomb("xml", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>', UNREADABLE),
        Bomb("pdf", b"%PDF-1.7\n1 0 obj<<>>endobj", UNREADABLE),
        Bomb("ppm", b"P6 99999 99999 255\n", UNREADABLE),
        Bomb("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9999 9999\n", UNREADABLE),
        Bomb("one-byte", b"\xff", UNREADABLE),
        Bomb("zeros", bytes(5_000), UNREADABLE),
    )


def _nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = _box(b"meta", b"\0\0\0\0" + inner)
    return inner
