"""Sealed files: what was put in comes out, and whatever was done to the file is noticed before it has ended."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable

import pytest

from countenance.operations import archive
from countenance.operations.archive import CHUNK_BYTES, MAGIC, ArchiveError, Derivation, Opening, Sealing

PASSWORD = "sixteen tigers eat plums"
CHEAP = Derivation(8, 1, 1, bytes(range(32)))
"""The least that Argon2id does; what it costs to guess is not what is tested here."""


def sealed(data: bytes, derivation: Derivation = CHEAP) -> bytes:
    out = io.BytesIO()
    sealing = Sealing(out, PASSWORD, derivation)
    for start in range(0, len(data), 10_007):  # not in step with chunks
        sealing.write(data[start : start + 10_007])
    digest = sealing.finish()
    assert sealing.bytes == len(out.getvalue())
    assert Opening(io.BytesIO(out.getvalue()), PASSWORD).verify() == digest
    return out.getvalue()


def opened(file: bytes, password: str = PASSWORD) -> bytes:
    return b"".join(Opening(io.BytesIO(file), password).chunks())


def parts(file: bytes) -> list[bytes]:
    """Head and chunks."""
    (size,) = struct.unpack(">I", file[len(MAGIC) : len(MAGIC) + 4])
    at = len(MAGIC) + 4 + size
    found = [file[:at]]
    while at < len(file):
        (length,) = struct.unpack(">I", file[at : at + 4])
        found.append(file[at : at + 4 + length])
        at += 4 + length
    return found


def text(size: int) -> bytes:
    return bytes((number * 7 + number // 251) % 256 for number in range(size))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 200_000])
def test_what_was_put_in_comes_out(size: int) -> None:
    file = sealed(text(size))
    assert opened(file) == text(size)
    assert len(parts(file)) == 1 + max(1, -(-size // CHUNK_BYTES))


def test_every_byte_counts() -> None:
    file = sealed(b"a line of some length\n" * 3)
    for at in range(len(file)):
        changed = bytearray(file)
        changed[at] ^= 1
        with pytest.raises(ArchiveError):
            opened(bytes(changed))


def test_every_cut_is_noticed() -> None:
    file = sealed(b"a line of some length\n" * 3)
    for length in range(len(file)):
        with pytest.raises(ArchiveError):
            opened(file[:length])


@pytest.mark.parametrize(
    "harm",
    [
        lambda head, *chunks: [head, *chunks[:-1]],  # without the last
        lambda head, *chunks: [head, *chunks[1:]],
        lambda head, *chunks: [head, chunks[1], chunks[0], *chunks[2:]],
        lambda head, *chunks: [head, chunks[0], *chunks],
        lambda head, *chunks: [head, *chunks, chunks[-1]],
        lambda head, *chunks: [head, *chunks, b"\0"],
        lambda head, *chunks: [head, chunks[-1]],
    ],
)
def test_chunks_have_one_order_and_one_end(harm: Callable[..., list[bytes]]) -> None:
    file = sealed(text(4 * CHUNK_BYTES - 5))
    with pytest.raises(ArchiveError, match="changed or damaged"):
        opened(b"".join(harm(*parts(file))))


def test_a_chunk_of_another_archive_under_the_same_password_does_not_fit() -> None:
    one, another = sealed(text(90_000)), sealed(text(90_000), Derivation(8, 1, 1, bytes(32)))
    head, first, _ = parts(one)
    with pytest.raises(ArchiveError, match="changed or damaged"):
        opened(head + first + parts(another)[-1])


def test_a_wrong_password_is_told_as_such() -> None:
    with pytest.raises(ArchiveError, match="does not open with this password"):
        opened(sealed(b"x"), "seventeen tigers eat plums")


def test_a_password_is_the_same_however_its_accents_were_typed() -> None:
    out = io.BytesIO()
    Sealing(out, "caf\u00e9 caf\u00e9 caf\u00e9 caf\u00e9", CHEAP).finish()
    assert opened(out.getvalue(), "cafe\u0301 " * 3 + "cafe\u0301") == b""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_kib", 1 << 30),
        ("memory_kib", 7),
        ("passes", 17),
        ("lanes", 0),
        ("lanes", True),
        ("passes", "1"),
        ("salt", "00"),
        ("salt", "zz"),
        ("name", "scrypt"),
    ],
)
def test_a_header_does_not_make_work_without_end(name: str, value: object) -> None:
    head, chunk = parts(sealed(b"x"))
    header = json.loads(head[len(MAGIC) + 4 :])
    header["kdf"][name] = value
    said = json.dumps(header).encode()
    with pytest.raises(ArchiveError, match="header"):
        opened(MAGIC + struct.pack(">I", len(said)) + said + chunk)


def test_another_version_says_which() -> None:
    head, chunk = parts(sealed(b"x"))
    said = head[len(MAGIC) + 4 :].replace(b'"format":1', b'"format":9')
    with pytest.raises(ArchiveError, match="format 9") as refused:
        opened(MAGIC + struct.pack(">I", len(said)) + said + chunk)
    assert "later one" in str(refused.value.hint)


def test_a_line_is_no_longer_than_a_chunk() -> None:
    with pytest.raises(ArchiveError, match="no server writes"):
        list(Opening(io.BytesIO(sealed(b"x" * (3 * CHUNK_BYTES))), PASSWORD).lines())
    with pytest.raises(ArchiveError, match="middle of a line"):
        list(Opening(io.BytesIO(sealed(b"one\ntwo")), PASSWORD).lines())


def test_short_passwords_are_refused() -> None:
    with pytest.raises(ArchiveError, match="fewer than 15"):
        archive.check_password("fourteen chars")
    archive.check_password("fifteen chars !")
