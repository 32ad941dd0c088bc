"""Where the files of a log come from: an HTTP server or a folder, both treated as hostile.

Knows addresses, time limits and sizes; does not know what the files say. What comes back was not checked.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from countenance_audit.errors import Malformed, Unavailable
from countenance_audit.tiles import MAX_BUNDLE_BYTES

Fetch = Callable[[str], bytes]
"""Path relative to the log's prefix -> content; raises Unavailable when it cannot be had."""

TIMEOUT_S: Final = 30.0
"""Longest wait for the server to say anything, and for a whole file four times that, in seconds."""

_WHOLE_FILE: Final = 4
_CHUNK_BYTES: Final = 65_536
_GZIP: Final = 31
"""zlib's window bits for the gzip format."""


def open_location(location: str, *, max_bytes: int = MAX_BUNDLE_BYTES) -> Fetch:
    """Reads from `http://`, `https://` or a folder.

    Raises:
        Unavailable: it is neither.
    """
    if urlsplit(location).scheme in ("http", "https"):
        return http_fetch(location, max_bytes=max_bytes)
    folder = Path(location)
    if not folder.is_dir():
        raise Unavailable(f"{location} is neither an http(s) address nor a folder.")
    return folder_fetch(folder, max_bytes=max_bytes)


def http_fetch(base_url: str, *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_BUNDLE_BYTES) -> Fetch:
    """Reads below an address with GET; a longer file than `max_bytes`, also after decompression, is refused.

    Args:
        timeout_s: seconds; the whole file may take four times as long.
    """
    base = base_url.rstrip("/")
    if urlsplit(base).scheme not in ("http", "https"):
        raise Unavailable(f"{base_url} is not an http or https address.")

    def fetch(path: str) -> bytes:
        request = Request(  # noqa: S310 - the scheme was checked
            f"{base}/{path}", headers={"Accept-Encoding": "gzip, identity", "User-Agent": "countenance-audit"}
        )
        deadline = time.monotonic() + _WHOLE_FILE * timeout_s
        try:
            with urlopen(request, timeout=timeout_s) as response:  # noqa: S310
                data = bytearray()
                while chunk := response.read1(_CHUNK_BYTES):
                    data += chunk
                    if len(data) > max_bytes:
                        raise Malformed(f"{path} is longer than {max_bytes} bytes.")
                    if time.monotonic() > deadline:
                        raise Unavailable(f"{path} did not arrive within {_WHOLE_FILE * timeout_s:g} s.")
                encoding = response.headers.get("Content-Encoding", "identity").lower()
        except HTTPError as failure:
            raise Unavailable(f"The server answered {failure.code} to {path}.") from None
        except (OSError, HTTPException, ValueError) as failure:
            raise Unavailable(f"{path} cannot be fetched: {str(failure)[:200]}.") from None
        return _decompressed(bytes(data), encoding, path, max_bytes)

    return fetch


def folder_fetch(folder: Path, *, max_bytes: int = MAX_BUNDLE_BYTES) -> Fetch:
    """Reads below a folder."""

    def fetch(path: str) -> bytes:
        try:
            with (folder / path).open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as failure:
            raise Unavailable(f"{folder / path} cannot be read: {failure.strerror}.") from None
        if len(data) > max_bytes:
            raise Malformed(f"{path} is longer than {max_bytes} bytes.")
        return data

    return fetch


def _decompressed(data: bytes, encoding: str, path: str, max_bytes: int) -> bytes:
    if encoding == "identity":
        return data
    if encoding != "gzip":
        raise Malformed(f"{path} came in the encoding {encoding[:40]!r}, which was not asked for.")
    inflater = zlib.decompressobj(_GZIP)
    try:
        content = inflater.decompress(data, max_bytes + 1)
    except zlib.error:
        raise Malformed(f"{path} is not valid gzip.") from None
    if len(content) > max_bytes or not inflater.eof:
        raise Malformed(f"{path} is cut off, or longer than {max_bytes} bytes after decompression.")
    return content
