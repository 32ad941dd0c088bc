"""The sealed file that a collection travels in: a password, a header in the clear, and chunks in one order with an end.

    countenance collection archive\\n | length of the header, 4 bytes | header, JSON | chunk | chunk | ... | last chunk

Knows bytes, not what they mean; docs/reference/collection-archive.md has the format for others. Chunks are sealed as in
STREAM (Hoang, Reyhanitabar, Rogaway, Vizar: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance,
CRYPTO 2015): the nonce counts them and marks the last one, so that a file that was cut, reordered or changed in one bit
does not open. Nothing of a file is kept in memory but a chunk.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from countenance_audit import canonical
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from countenance.errors import Error

MAGIC: Final = b"countenance collection archive\n"
FORMAT: Final = 1
CHUNK_BYTES: Final = 65_536
"""Of what is sealed, before its tag."""
LARGEST_HEADER_BYTES: Final = 4_096
TAG_BYTES: Final = 16
SALT_BYTES: Final = 32
KEY_BYTES: Final = 32  # AES-256
CHECK_BYTES: Final = 16
MEMORY_KIB: Final = 262_144
PASSES: Final = 3
LANES: Final = 4
"""Argon2id with three passes over 256 MiB in four lanes: RFC 9106, section 4, recommends at least 64 MiB with these;
who has the file tries passwords for as long as they like."""
MOST_MEMORY_KIB: Final = 1_048_576
MOST_PASSES: Final = 16
MOST_LANES: Final = 16
"""What a file may ask of whoever opens it."""
SHORTEST_PASSWORD: Final = 15
"""Characters: NIST SP 800-63B (revision 4), section 3.1.1.2, of a password that is the only factor."""
_LENGTH: Final = struct.Struct(">I")
_NONCE: Final = struct.Struct(">QIB")
"""Together 13 bytes, of which the last 12 are taken: the number of the chunk, 8 bytes; 3 of zero; 1 of the last, 0 of
others."""


class ArchiveError(Error):
    """The file is no archive, was changed or cut, is of another version, or the password is another one."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """How the key follows from the password.

    Attributes:
        memory_kib, passes, lanes: of Argon2id.
        salt: random, SALT_BYTES.
    """

    memory_kib: int
    passes: int
    lanes: int
    salt: bytes

    def keys(self, password: str) -> tuple[bytes, bytes]:
        """The key of the chunks, and what tells a wrong password from a damaged file."""
        said = unicodedata.normalize("NFKC", password).encode()
        root = Argon2id(
            salt=self.salt, length=KEY_BYTES, iterations=self.passes, lanes=self.lanes, memory_cost=self.memory_kib
        ).derive(said)
        key = HKDFExpand(SHA256(), KEY_BYTES, b"countenance collection archive v1: chunks").derive(root)
        check = HKDFExpand(SHA256(), CHECK_BYTES, b"countenance collection archive v1: check").derive(root)
        return key, check


def check_password(password: str) -> None:
    """Raises ArchiveError when a password is too short to stand alone between a thief and everybody's faces."""
    if len(unicodedata.normalize("NFKC", password)) < SHORTEST_PASSWORD:
        raise ArchiveError(
            f"The password has fewer than {SHORTEST_PASSWORD} characters.",
            hint="whoever has the archive can try passwords for as long as they like: four words or more, at random",
        )


class Sealing:
    """Writes an archive.

    Args:
        out: written from where it stands.
        derivation: None: a new one, as strong as constants above say.
    """

    def __init__(self, out: BinaryIO, password: str, derivation: Derivation | None = None) -> None:
        how = derivation or Derivation(MEMORY_KIB, PASSES, LANES, secrets.token_bytes(SALT_BYTES))
        key, check = how.keys(password)
        header = canonical.encode(
            {
                "check": check.hex(),
                "chunk": CHUNK_BYTES,
                "cipher": "AES-256-GCM",
                "format": FORMAT,
                "kdf": {
                    "lanes": how.lanes,
                    "memory_kib": how.memory_kib,
                    "name": "Argon2id",
                    "passes": how.passes,
                    "salt": how.salt.hex(),
                },
            }
        )
        prefix = MAGIC + _LENGTH.pack(len(header)) + header
        self._out = out
        self._cipher = AESGCM(key)
        self._aad = hashlib.sha256(prefix).digest()
        self._waiting = bytearray()
        self._chunks = 0
        self._file = hashlib.sha256()
        self.bytes = 0
        """Written so far."""
        self._put(prefix)

    def write(self, data: bytes) -> None:
        """Seals some more."""
        self._waiting += data
        # the last chunk is known as such only at the end, so a full one waits for what follows
        while len(self._waiting) > CHUNK_BYTES:
            self._seal(bytes(self._waiting[:CHUNK_BYTES]), is_last=False)
            del self._waiting[:CHUNK_BYTES]

    def finish(self) -> str:
        """Writes the last chunk; SHA-256 of the whole file, in hexadecimal."""
        self._seal(bytes(self._waiting), is_last=True)
        self._waiting.clear()
        return self._file.hexdigest()

    def _seal(self, data: bytes, *, is_last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._chunks, is_last=is_last), data, self._aad)
        self._chunks += 1
        self._put(_LENGTH.pack(len(sealed)) + sealed)

    def _put(self, data: bytes) -> None:
        self._out.write(data)
        self._file.update(data)
        self.bytes += len(data)


class Opening:
    """Reads an archive, each time from its beginning. Nothing that it yields is to be relied on before it has ended.

    Args:
        file: can be sought.

    Raises:
        ArchiveError: no archive, of another version, or the password is another one.
    """

    def __init__(self, file: BinaryIO, password: str) -> None:
        self._file = file
        file.seek(0)
        prefix, header = _header(file)
        how = _derivation(header)
        key, check = how.keys(password)
        if not secrets.compare_digest(check.hex().encode(), str(header.get("check")).encode("utf-8", "replace")):
            raise ArchiveError("The archive does not open with this password.")
        self._cipher = AESGCM(key)
        self._aad = hashlib.sha256(prefix).digest()
        self._begin = len(prefix)

    def chunks(self) -> Iterator[bytes]:
        """What was sealed, in order, to the end of the file.

        Raises:
            ArchiveError: it was changed, cut, or something follows its end.
        """
        self._file.seek(self._begin)
        number, is_last = 0, False
        while not is_last:
            length = self._file.read(_LENGTH.size)
            if len(length) < _LENGTH.size:
                raise _damaged("it ends before its end")
            (size,) = _LENGTH.unpack(length)
            if not TAG_BYTES <= size <= CHUNK_BYTES + TAG_BYTES:
                raise _damaged(f"chunk {number} is of no possible length")
            sealed = self._file.read(size)
            if len(sealed) < size:
                raise _damaged("it ends before its end")
            data, is_last = self._open(sealed, number)
            number += 1
            yield data
        if self._file.read(1):
            raise _damaged("something follows its end")

    def verify(self) -> str:
        """Reads all of it; SHA-256 of the file, in hexadecimal. Raises ArchiveError."""
        for _ in self.chunks():
            pass
        self._file.seek(0)
        digest = hashlib.sha256()
        while part := self._file.read(CHUNK_BYTES):
            digest.update(part)
        return digest.hexdigest()

    def lines(self) -> Iterator[bytes]:
        """What was sealed, line by line, without the ends of lines.

        Raises:
            ArchiveError: as `chunks`; a line is longer than a chunk, or the last one has no end.
        """
        rest = b""
        for chunk in self.chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > CHUNK_BYTES:
                raise ArchiveError("The archive has a line that no server writes.")
        if rest:
            raise ArchiveError("The archive ends in the middle of a line.")

    def _open(self, sealed: bytes, number: int) -> tuple[bytes, bool]:
        # Full chunks are rarely the last and others always are: so it opens at the first try, but for one.
        is_full = len(sealed) == CHUNK_BYTES + TAG_BYTES
        for is_last in (not is_full, True) if is_full else (True,):
            try:
                return self._cipher.decrypt(_nonce(number, is_last=is_last), sealed, self._aad), is_last
            except InvalidTag:
                continue
        raise _damaged(f"chunk {number} is not what was sealed there")


def _nonce(number: int, *, is_last: bool) -> bytes:
    return _NONCE.pack(number, 0, is_last)[1:]


def _damaged(how: str) -> ArchiveError:
    return ArchiveError(
        f"The archive was changed or damaged: {how}.", hint="take another copy of it; none of it is used"
    )


def _header(file: BinaryIO) -> tuple[bytes, dict[str, Any]]:
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        raise ArchiveError("The file is no archive of a collection.", hint="`countenance export` writes one")
    length = file.read(_LENGTH.size)
    size = _LENGTH.unpack(length)[0] if len(length) == _LENGTH.size else 0
    if not 0 < size <= LARGEST_HEADER_BYTES:
        raise _damaged("its header is of no possible length")
    text = file.read(size)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged("its header is not JSON") from None
    if not isinstance(header, dict) or type(header.get("format")) is not int:
        raise _damaged("its header is not one")
    if header["format"] != FORMAT:
        raise ArchiveError(
            f"The archive is of format {header['format']}, and this program reads {FORMAT}.",
            hint="import it with the version that wrote it, or a later one",
        )
    return magic + length + text, header


def _derivation(header: dict[str, Any]) -> Derivation:
    kdf = header.get("kdf")
    if not isinstance(kdf, dict) or (kdf.get("name"), header.get("cipher")) != ("Argon2id", "AES-256-GCM"):
        raise _damaged("its header names no known ciphers")
    limits = {"memory_kib": MOST_MEMORY_KIB, "passes": MOST_PASSES, "lanes": MOST_LANES}
    if any(type(kdf.get(name)) is not int or not 1 <= kdf[name] <= most for name, most in limits.items()):
        raise _damaged("its header asks for more work than any archive does")
    try:
        salt = bytes.fromhex(str(kdf.get("salt")))
    except ValueError:
        salt = b""
    if len(salt) != SALT_BYTES or kdf["memory_kib"] < 8 * kdf["lanes"] or header.get("chunk") != CHUNK_BYTES:
        raise _damaged("its header is not one")
    return Derivation(kdf["memory_kib"], kdf["passes"], kdf["lanes"], salt)
