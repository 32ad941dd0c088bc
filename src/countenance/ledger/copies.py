"""What there is of a log besides its database: copies of it, openings that callers kept, and checkpoints known.

Knows mirrors, database files and answers to `GET /receipts/ID`, all as they come; decides nothing (`recover`). Of what
is read here only the checkpoints were checked, and a mirror's leaves against its checkpoint.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from countenance_audit import canonical
from countenance_audit.checkpoint import Checkpoint
from countenance_audit.checkpoint import parse as parse_checkpoint
from countenance_audit.errors import AuditError
from countenance_audit.fetching import open_location
from countenance_audit.leaf import Opening
from countenance_audit.mirror import Log as MirroredLog
from countenance_audit.note import SignedNote
from countenance_audit.policy import TrustPolicy

from countenance.errors import Error
from countenance.ledger import history, storage
from countenance.ledger.keys import Keys
from countenance.ledger.storage import KeyRow, Storage


class RecoveryFailed(Error):
    """The copies at hand do not make the log what was signed of it."""


@dataclass(frozen=True, slots=True)
class Copies:
    """What there is besides the database.

    Attributes:
        mirrors: http(s) addresses of a log's prefix, or folders that `countenance-audit mirror` keeps.
        databases: other copies of countenance.db, as far as they can be read.
        openings: index -> opening, from the answers to `GET /receipts/ID` that callers kept.
    """

    mirrors: Sequence[str] = ()
    databases: Sequence[Path] = ()
    openings: Mapping[int, Opening] | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint that was signed, and where it was found."""

    checkpoint: Checkpoint
    where: str


def kept_openings(answers: Iterable[bytes]) -> dict[int, Opening]:
    """Openings by index from answers to `GET /receipts/ID`, the effects of each call among them.

    Raises:
        RecoveryFailed: one is no such answer.
    """
    found: dict[int, Opening] = {}
    for number, answer in enumerate(answers, 1):
        try:
            body = canonical.read(answer)
            for each in ({"index": body["index"], "opening": body["opening"]}, *body.get("effects", ())):
                if type(each["index"]) is not int or each["index"] < 0:
                    raise ValueError("an index is a number")
                found[each["index"]] = Opening.from_json(each["opening"])
        except (AuditError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecoveryFailed(
                f"The {number}. of the kept answers is not one to GET /receipts/ID: {str(error)[:200]}"
            ) from None
    return found


def key_rows_in(path: Path) -> list[KeyRow]:
    """The log's keys in a copy of the database; none when it has none that can be read."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            found = connection.execute("SELECT number, origin, wrapped, state FROM log_keys ORDER BY number").fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return []  # of an older program, or not a database: which it is, is told when its leaves are read
    return [KeyRow(*row) for row in found]


def gathered(
    rows: Storage, keys: Keys, folder: Path, copies: Copies, first: int, *, closing: bool = False
) -> tuple[list[Known], dict[int, bytes], dict[int, Opening]]:
    """Checkpoints known, and leaves and openings from index `first` on. Of two leaves, a mirror's counts."""
    known: list[Known] = []
    for note, where in (
        (rows.latest_checkpoint(), "in the database"),
        (history.high_water(folder), "kept outside the database"),
    ):
        if note is not None:
            known.append(Known(_opened(keys, note, where, closing=closing), where))
    leaves: dict[int, bytes] = {}
    openings: dict[int, Opening] = dict(copies.openings or {})
    for index, opening in openings.items():
        leaves[index] = opening.leaf()
    for path in copies.databases:
        _from_database(path, keys, first, known, leaves, openings)
    for location in copies.mirrors:
        _from_mirror(location, keys, first, known, leaves)
    return known, leaves, openings


def _opened(keys: Keys, note: bytes, where: str, *, closing: bool = False) -> Checkpoint:
    try:
        if closing:  # an older database may lack the key that signed last; the size is told all the same
            return parse_checkpoint(SignedNote.parse(note).text)
        return keys.open(note)
    except AuditError as error:
        raise RecoveryFailed(
            f"The checkpoint {where} is not by a key that this database holds: {error}",
            hint="use a newer copy of the database, or close the log with --new-origin",
        ) from None


def _from_mirror(location: str, keys: Keys, first: int, known: list[Known], leaves: dict[int, bytes]) -> None:
    policy = "".join(f"log {key.verifier}\n" for key in keys.known) + "quorum none\n"
    where = f"at the mirror {location}"
    try:
        log = MirroredLog(open_location(location), TrustPolicy.parse(policy))
        checkpoint = log.checkpoint().checkpoint
        for leaf in log.leaves(checkpoint):
            if leaf.index >= first:
                leaves[leaf.index] = leaf.data
    except AuditError as error:
        raise RecoveryFailed(f"The copy {where} cannot be used: {error}") from None
    known.append(Known(checkpoint, where))


def _from_database(
    path: Path,
    keys: Keys,
    first: int,
    known: list[Known],
    leaves: dict[int, bytes],
    openings: dict[int, Opening],
) -> None:
    """What another copy of the database has; unsigned beyond its last checkpoint, and acknowledged all the same."""
    where = f"in {path.name}"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            note = connection.execute("SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1").fetchone()
            found = connection.execute("SELECT idx, leaf FROM log_leaves WHERE idx >= ?", (first,)).fetchall()
            kept = connection.execute(
                "SELECT idx, accounting, accounting_salt, person, person_salt, person_hash FROM log_openings"
                " WHERE idx >= ?",
                (first,),
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise RecoveryFailed(f"The copy {where} cannot be read: {error}") from None
    if note is not None:
        known.append(Known(_opened(keys, note[0], where), where))
    leaves.update(found)
    for row in kept:
        openings.setdefault(row[0], storage.opening_of(row[1:]))
