"""The files of sanctions lists as they came, by what was in them: every snapshot that was ever in force is kept.

A folder beside the database, since a list has tens of megabytes; each file is compressed, under its own hash, and
written before the act that puts it in force. Knows bytes; what they say is for `lists`.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from countenance_audit import canonical

from countenance.errors import Error
from countenance.store import sync_folder

FOLDER: Final = "lists"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class SnapshotMissing(Error):
    """The files of a snapshot are not there, or are not those that were taken."""


def digest_of(files: Mapping[str, bytes]) -> str:
    """What names a snapshot: SHA-256, in hexadecimal, of the canonical JSON of {name: SHA-256 of the file}."""
    return sha256(canonical.encode({name: sha256(data).hexdigest() for name, data in files.items()})).hexdigest()


class Snapshots:
    """The snapshots below a data folder. Safe to use from any thread, and by other processes that read."""

    def __init__(self, data: Path) -> None:
        self.folder = data / FOLDER

    def keep(self, files: Mapping[str, bytes]) -> str:
        """Keep the files of a snapshot, durable when this returns; the snapshot's hash.

        Raises:
            Error: a name cannot be one of a file.
        """
        if wrong := [name for name in files if not _NAME.fullmatch(name)]:
            raise Error(f"{wrong[0][:40]!r} cannot be the name of a list's file.", hint="letters, digits and . _ -")
        digest = digest_of(files)
        place = self.folder / digest
        if place.is_dir() and self._is_whole(place, files):
            return digest
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in files.items():
            draft = place / f"{name}.gz.new"
            with draft.open("wb") as out:
                # The time is left out, so that the same list is the same file.
                with gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0, compresslevel=6) as packed:
                    packed.write(data)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(place / f"{name}.gz")
        for each in (place, self.folder, self.folder.parent):
            sync_folder(each)
        return digest

    def find(self, digest: str) -> dict[str, bytes]:
        """The files of a snapshot by name. Raises SnapshotMissing."""
        place = self.folder / digest
        try:
            files = {each.name.removesuffix(".gz"): gzip.decompress(each.read_bytes()) for each in place.glob("*.gz")}
        except (OSError, EOFError) as error:
            raise SnapshotMissing(f"The list {digest[:16]} cannot be read: {error}") from None
        if not files or digest_of(files) != digest:
            raise SnapshotMissing(
                f"The list {digest[:16]} is {'damaged' if files else 'not there'}.",
                hint=f"bring the folder {FOLDER}/{digest[:16]}... back from a backup, or import the list again",
            )
        return files

    @staticmethod
    def _is_whole(place: Path, files: Mapping[str, bytes]) -> bool:
        try:
            return all(gzip.decompress((place / f"{name}.gz").read_bytes()) == data for name, data in files.items())
        except (OSError, EOFError):
            return False
