"""NextToken: an authenticated keyset cursor.

A token carries the last row seen and an expiry, sealed with a MAC over the account, the operation, the
collection and the filters it was made for; it means nothing elsewhere, cannot be forged, and stays far below
the 255 characters that the service model allows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from datetime import datetime, timedelta

from countenance.errors import Error

TOKEN_LIFE = timedelta(hours=24)
"""Amazon Rekognition's guidelines and quotas page: a pagination token is valid for 24 hours."""
_FORMAT = struct.Struct(">BQQ")  # version, expiry in seconds, position
_VERSION = 1
_MAC_BYTES = 16


class InvalidCursor(Error):
    """The token is not one of ours, is for another listing, or is too old."""


class Cursors:
    """Makes and reads cursors under one server-wide key.

    Args:
        key: 32 bytes, derived from the master key, so that tokens survive a restart.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, position: int, *scope: str, at: datetime) -> str:
        """A token that resumes after `position` in the listing that `scope` names."""
        head = _FORMAT.pack(_VERSION, int((at + TOKEN_LIFE).timestamp()), position)
        return base64.urlsafe_b64encode(head + self._mac(head, scope)).decode()

    def read(self, token: str, *scope: str, at: datetime) -> int:
        """The position in a token. Raises InvalidCursor."""
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error, ValueError):
            raise InvalidCursor("Invalid Pagination Token") from None
        if len(raw) != _FORMAT.size + _MAC_BYTES:
            raise InvalidCursor("Invalid Pagination Token")
        head, mac = raw[: _FORMAT.size], raw[_FORMAT.size :]
        if not hmac.compare_digest(mac, self._mac(head, scope)):
            raise InvalidCursor("Invalid Pagination Token")
        version, expiry, position = _FORMAT.unpack(head)
        if version != _VERSION or at.timestamp() > expiry:
            raise InvalidCursor("Invalid Pagination Token")
        return int(position)

    def _mac(self, head: bytes, scope: tuple[str, ...]) -> bytes:
        mac = hmac.new(self._key, head, hashlib.sha256)
        for field in scope:
            raw = field.encode()
            mac.update(len(raw).to_bytes(4, "big") + raw)
        return mac.digest()[:_MAC_BYTES]
