"""What the lines of an archive say, and back: a collection, its users, its faces, releases, and how much that was.

Each line is one JSON object with one member, which names its kind. Everything read is checked as if anybody had written
it: whoever knows the password may have. Knows no file and no table; docs/reference/collection-archive.md has it for
others.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from countenance.biometrics import BoundingBox, Reference
from countenance.gallery import MAX_TAGS
from countenance.operations.archive import ArchiveError

COLLECTION_ID: Final = re.compile(r"[a-zA-Z0-9_.\-]{1,255}")
"""`CollectionId` in the service model."""
_USER_ID: Final = re.compile(r"[a-zA-Z0-9_.\-:]{1,128}")
_EXTERNAL: Final = re.compile(r"[a-zA-Z0-9_.\-:]{1,255}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_US: Final = 253_402_300_799_000_000
"""The last second that Python has a date for, in microseconds since 1970."""
LARGEST_DIMENSION: Final = 4_096
LARGEST_TAG: Final = 256
"""Characters: `TagValue` in the service model."""
LONGEST_RETENTION_DAYS: Final = 36_600


@dataclass(frozen=True, slots=True)
class Described:
    """The first line: the collection itself.

    Attributes:
        retention_days: how long it keeps what is enrolled; None: for as long as it likes.
        account_id: whose it was, for people.
    """

    collection_id: str
    account_id: str
    model_version: str
    dimension: int
    created_at: datetime
    exported_at: datetime
    software: str
    retention_days: int | None
    tags: Mapping[str, str]

    def line(self) -> bytes:
        """With its end."""
        return _line(
            "collection",
            {
                "collection_id": self.collection_id,
                "account_id": self.account_id,
                "model_version": self.model_version,
                "dimension": self.dimension,
                "created_us": _us(self.created_at),
                "exported_us": _us(self.exported_at),
                "software": self.software,
                "retention_days": self.retention_days,
                "tags": dict(self.tags),
            },
        )

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Described:
        """Raises ArchiveError."""
        days, tags = said.get("retention_days"), said.get("tags")
        if days is not None and (type(days) is not int or not 1 <= days <= LONGEST_RETENTION_DAYS):
            raise _wrong("retention_days")
        if not isinstance(tags, dict) or len(tags) > MAX_TAGS:
            raise _wrong("tags")
        if any(not isinstance(each, str) or len(each) > LARGEST_TAG for pair in tags.items() for each in pair):
            raise _wrong("tags")
        return cls(
            _matching(said, "collection_id", COLLECTION_ID),
            _text(said, "account_id"),
            _text(said, "model_version"),
            _whole(said, "dimension", 1, LARGEST_DIMENSION),
            _time(said, "created_us"),
            _time(said, "exported_us"),
            _text(said, "software"),
            days,
            tags,
        )


@dataclass(frozen=True, slots=True)
class Release:
    """A consent on record: whose, for what, until when (microseconds since 1970), and the hash of what they signed."""

    external_image_id: str
    purpose: str
    until_us: int
    evidence_sha256: str

    def line(self) -> bytes:
        """With its end."""
        return _line(
            "consent",
            {
                "external_image_id": self.external_image_id,
                "purpose": self.purpose,
                "until_us": self.until_us,
                "evidence_sha256": self.evidence_sha256,
            },
        )

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Release:
        """Raises ArchiveError."""
        return cls(
            _matching(said, "external_image_id", _EXTERNAL),
            _text(said, "purpose"),
            _whole(said, "until_us", 0, _LATEST_US),
            _matching(said, "evidence_sha256", _DIGEST),
        )


@dataclass(frozen=True, slots=True)
class Count:
    """The last line: how many lines of each kind there were, and SHA-256 of all lines before it, ends included."""

    users: int
    faces: int
    consents: int
    sha256: str

    def line(self) -> bytes:
        """With its end."""
        said = {"users": self.users, "faces": self.faces, "consents": self.consents, "sha256": self.sha256}
        return _line("end", said)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Count:
        """Raises ArchiveError."""
        users, faces, consents = (_whole(said, name, 0, 1 << 53) for name in ("users", "faces", "consents"))
        return cls(users, faces, consents, _matching(said, "sha256", _DIGEST))


def user_line(user_id: str, created_at: datetime) -> bytes:
    """With its end."""
    return _line("user", {"user_id": user_id, "created_us": _us(created_at)})


def user_of(said: Mapping[str, Any]) -> tuple[str, datetime]:
    """Raises ArchiveError."""
    return _matching(said, "user_id", _USER_ID), _time(said, "created_us")


def face_line(reference: Reference, template: bytes) -> bytes:
    """With its end.

    Args:
        template: fp16, little-endian.
    """
    box = reference.box
    return _line(
        "face",
        {
            "face_id": reference.face_id,
            "image_id": reference.image_id,
            "external_image_id": reference.external_image_id,
            "user_id": reference.user_id,
            "box": [box.left, box.top, box.width, box.height],
            "confidence": reference.detection_confidence,
            "enrolled_us": _us(reference.enrolled_at),
            "template": base64.b64encode(template).decode(),
        },
    )


def face_of(said: Mapping[str, Any], described: Described) -> tuple[Reference, bytes]:
    """A reference and its template (fp16, little-endian). Raises ArchiveError."""
    try:
        template = base64.b64decode(_text(said, "template"), validate=True)
    except ValueError:
        raise _wrong("template") from None
    if len(template) != 2 * described.dimension:
        raise _wrong("template")
    external, user = (said.get(name) for name in ("external_image_id", "user_id"))
    reference = Reference(
        face_id=_matching(said, "face_id", _UUID),
        image_id=_matching(said, "image_id", _UUID),
        external_image_id=None if external is None else _matching(said, "external_image_id", _EXTERNAL),
        box=BoundingBox(*_numbers(said, "box", 4)),
        detection_confidence=_numbers({"confidence": [said.get("confidence")]}, "confidence", 1)[0],
        model_version=described.model_version,
        enrolled_at=_time(said, "enrolled_us"),
        user_id=None if user is None else _matching(said, "user_id", _USER_ID),
    )
    return reference, template


def parsed(line: bytes) -> tuple[str, Mapping[str, Any]]:
    """The kind of a line, and what it says. Raises ArchiveError."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        raise ArchiveError("The archive has a line that is not JSON.") from None
    if not isinstance(said, dict) or len(said) != 1:
        raise ArchiveError("The archive has a line that no server writes.")
    ((kind, members),) = said.items()
    if not isinstance(members, dict):
        raise ArchiveError("The archive has a line that no server writes.")
    return kind, members


def _line(kind: str, members: Mapping[str, Any]) -> bytes:
    # Python writes the shortest decimal that reads back as the same double: boxes and confidences arrive bit by bit.
    return json.dumps({kind: members}, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _wrong(name: str) -> ArchiveError:
    return ArchiveError(f"The archive has a line whose {name.replace('_', ' ')} cannot be one.")


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value.isprintable():
        raise _wrong(name)
    return value


def _matching(said: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _wrong(name)
    return value


def _whole(said: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = said.get(name)
    if type(value) is not int or not least <= value <= most:
        raise _wrong(name)
    return value


def _time(said: Mapping[str, Any], name: str) -> datetime:
    return _EPOCH + timedelta(microseconds=_whole(said, name, 0, _LATEST_US))


def _numbers(said: Mapping[str, Any], name: str, count: int) -> list[float]:
    values = said.get(name)
    if not isinstance(values, list) or len(values) != count:
        raise _wrong(name)
    if any(type(each) not in (int, float) or not math.isfinite(each) or abs(each) > 1e6 for each in values):
        raise _wrong(name)
    return [float(each) for each in values]
