"""What an import from another system has done so far, in a file that a killed process leaves whole.

    {"format": 1, "id": uuid, "source": {...}}      the first line
    {"making": collection}                          before it is made here, when it was seen not to be here
    {"made": collection, "arn": arn}
    {"image": [collection, name, external id], "faces": {old: new}}
    {"user": [collection, name]}

A line is on the disk before what follows from it is done; a last line that a crash cut off never was. What a line says
is done is not done again, and what was done without a line is such that doing it again changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from countenance.errors import Error

FORMAT: Final = 1

Key = tuple[str, str, str]
"""Collection, name of the image, ExternalImageId or ""."""


class JournalError(Error):
    """The file is no journal, of another import, or in use."""


class Journal:
    """Safe to use from several threads; for one process at a time.

    Args:
        source: which account is read: endpoint, region, account.

    Raises:
        JournalError: see there.
    """

    def __init__(self, path: Path, source: Mapping[str, str]) -> None:
        self.path = path
        self.making: set[str] = set()
        self.made: dict[str, str] = {}
        """Collection -> ARN."""
        self.faces: dict[tuple[str, str], str] = {}
        """Collection and FaceId there -> FaceId here."""
        self.users: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise JournalError(f"Another import is writing to {path}.", hint="wait for it") from None
        try:
            self.id = self._begin(dict(source))
        except BaseException:
            os.close(self._file)
            raise

    def close(self) -> None:
        """Let others have it."""
        os.close(self._file)

    def will_make(self, collection: str) -> None:
        """A collection is going to be made: it is not here."""
        self._write({"making": collection})
        self.making.add(collection)

    def has_made(self, collection: str, arn: str) -> None:
        """It is here."""
        self._write({"made": collection, "arn": arn})
        self.made[collection] = arn

    def has_enrolled(self, key: Key, faces: Mapping[str, str]) -> None:
        """Every face wanted of an image is here, and no other of it."""
        self._write({"image": list(key), "faces": dict(faces)})
        with self._lock:
            self.faces |= {(key[0], old): new for old, new in faces.items()}

    def has_user(self, collection: str, user: str) -> None:
        """A user is here with every face."""
        self._write({"user": [collection, user]})
        self.users.add((collection, user))

    def _begin(self, source: dict[str, str]) -> str:
        whole = self._read()
        if not whole:
            made = str(uuid.uuid4())
            self._write({"format": FORMAT, "id": made, "source": source})
            return made
        first, *rest = whole
        if first.get("format") != FORMAT or not isinstance(first.get("id"), str):
            raise JournalError(f"{self.path} is no journal of an import.", hint="name a new file with --journal")
        if first.get("source") != source:
            raise JournalError(
                f"{self.path} is of an import from {first.get('source')}, and this one is from {source}.",
                hint="name a new file with --journal",
            )
        for each in rest:
            self._take(each)
        return str(first["id"])

    def _read(self) -> list[dict[str, Any]]:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._file, whole)
        found = []
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], 1):
            try:
                said = json.loads(line)
            except ValueError:
                said = None
            if not isinstance(said, dict):
                raise JournalError(f"Line {number} of {self.path} is damaged.", hint="take a copy of it, or begin anew")
            found.append(said)
        return found

    def _take(self, said: dict[str, Any]) -> None:
        try:
            if "making" in said:
                self.making.add(said["making"])
            elif "made" in said:
                self.made[said["made"]] = said["arn"]
            elif "image" in said:
                collection, _, _ = said["image"]
                self.faces |= {(collection, old): new for old, new in said["faces"].items()}
            else:
                collection, user = said["user"]
                self.users.add((collection, user))
        except (KeyError, ValueError, TypeError, AttributeError):
            raise JournalError(f"{self.path} has a line that no import writes.") from None

    def _write(self, said: Mapping[str, Any]) -> None:
        line = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            os.write(self._file, line)
            os.fsync(self._file)
