"""The canonical form of a request that Signature Version 4 hashes, and the keys it is signed with.

Pure functions of the request: no clock, no error code, no key store. Source: AWS IAM User Guide, "Create a
signed AWS API request" (reference_sigv-create-signed-request), for services other than S3: the path is
normalised and encoded once more than it already is.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from countenance.wire.http import HttpRequest

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
SIGNATURE_PARAMETER: Final = "X-Amz-Signature"
"""The one query parameter that is left out of the canonical query of a presigned request."""

_UNRESERVED: Final = "-_.~"
"""RFC 3986 section 2.3, beside letters and digits, which `quote` always keeps."""


def canonical_request(request: HttpRequest, signed_headers: Iterable[str], payload_hash: str) -> bytes:
    """The canonical request.

    Args:
        request: path, query and header values are what was sent, decoded as latin-1.
        signed_headers: lower-case names; a name the request lacks is canonicalised as empty.
        payload_hash: hexadecimal SHA-256 of the body.
    """
    names = sorted(set(signed_headers))
    lines = [
        request.method,
        canonical_path(request.path),
        canonical_query(request.query),
        *(f"{name}:{canonical_values(request.values(name))}" for name in names),
        "",
        ";".join(names),
        payload_hash,
    ]
    return "\n".join(lines).encode("latin-1", "backslashreplace")


def canonical_path(path: str) -> str:
    """`path` without dot segments and empty segments, percent-encoded once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    trailing = "/" if kept and path.endswith(("/", "/.", "/..")) else ""
    return quote(("/" + "/".join(kept) + trailing).encode("latin-1", "backslashreplace"), safe="/" + _UNRESERVED)


def canonical_query(query: str) -> str:
    """The parameters decoded, encoded strictly, and sorted by name and then by value."""
    pairs = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if part and name != SIGNATURE_PARAMETER:
            pairs.append((_encode_again(name), _encode_again(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encode_again(text: str) -> str:
    return quote(unquote_to_bytes(text.encode("latin-1", "backslashreplace")), safe=_UNRESERVED)


def canonical_values(values: Iterable[str]) -> str:
    """Header values trimmed, runs of white space made one space, joined by commas in the order sent."""
    return ",".join(" ".join(value.split()) for value in values)


def string_to_sign(timestamp: str, scope: str, canonical: bytes) -> str:
    """What is signed: algorithm, ISO basic timestamp, scope (date/region/service/aws4_request) and hash."""
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of one secret for one day, region and service: 32 bytes."""
    key = b"AWS4" + secret.encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode("latin-1", "backslashreplace"), "sha256")
    return key


class SigningKeys:
    """The most recently used signing keys, thread-safe.

    A key is good for one day, one region and one service only. It is found again through a keyed hash of the
    secret (the hash key lives as long as this object), so the cache holds no secret access key.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._salt = secrets.token_bytes(32)
        self._keys: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, secret: str, date: str, region: str, service: str) -> bytes:
        """As `signing_key`."""
        # Lengths first: no two different scopes may share a name.
        parts = (secret.encode(), date.encode(), region.encode(), service.encode())
        text = b"".join(len(part).to_bytes(4) + part for part in parts)
        name = hashlib.blake2b(text, key=self._salt, digest_size=32).digest()
        with self._lock:
            known = self._keys.get(name)
            if known is not None:
                self._keys.move_to_end(name)
                return known
        key = signing_key(secret, date, region, service)
        with self._lock:
            self._keys[name] = key
            while len(self._keys) > self._capacity:
                self._keys.popitem(last=False)
        return key
