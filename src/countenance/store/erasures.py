"""What was taken out for good, noted outside the database as well, so that no restored backup brings it back.

    DIR/erasures        a line of JSON for each: {"number": n, "what": {"kind": ..., ...}}

A note is a row in the transaction of the erasure; the file follows after the commit, before the caller is answered, and
at every start it is brought up to the rows. The file is not part of a backup. A database that was restored has fewer
rows than the file has lines: what the lines beyond them name is erased again, before anything is served (PROOFS,
section 2). Knows no kind of note; who erases says what undoes a restore of it. Notes name what they erased by account,
collection, digests and random names of files, never by a person's name or an image.

A note is known where the same words stand under its number or a later one: what was erased twice was erased at the
latter. Numbers alone do not tell, since a database that was restored without its file gives them out again.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from countenance.store import durable
from countenance.store.failures import DatabaseError
from countenance.store.keyring import sync_folder
from countenance.store.sql import Connection, restart_numbers

FILE: Final = "erasures"

Replay = Callable[[Connection, Sequence[Mapping[str, Any]]], int]
"""Erases again what notes of one kind name, inside the transaction; returns how much of it was there."""

_log = logging.getLogger(__name__)


class Erasures:
    """The notes of one database. `note` and `flush` are for the writer thread only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_new = False
        self._seen: tuple[int, int, int] | None = None
        """Number of the last note in the file, its inode and its size, when it was last written or compared."""

    def note(self, connection: Connection, what: Mapping[str, Any]) -> None:
        """Note an erasure, in its transaction; `what` has a member `kind`."""
        connection.execute("INSERT INTO erased (what) VALUES (?)", (_encoded(what),))
        self._has_new = True

    def flush(self, connection: Connection) -> None:
        """Bring the file up to the rows, after their commit. A file that cannot be written is tried again with the
        next erasure and at the next start: the erasure itself has happened, and must not be told otherwise."""
        if not self._has_new:
            return
        try:
            self._append(connection)
        except (OSError, sqlite3.Error, DatabaseError) as error:
            self._seen = None
            _log.error("%s cannot be written (%s): a backup restored now would bring back what was erased", FILE, error)
        else:
            self._has_new = False

    def open(self, connection: Connection) -> None:
        """At the start: bring the file up to the rows, when they are ahead.

        Raises:
            DatabaseError: the file cannot be read or written, or is damaged.
        """
        try:
            self._append(connection)
        except OSError as failure:
            raise DatabaseError(
                f"The file of erasures {self._path} cannot be read or written: {failure.strerror}.",
                hint="Check its owner and mode: without it a restored backup could bring back what was erased.",
            ) from failure

    def unreplayed(self, connection: Connection) -> list[tuple[int, dict[str, Any]]]:
        """Notes that the file has and the database has not: it is older than they are."""
        known = _latest(_rows(connection))
        return [(number, what) for number, what in self._lines() if known.get(_encoded(what), -1) < number]

    def learn(self, connection: Connection, notes: Iterable[tuple[int, str]]) -> int:
        """Put what another copy of the database notes, and this one and the file do not, into the file, to be replayed;
        returns how many that were. For the writer thread."""
        self._append(connection)
        rows, lines = _rows(connection), [(number, _encoded(what)) for number, what in self._lines()]
        known, last = _latest([*rows, *lines]), max((number for number, _ in [*rows, *lines]), default=0)
        new = []
        for number, what in sorted(notes):
            if known.get(what, -1) < number:
                last = max(last + 1, number)
                known[what] = last
                new.append((last, what))
        self._write(new)
        self._seen = None  # the file is ahead of the rows now
        return len(new)

    def replay(self, connection: Connection, replays: Mapping[str, Replay]) -> dict[str, int]:
        """Erase again what an older database brought back, inside a transaction.

        Returns:
            Kind -> how much of it was there; empty when nothing was to be replayed.

        Raises:
            DatabaseError: a note is of a kind that this program does not know.
        """
        notes = self.unreplayed(connection)
        of_kind: dict[str, list[dict[str, Any]]] = {}
        for _, what in notes:
            of_kind.setdefault(str(what.get("kind")), []).append(what)
        if unknown := of_kind.keys() - replays.keys():
            raise DatabaseError(
                f"The file of erasures has notes of an unknown kind: {', '.join(sorted(unknown))[:100]}.",
                hint="It was written by a newer version of this program: start that one.",
            )
        done = {kind: replays[kind](connection, whats) for kind, whats in of_kind.items()}
        self._seen = None  # the rows have caught up with lines that are there already
        given = {number for number, _ in _rows(connection)}
        again = [(_encoded(what),) for number, what in notes if number in given]
        connection.executemany(
            "INSERT INTO erased (number, what) VALUES (?, ?)",
            [(number, _encoded(what)) for number, what in notes if number not in given],
        )
        restart_numbers(connection, "erased", "number")
        connection.executemany("INSERT INTO erased (what) VALUES (?)", again)
        return done

    def _append(self, connection: Connection) -> None:
        with durable.alone(self._path.parent):  # other processes add lines, too
            self._append_alone(connection)

    def _append_alone(self, connection: Connection) -> None:
        if self._seen is not None and self._seen[1:] == self._identity():
            self._write(_rows(connection, after=self._seen[0]))
            return
        self._mend()  # somebody may have taken the file away, or put an older one there: look at all of it
        known = _latest((number, _encoded(what)) for number, what in self._lines())
        rows = _rows(connection)
        self._write([(number, what) for number, what in rows if known.get(what, -1) < number])
        self._seen = (max((number for number, _ in rows), default=0), *self._identity())

    def _identity(self) -> tuple[int, int]:
        """Inode and size of the file; zeros while there is none."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_size

    def _write(self, notes: Sequence[tuple[int, str]]) -> None:
        if not notes:
            return
        is_new = not self._path.exists()
        lines = "".join(f'{{"number":{number},"what":{what}}}\n' for number, what in notes)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "ab") as out:
            out.write(lines.encode())
            out.flush()
            os.fsync(out.fileno())
        if is_new:
            sync_folder(self._path.parent)
        self._seen = (notes[-1][0], *self._identity())

    def _mend(self) -> None:
        """Cut off a last line that a crash left unfinished; its row is in the database and is written again."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self._path.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            lines = self._path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return
        for at, line in enumerate(lines, 1):
            try:
                note = json.loads(line)
                number, what = note["number"], note["what"]
                if type(number) is not int or not isinstance(what, dict):
                    raise ValueError("not a note")
            except (ValueError, KeyError, TypeError):
                raise DatabaseError(
                    f"Line {at} of the file of erasures {self._path} is damaged.",
                    hint="Put it back from its own copy: without it a restored backup may bring back what was erased.",
                ) from None
            yield number, what


def kept_in(path: Path) -> list[tuple[int, str]]:
    """The notes in another copy of the database; none when it has none that can be read."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return [(number, _encoded(json.loads(what))) for number, what in _rows(connection)]
        finally:
            connection.close()
    except (sqlite3.Error, ValueError) as error:
        _log.warning("what %s says of erasures takes no part: %s", path.name, error)
        return []


def _rows(connection: Connection, after: int = 0) -> list[tuple[int, str]]:
    return connection.execute("SELECT number, what FROM erased WHERE number > ? ORDER BY number", (after,)).fetchall()


def _latest(notes: Iterable[tuple[int, str]]) -> dict[str, int]:
    """Words of a note -> its largest number."""
    latest: dict[str, int] = {}
    for number, what in notes:
        latest[what] = max(number, latest.get(what, number))
    return latest


def _encoded(what: Mapping[str, Any]) -> str:
    return json.dumps(what, sort_keys=True, separators=(",", ":"))
