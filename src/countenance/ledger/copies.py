"""What there is of a log besides its database: copies of it, openings that callers kept, and checkpoints known.

Knows mirrors, database files and answers to `GET /receipts/ID`, all as they come; decides nothing (`recover`). Of what
is read here only the checkpoints were checked, and a mirror's leaves against its checkpoint.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from countenance_audit import canonical
from countenance_audit.checkpoint import Checkpoint
from countenance_audit.checkpoint import parse as parse_checkpoint
from countenance_audit.errors import AuditError
from countenance_audit.fetching import open_location
from countenance_audit.leaf import Opening, check_opening, parse
from countenance_audit.merkle import leaf_hash, verify_inclusion
from countenance_audit.mirror import Log as MirroredLog
from countenance_audit.note import SignedNote
from countenance_audit.policy import TrustPolicy

from countenance.errors import Error
from countenance.ledger import history
from countenance.ledger.entries import opening_of
from countenance.ledger.keys import Keys
from countenance.ledger.storage import KeyRow, Storage

_log = logging.getLogger(__name__)


class RecoveryFailed(Error):
    """The copies at hand do not make the log what was signed of it."""


@dataclass(frozen=True, slots=True)
class Copies:
    """What there is besides the database.

    Attributes:
        mirrors: http(s) addresses of a log's prefix, or folders that `countenance-audit mirror` keeps.
        databases: other copies of countenance.db, as far as they can be read.
        answers: to `GET /receipts/ID`, as callers kept them.
        standing: mirrors of the settings, which take part as far as they can be read.
    """

    mirrors: Sequence[str] = ()
    databases: Sequence[Path] = ()
    answers: Sequence[bytes] = ()
    standing: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint that was signed, and where it was found."""

    checkpoint: Checkpoint
    where: str


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
    rows = [KeyRow(*row) for row in found]
    shapes = [(type(row.number), type(row.origin), type(row.wrapped), type(row.state)) for row in rows]
    return rows if all(shape == (int, str, bytes, str) for shape in shapes) else []


def gathered(
    rows: Storage, keys: Keys, folder: Path, copies: Copies, first: int, *, closing: bool = False
) -> tuple[list[Known], dict[int, bytes], dict[int, Opening]]:
    """Checkpoints known, and leaves and openings from index `first` on. Of two leaves, a mirror's counts; of two
    openings, a database's, where persons may have been erased since.

    Args:
        closing: an older database may lack the key that signed last; the size is told all the same. What another log
            signed says nothing about this one.
    """
    known: list[Known] = []
    for note, where in (
        (rows.latest_checkpoint(), "in the database"),
        (history.high_water(folder), "kept outside the database"),
    ):
        if note is not None:
            seen = _said(note, where) if closing else _opened(keys, note, where)
            if seen.origin == keys.origin:
                known.append(Known(seen, where))
            else:
                _log.warning("the checkpoint %s is of %s; the database's log is %s", where, seen.origin, keys.origin)
    leaves: dict[int, bytes] = {}
    kept = _from_answers(copies.answers, keys, known)
    leaves.update((index, opening.leaf()) for index, opening in kept.items())
    told: dict[int, Opening] = {}
    for path in copies.databases:
        _from_database(path, keys, first, known, leaves, told)
    for location in copies.standing:
        try:
            _from_mirror(location, keys, first, known, leaves)
        except RecoveryFailed as error:
            _log.warning("%s", error.message)
    for location in copies.mirrors:
        _from_mirror(location, keys, first, known, leaves)
    return known, leaves, kept | {index: each for index, each in told.items() if _opens(each, leaves[index])}


def _said(note: bytes, where: str) -> Checkpoint:
    try:
        return parse_checkpoint(SignedNote.parse(note).text)
    except AuditError as error:
        raise RecoveryFailed(
            f"The checkpoint {where} is none: {error}",
            hint=f"if the file {history.HIGH_WATER} is damaged, move it away",
        ) from None


def _opened(keys: Keys, note: bytes, where: str) -> Checkpoint:
    try:
        return keys.open(note)
    except AuditError as error:
        raise RecoveryFailed(
            f"The checkpoint {where} is not by a key that this database holds: {error}",
            hint="use a newer copy of the database, or close the log with --new-origin",
        ) from None


def _opens(opening: Opening, leaf: bytes) -> bool:
    try:
        check_opening(opening, leaf)
    except AuditError:
        return False
    return True


def _from_answers(answers: Sequence[bytes], keys: Keys, known: list[Known]) -> dict[int, Opening]:
    """The openings in answers to `GET /receipts/ID`, of leaves that are in a checkpoint of this log by their proofs."""
    found: dict[int, Opening] = {}
    for number, answer in enumerate(answers, 1):
        where = f"in the {number}. of the kept answers"
        try:
            body = canonical.read(answer)
            seen = keys.open(body["checkpoint"].encode())
            for each in (body, *body.get("effects", ())):
                if "proof" not in each:
                    _log.warning("an effect %s has no proof, and takes no part", where)
                    continue
                opening, proof = Opening.from_json(each["opening"]), [bytes.fromhex(one) for one in each["proof"]]
                verify_inclusion(each["index"], seen.size, leaf_hash(opening.leaf()), proof, seen.root)
                found[each["index"]] = opening
        except (AuditError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecoveryFailed(
                f"The {number}. of the kept answers is not one of this log to GET /receipts/ID: {str(error)[:200]}",
                hint="leave it out",
            ) from None
        known.append(Known(seen, where))
    return found


def _from_mirror(location: str, keys: Keys, first: int, known: list[Known], leaves: dict[int, bytes]) -> None:
    policy = "".join(f"log {key.verifier}\n" for key in keys.known) + "quorum none\n"
    where = f"at the mirror {location}"
    try:
        log = MirroredLog(open_location(location), TrustPolicy.parse(policy))
        checkpoint = log.checkpoint().checkpoint
        found = {leaf.index: leaf.data for leaf in log.leaves(checkpoint) if leaf.index >= first}
    except AuditError as error:
        raise RecoveryFailed(f"The copy {where} cannot be used: {error}") from None
    leaves.update(found)
    known.append(Known(checkpoint, where))


def openings_in(path: Path, rows: Storage, wanted: Sequence[int]) -> dict[int, Opening]:
    """What another copy of the database opens of some leaves that are here without an opening."""
    found: dict[int, Opening] = {}
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            for index in wanted:
                row = connection.execute(
                    "SELECT accounting, accounting_salt, person, person_salt, person_hash FROM log_openings"
                    " WHERE idx = ?",
                    (index,),
                ).fetchone()
                if row is not None:
                    found[index] = opening_of(row)
        finally:
            connection.close()
    except (sqlite3.Error, AuditError, ValueError, TypeError, AttributeError) as error:
        raise RecoveryFailed(
            f"The copy in {path.name} cannot be read: {str(error)[:200]}", hint="leave it out"
        ) from None
    return {index: each for index, each in found.items() if _opens(each, rows.leaves(index, index + 1)[0])}


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
        for _, leaf in found:
            parse(leaf)
        seen = [] if note is None else [Known(_opened(keys, bytes(note[0]), where), where)]
        told = {row[0]: opening_of(row[1:]) for row in kept}
    except (sqlite3.Error, AuditError, ValueError, TypeError, AttributeError) as error:
        raise RecoveryFailed(f"The copy {where} cannot be read: {str(error)[:200]}", hint="leave it out") from None
    known += seen
    leaves.update(found)
    for index, opening in told.items():
        openings.setdefault(index, opening)
