"""The images that are kept: a sealed file for each, and a row with its key in the transaction of the call's leaf.

    kept = samples.keep(account, request_id, digest, image)   # durable, of no use yet
    ... samples.insert(connection, kept)                       # in the transaction of the call's leaf: now it is kept
    samples.settle(kept)                                       # when that transaction failed, or never came

The row decides. A file without one is noise, since its key was nowhere but in memory, and the next start sweeps it
away; a row comes only after its file is on the disk. Erasing overwrites the key in a transaction, then removes the
file.

Knows files and its two tables; knows no leaf, no hold, no face, and not which calls are worth keeping: whoever calls
`erase` says in the same transaction why (docs/design/decisions/0008).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any, Final

from countenance.errors import Error
from countenance.samples.files import Files, SampleNotKept
from countenance.samples.sealing import SEAL_OVERHEAD_BYTES, Binding, SampleCorrupt, SampleError, open_sealed, seal
from countenance.store import Connection, Database, Keyring
from countenance.store.failures import is_io_error

PORTION: Final = 500
"""Samples erased in one transaction: 20 ms for other writers to wait (docs/design/decisions/0008)."""
LISTED: Final = 10_000
"""Samples that one listing gives: 2 MB as JSON, where the admin socket's answers may have 64 MiB."""
COUNTED_FOR_S: Final = 2.0
"""How old a count may be that other processes can change: it reads every row."""
BEING_KEPT_S: Final = 3_600.0
"""No call takes so long, and no two machines that share a folder have clocks so far apart."""
FOLDER: Final = "samples"
NOTE: Final = "samples"
"""Kind of the notes about erased samples."""

_log = logging.getLogger(__name__)


class SampleNotFound(SampleError):
    """No sample is kept of that call."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A sealed file that no row names yet."""

    account: str
    request_id: str
    file: str
    wrapped: bytes
    bytes: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A kept image, without the image."""

    account: str
    request_id: str
    bytes: int
    kept_at: int
    """Microseconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class Erased:
    """A sample whose key is gone and whose file is still there."""

    file: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What is kept at the moment."""

    samples: int
    bytes: int


class Samples:
    """The kept images of one data folder. Safe to use from any thread.

    Args:
        database: the store of record.
        keyring: wraps the key of each sample.
        folder: the data folder; the files lie below it, in `FOLDER`.
        keeps: whether new samples are kept. Those kept before can be exported and erased either way.
        max_bytes: the most that all images together may take.
    """

    def __init__(self, database: Database, keyring: Keyring, folder: Path, *, keeps: bool, max_bytes: int) -> None:
        self.keeps = keeps
        self._database = database
        self._keyring = keyring
        self._files = Files(folder / FOLDER)
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        schema = resources.files("countenance.samples") / "schema"
        database.keeps_keys_in("sample_keys")
        database.migrate("samples", [(schema / "0001.sql").read_text(encoding="utf-8")])
        self._counted_at = 0.0
        self._samples = self._bytes = 0
        self._count_again()

    # -- keeping

    def keep(self, account: str, request_id: str, digest: bytes, image: bytes, *, at_us: int) -> Kept:
        """Seal an image into a file of its own; durable when this returns.

        Args:
            digest: SHA-256 of the image.
            at_us: when the call began, microseconds since 1970.

        Raises:
            SampleNotKept: the limit is reached, or the file cannot be written; nothing is left of it.
        """
        self._count(1, len(image))
        try:
            wrapped, sealed = seal(self._keyring, Binding(account, request_id, digest), image)
            file = self._files.write(sealed)
        except BaseException:
            self._count(-1, -len(image))
            raise
        return Kept(account, request_id, file, wrapped, len(image), at_us)

    @staticmethod
    def insert(connection: Connection, kept: Kept | None) -> None:
        """Name the file, if any, in the open transaction. It is kept when, and only when, that transaction commits."""
        if kept is None:
            return
        (number,) = connection.execute(
            "INSERT INTO samples (account, request_id, file, bytes, kept_at) VALUES (?, ?, ?, ?, ?) RETURNING number",
            (kept.account, kept.request_id, kept.file, kept.bytes, kept.at_us),
        ).fetchone()
        connection.execute("INSERT INTO sample_keys (number, wrapped) VALUES (?, ?)", (number, kept.wrapped))

    def settle(self, kept: Kept, failure: BaseException | None = None) -> None:
        """Remove the file of a sample that no row came to name. Never raises.

        Args:
            failure: what the transaction ended with. After an input/output error nobody knows before the next start
                whether it took effect (`store.writer`), so the file stays for that start to decide.
        """
        if failure is not None and is_io_error(failure.__cause__ or failure):
            return
        try:
            with self._database.reading() as connection:
                named = connection.execute("SELECT 1 FROM samples WHERE file = ?", (kept.file,)).fetchone()
        except Error as error:
            _log.warning("a sample's file is left for the next start to look at: %s", error)
            return
        if named is None:
            self._count(-1, -kept.bytes)
            self._files.remove([kept.file])

    # -- reading

    def totals(self) -> Totals:
        """How many there are and the bytes of their images, those just being kept included."""
        with self._lock:
            self._count_others()
            return Totals(self._samples, self._bytes)

    def count(self) -> int:
        """How many the database names: what the log's entries and retention leaves must come to."""
        with self._database.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM samples").fetchone()[0])

    def listed(self, account: str, *, after: str | None = None) -> tuple[list[Sample], bool]:
        """An account's samples, oldest first, at most `LISTED`, and whether there are more.

        Args:
            after: the request id of the last one seen.

        Raises:
            SampleNotFound: `after` names none.
        """
        with self._database.reading(snapshot=True) as connection:
            first = 0
            if after is not None:
                row = connection.execute("SELECT number FROM samples WHERE request_id = ?", (after,)).fetchone()
                if row is None:
                    raise _none(after)
                first = row[0] + 1
            rows = connection.execute(
                "SELECT account, request_id, bytes, kept_at FROM samples WHERE account = ? AND number >= ?"
                " ORDER BY number LIMIT ?",
                (account, first, LISTED + 1),
            ).fetchall()
        return [Sample(*row) for row in rows[:LISTED]], len(rows) > LISTED

    def find(self, request_id: str) -> Sample:
        """The sample of a call. Raises SampleNotFound."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT account, request_id, bytes, kept_at FROM samples WHERE request_id = ?", (request_id,)
            ).fetchone()
        if row is None:
            raise _none(request_id)
        return Sample(*row)

    def open(self, sample: Sample, digest: bytes) -> bytes:
        """The image of a sample.

        Args:
            digest: SHA-256 of the image, from the person section of the call's entry and from nowhere else.

        Raises:
            SampleNotFound: it was erased meanwhile.
            SampleCorrupt: the file is missing, or is not the image with that hash of that call.
            KeyringError: its key does not open.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT file, wrapped FROM samples JOIN sample_keys USING (number) WHERE request_id = ?",
                (sample.request_id,),
            ).fetchone()
        if row is None:
            raise _none(sample.request_id)
        try:
            sealed = self._files.read(row[0])
        except OSError as error:
            raise SampleCorrupt(
                f"The file of the sample of {sample.request_id} cannot be read: {error.strerror}.",
                hint=f"restore the file {row[0]} of the folder {FOLDER} from a backup",
            ) from None
        return open_sealed(self._keyring, Binding(sample.account, sample.request_id, digest), row[1], sealed)

    def problems(self) -> Iterator[str]:
        """Samples whose file is missing or of another length; looks at names and sizes, opens nothing."""
        last = 0
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(
                    "SELECT number, request_id, file, bytes FROM samples WHERE number > ? ORDER BY number LIMIT ?",
                    (last, PORTION),
                ).fetchall()
            for _, request_id, file, size in rows:
                try:
                    found = self._files.size(file)
                except OSError as error:
                    if self._is_kept(request_id):  # not erased since
                        yield f"the sample of {request_id}: its file cannot be read ({error.strerror})"
                    continue
                if found != size + SEAL_OVERHEAD_BYTES:
                    yield f"the sample of {request_id}: its file has {found} bytes, not {size + SEAL_OVERHEAD_BYTES}"
            if len(rows) < PORTION:
                return
            last = rows[-1][0]

    # -- erasing

    @staticmethod
    def erase(
        connection: Connection,
        *,
        before_us: int,
        account: str | None = None,
        spared: Collection[str] = (),
        request_ids: Sequence[str] | None = None,
    ) -> list[Erased]:
        """Destroy the keys of at most `PORTION` samples in the open transaction, oldest first, and forget them.

        Args:
            before_us: those kept before this time, microseconds since 1970.
            account: of this account only.
            spared: accounts whose samples stay.
            request_ids: of these calls only.
        """
        of_calls = None if request_ids is None else json.dumps(list(request_ids))
        rows = connection.execute(
            "SELECT number, file, bytes FROM samples WHERE kept_at < ? AND (? IS NULL OR account = ?)"
            " AND (? IS NULL OR request_id IN (SELECT value FROM json_each(?)))"
            " AND account NOT IN (SELECT value FROM json_each(?)) ORDER BY kept_at LIMIT ?",
            (before_us, account, account, of_calls, of_calls, json.dumps(list(spared)), PORTION),
        ).fetchall()
        numbers = [(row[0],) for row in rows]
        # The same length as before: SQLite then overwrites the bytes where they are.
        connection.executemany("UPDATE sample_keys SET wrapped = zeroblob(length(wrapped)) WHERE number = ?", numbers)
        connection.executemany("DELETE FROM samples WHERE number = ?", numbers)
        return [Erased(row[1], row[2]) for row in rows]

    @staticmethod
    def note_of(erased: Sequence[Erased]) -> dict[str, Any]:
        """What is noted of erased samples outside the database (`store.erasures`): their files' random names."""
        return {"kind": NOTE, "files": [each.file for each in erased]}

    @staticmethod
    def replay(connection: Connection, notes: Sequence[Mapping[str, Any]]) -> int:
        """Destroy again the keys that an older database brought back; returns how many there were. Files that are left
        without a row go with the sweep of the start."""
        files = [file for note in notes for file in note["files"]]
        count = 0
        for start in range(0, len(files), PORTION):
            portion = files[start : start + PORTION]
            marks = ", ".join("?" * len(portion))
            numbers = connection.execute(f"SELECT number FROM samples WHERE file IN ({marks})", portion).fetchall()  # noqa: S608
            connection.executemany(
                "UPDATE sample_keys SET wrapped = zeroblob(length(wrapped)) WHERE number = ?", numbers
            )
            connection.executemany("DELETE FROM samples WHERE number = ?", numbers)
            count += len(numbers)
        return count

    def forget(self, erased: Sequence[Erased]) -> None:
        """Remove the files of samples whose erasure is durable, and the keys from the write-ahead log. Never raises."""
        if not erased:
            return
        self._count(-len(erased), -sum(each.bytes for each in erased))
        self._files.remove([each.file for each in erased])
        self._database.truncate_wal()

    def sweep(self) -> int:
        """Remove files that no row names; returns how many. Only for a time when this folder's process keeps nothing: a
        start. Other nodes that share the folder may be about to write the row of what they keep, so their files are let
        be for as long as no call takes."""
        swept = 0
        names = self._files.names(older_than_s=BEING_KEPT_S if self._database.is_shared else 0.0)
        while portion := list(islice(names, PORTION)):
            marks = ", ".join("?" * len(portion))
            with self._database.reading() as connection:
                rows = connection.execute(
                    f"SELECT file FROM samples WHERE file IN ({marks})",  # noqa: S608
                    portion,
                ).fetchall()
            nameless = set(portion) - {row[0] for row in rows}
            self._files.remove(sorted(nameless))
            swept += len(nameless)
        if swept:
            _log.info("removed %d files of samples that no entry names", swept)
        return swept

    # -- in short

    def _is_kept(self, request_id: str) -> bool:
        with self._database.reading() as connection:
            return (
                connection.execute("SELECT 1 FROM samples WHERE request_id = ?", (request_id,)).fetchone() is not None
            )

    def _count_again(self) -> None:
        with self._database.reading() as connection:
            row = connection.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM samples").fetchone()
        self._samples, self._bytes, self._counted_at = int(row[0]), int(row[1]), time.monotonic()

    def _count_others(self) -> None:
        """Other processes keep and erase samples, too. What these are keeping at the moment is not counted."""
        if self._database.is_shared and time.monotonic() - self._counted_at > COUNTED_FOR_S:
            self._count_again()

    def _count(self, samples: int, size: int) -> None:
        with self._lock:
            self._count_others()
            if samples > 0 and self._bytes + size > self.max_bytes:
                raise SampleNotKept(
                    f"The kept samples would take more than {self.max_bytes} bytes; the call is not answered.",
                    hint="Raise sample_max_bytes, erase samples, or keep them for fewer days.",
                )
            self._samples += samples
            self._bytes += size


def _none(request_id: str) -> SampleNotFound:
    return SampleNotFound(
        f"No sample is kept of the call {request_id[:64]!r}.",
        hint="`countenance sample list` shows those there are; others were never kept, or erased since",
    )
