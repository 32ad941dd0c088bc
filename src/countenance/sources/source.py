"""What every source of stored images offers, which names it accepts, and how it can fail.

Knows no file system and no network. Messages are the same for every cause, so that whoever asks cannot tell
a bucket that is not theirs from one that does not exist; the cause is in the hint, which only operators see.

Source of the name rules: the patterns and lengths of `S3Bucket` and `S3ObjectName` in the Rekognition service
model, and "Bucket naming rules" and "Naming Amazon S3 objects" in the Amazon S3 user guide.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from countenance.errors import Error

BUCKET_NAME: Final = re.compile(r"[0-9A-Za-z._-]{3,255}", re.ASCII)
"""S3Bucket of the Rekognition service model. It leaves out the colon, and with it every ARN: a name in that
form would send the request to another host than the configured one."""

RESERVED_SUFFIXES: Final = ("--x-s3", "--op-s3", "--table-s3", "-s3alias", "--ol-s3", ".mrap")
"""Suffixes that S3 reserves for things that are reached at other addresses than a bucket's own (bucket naming
rules). SDKs derive the request's host from them."""

MAX_NAME_BYTES: Final = 1024
"""Longest object key, in bytes of UTF-8 (Naming Amazon S3 objects)."""


class SourceError(Error):
    """A stored image cannot be had."""


class ObjectNotAvailable(SourceError):
    """There is no such object for this account: missing, not granted, not readable or not a plain object."""

    def __init__(self, *, hint: str | None = None) -> None:
        super().__init__("The object is not available: check bucket, name, version and access.", hint=hint)


class ObjectTooLarge(SourceError):
    """The object has more bytes than an image may have."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The object is larger than {max_bytes} bytes.")
        self.max_bytes = max_bytes


class SourceUnavailable(SourceError):
    """Whether the object exists cannot be found out: the store failed, timed out or refuses this server."""

    def __init__(self, *, hint: str | None = None) -> None:
        super().__init__("The object store did not answer as it should.", hint=hint)


class SourceBusy(SourceUnavailable):
    """The store asks to be called less often."""


class ImageSource(Protocol):
    """Somewhere images are stored under a bucket and a name."""

    def fetch(self, account_id: str, bucket: str, name: str, version: str | None) -> bytes:
        """Return the bytes of one object.

        Args:
            account_id: 12 digits; for whom it is fetched.
            bucket, name, version: as S3 means them; version None is the newest.

        Raises:
            ObjectNotAvailable, ObjectTooLarge, SourceUnavailable.
        """
        ...


def require_sane_names(bucket: str, name: str) -> None:
    """Refuse names that reach beyond their bucket somewhere along the way, whatever the source.

    `.` and `..` are refused as parts of object names although S3 itself stores some of them: proxies and
    servers resolve them as parts of a URL's path, and then they name an object of another bucket.

    Raises:
        ObjectNotAvailable
    """
    if not BUCKET_NAME.fullmatch(bucket) or not bucket.strip("."):
        raise ObjectNotAvailable(hint="that is not a bucket's name")
    if bucket.endswith(RESERVED_SUFFIXES):
        raise ObjectNotAvailable(hint="that suffix is reserved by S3")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise ObjectNotAvailable(hint="the name is not Unicode text") from None
    if not 1 <= len(encoded) <= MAX_NAME_BYTES or "\0" in name:
        raise ObjectNotAvailable(hint="that is not an object's name")
    if any(part in (".", "..") for part in name.split("/")):
        raise ObjectNotAvailable(hint="the name has a part that is . or ..")
