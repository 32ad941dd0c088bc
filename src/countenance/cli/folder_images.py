"""The images of a folder, and the ExternalImageId under which each is enrolled.

Knows file trees and names; knows no server. Source of the form of the ids: `ExternalImageId` of the Rekognition
service model, `[a-zA-Z0-9_.\\-:]+` of at most 255 characters.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_ID_LENGTH: Final = 255

DIGEST_LENGTH: Final = 16
"""Hexadecimal digits that keep altered ids apart: 64 bits, no collision to be expected below a billion files."""


@dataclass(frozen=True, slots=True)
class FolderImage:
    """One file that may be an image."""

    path: Path
    name: str
    """Relative to the folder, with slashes."""
    external_image_id: str


def files_of(folder: Path, *, prefix: str = "") -> Iterator[FolderImage]:
    """Every file below the folder in the order of its name, hidden ones left out; links to folders not followed.

    Args:
        prefix: put in front of every id, to keep the files of several folders apart in one collection.
    """
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for each in sorted(names):
            if each.startswith("."):
                continue
            path = Path(where, each)
            name = path.relative_to(folder).as_posix()
            yield FolderImage(path, name, external_image_id(name, prefix=prefix))


def external_image_id(name: str, *, prefix: str = "") -> str:
    """An ExternalImageId for a relative path; different paths get different ids.

    A slash becomes a colon. When more has to change (other characters, a colon in the path itself, or the
    length) the id ends in a digest of the whole path, since two paths could then look alike.
    """
    readable = prefix + name.replace("/", ":")
    if ":" not in name and re.fullmatch(r"[A-Za-z0-9_.:-]{1,255}", readable):
        return readable
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:DIGEST_LENGTH]
    # By bytes, as the digest: how a name's bytes read as characters depends on the locale. A character of several
    # bytes is one underscore all the same: UTF-8's continuation bytes are dropped.
    fitted = re.sub(rb"[^A-Za-z0-9_.:-]", b"_", re.sub(rb"[\x80-\xbf]", b"", os.fsencode(readable))).decode("ascii")
    return f"{fitted[: MAX_ID_LENGTH - DIGEST_LENGTH - 1]}-{digest}"
