"""Mending a log that is behind what was signed of it: refilled from copies, or closed and followed by another.

Knows rows, trees and copies; takes no part in a log that is sound. Leaves come from mirrors, from other copies of the
database, and from openings that holders of receipts kept; the signed checkpoints decide whether they are the right
ones. What the lost entries did to the gallery does not come back with them: a leaf without its opening says that there
was an entry, and the entry of the recovery says how many such there are (PROOFS, section 4).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from countenance_audit import canonical
from countenance_audit.checkpoint import Checkpoint
from countenance_audit.checkpoint import parse as parse_checkpoint
from countenance_audit.errors import AuditError
from countenance_audit.leaf import Opening, parse, section_hash
from countenance_audit.leaf import Public as PublicLeaf
from countenance_audit.merkle import leaf_hash
from countenance_audit.note import SignedNote

from countenance.ledger import history, storage
from countenance.ledger import keys as keys_of_log
from countenance.ledger.copies import Copies, Known, RecoveryFailed, gathered, key_rows_in, openings_in
from countenance.ledger.entry import OpeningRow, account_of_act, canonical_bytes
from countenance.ledger.history import HIGH_WATER
from countenance.ledger.keys import Keys
from countenance.ledger.metering import PriceTable, month_of
from countenance.ledger.storage import KeyRow, Storage
from countenance.ledger.tree import WIDTH, Tree, rebuilt
from countenance.store import Connection, Database, Keyring, set_aside, tables

REASON_CHARACTERS: Final = 200
_KEPT: Final = ("log_holds", "log_closed", "log_owed")
"""Tables that outlive a log; every other log_ table is its own."""


@dataclass(frozen=True, slots=True)
class Refilled:
    """Leaves from `first` up to `size` - 1 were put back; `lost` of them have no opening.

    Attributes:
        filled: how many leaves that were here have their openings again, without what these say of persons: that may
            have been erased since the copy.
    """

    first: int
    size: int
    lost: int
    filled: int = 0
    has_new_key: bool = False
    """The key that signed last is nowhere: another was made."""


def refill(database: Database, keyring: Keyring, folder: Path, copies: Copies, *, reason: str) -> Refilled:
    """Put back the leaves that the database lacks, what openings of them there are, and openings that leaves of the
    database lack, in one transaction.

    The log, when it is opened next, says so in a public entry.

    Raises:
        RecoveryFailed: there is no log here, or the copies do not reach the largest checkpoint known, or contradict
            it. Nothing was changed.
    """
    _check_reason(reason)
    rows = Storage(database)
    keys = _keys(rows, keyring, [key_rows_in(path) for path in copies.databases])
    first = rows.last_size()
    known, leaves, openings = gathered(rows, keys, folder, copies, first)
    size = first
    while size in leaves:
        size += 1
    tree, tiles = _extended(rows, first, [leaf_hash(leaves[index]) for index in range(first, size)])
    _compare(known, tree, _reader(rows, tiles))
    added = [leaves[index] for index in range(first, size)]
    settled = keys_of_log.settled(
        keyring, keys.rows or rows.key_rows(), _told_publicly([*rows.public_leaves(first), *added])
    )
    opened = {index: each for index, each in openings.items() if first <= index < size}
    lost = sum(leaf[0] != ord("{") and index not in opened for index, leaf in enumerate(added, first))
    absent = rows.without_opening(first)
    filled = {index: openings[index] for index in absent if index in openings}
    for path in copies.databases:
        filled |= openings_in(path, rows, [index for index in absent if index not in filled])
    has_new_key = settled[-1].wrapped not in {row.wrapped for row in keys.rows or ()}
    result = Refilled(first, size, lost, len(filled), has_new_key)
    if size == first and not filled:
        return result
    begin = min([first, *filled])
    still = sum(begin <= index and index not in filled for index in absent)
    said = {"kind": "recovery", "first": begin, "size": size, "lost": lost + still, "reason": reason}
    owed: list[dict[str, Any]] = [said]
    uncounted = _lost_before(rows, first)
    last = settled[-1]
    if has_new_key:
        key = keys_of_log.verifier_of(keyring, last)
        owed.append({"kind": "key", "purpose": "log", "key": key, "reason": "loss"})

    def work(connection: Connection) -> None:
        every = opened | filled
        pairs = [(index, _row(each)) for index, each in sorted(every.items())]
        # What a recovery once lost was not charged then; what somebody took away was.
        charged = [each for index, each in every.items() if index >= first or index in uncounted]
        storage.insert(connection, first, added, pairs, tiles, _usage(charged))
        erased = [
            (each.person_hash, index) for index, each in every.items() if each.person is None and each.person_hash
        ]
        erased += [
            (section_hash("person", each.person_salt, each.person), index)
            for index, each in filled.items()
            if each.person is not None and each.person_salt is not None
        ]
        connection.executemany(
            "UPDATE log_openings SET person = NULL, person_salt = NULL, person_hash = ? WHERE idx = ?", erased
        )
        connection.execute("DELETE FROM log_keys")
        keys_of_log.insert(connection, settled)
        _owe(connection, owed)

    database.maintain(work)
    return result


def _lost_before(rows: Storage, size: int) -> set[int]:
    """Indices that recoveries so far put back."""
    told = (each for each in _told_publicly(rows.public_leaves(size)) if each["kind"] == "recovery")
    return {index for each in told for index in range(each["first"], each["size"])}


def close(
    database: Database, keyring: Keyring, folder: Path, copies: Copies, *, reason: str, successor: str | None = None
) -> Checkpoint:
    """End the log here and make room for another, whose first entries will name it; its rows are kept aside.

    Args:
        successor: the next log's name, when it has one already.

    Returns:
        The largest checkpoint of the ended log that is known to have been signed.

    Raises:
        RecoveryFailed: there is no log here, or its successor has the name of one that ended. Nothing was changed.
    """
    _check_reason(reason)
    rows = Storage(database)
    keys = _keys(rows, keyring)
    if successor in {keys.origin, *(each.origin for each in rows.closed())}:
        raise RecoveryFailed(
            f"{successor} is the name of a log that ended.", hint="an origin is for one log: choose another name"
        )
    at_mirrors = Copies(mirrors=copies.mirrors, standing=copies.standing)
    known, _, _ = gathered(rows, keys, folder, at_mirrors, rows.last_size(), closing=True)
    if not known:
        tree, tiles = _extended(rows, rows.last_size(), [])
        known = [Known(Checkpoint(keys.origin, tree.size, tree.root(tree.size, _reader(rows, tiles))), "here")]
    last = max((each.checkpoint for each in known), key=lambda each: each.size)
    try:
        key = keys_of_log.new_row(keyring, successor or keys_of_log.made_up_origin())
    except AuditError as error:
        raise RecoveryFailed(f"{successor} cannot be the name of a log: {error}") from None
    ended = [last, *_followed(folder, {keys.origin, *(each.origin for each in rows.closed())})]
    owed = [
        {
            "kind": "discontinuity",
            "previous_origin": each.origin,
            "previous_size": each.size,
            "previous_root": each.root.hex(),
            "reason": reason,
        }
        for each in ended
    ]

    def work(connection: Connection) -> None:
        (number,) = connection.execute(
            "INSERT INTO log_closed (origin, size, root, reason) VALUES (?, ?, ?, ?) RETURNING number",
            (last.origin, last.size, last.root, reason),
        ).fetchone()
        _set_aside(connection, f"closed{number}_")
        keys_of_log.insert(connection, [key])
        _owe(connection, owed)

    database.maintain(work)
    if len(ended) > 1:
        (folder / HIGH_WATER).rename(folder / f"{HIGH_WATER}.{time.time_ns()}")  # of a log that nothing here goes on
    return last


def _followed(folder: Path, known: set[str]) -> list[Checkpoint]:
    """The log that followed this one, when the database is from before it: it ends, too, and is to be named."""
    note = history.high_water(folder)
    if note is None:
        return []
    found = parse_checkpoint(SignedNote.parse(note).text)  # `gathered` has read it
    return [] if found.origin in known else [found]


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > REASON_CHARACTERS or not reason.isprintable():
        raise RecoveryFailed(
            f"The reason is empty, longer than {REASON_CHARACTERS} characters or not printable.",
            hint="say in a few words what happened; it is published",
        )


def _owe(connection: Connection, contents: Iterable[dict[str, Any]]) -> None:
    connection.executemany(
        "INSERT INTO log_owed (content) VALUES (?)", ((canonical.encode(each).decode(),) for each in contents)
    )


def _keys(rows: Storage, keyring: Keyring, of_copies: Sequence[Sequence[KeyRow]] = ()) -> Keys:
    """The log's keys, with those that only another copy has."""
    own = rows.key_rows()
    if not own:
        raise RecoveryFailed("There is no log in this database.", hint="a new one begins with the next start")
    return Keys(rows, keyring, None, rows=keys_of_log.merged(keyring, own, of_copies))


def _told_publicly(leaves: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    for leaf in leaves:
        found = parse(leaf)
        if isinstance(found, PublicLeaf):
            yield found.content


def _extended(rows: Storage, size: int, hashes: list[bytes]) -> tuple[Tree, list[tuple[int, int, bytes]]]:
    whole = size // WIDTH * WIDTH
    tree = rebuilt(size, (leaf_hash(leaf) for leaf in rows.leaves(whole, size)), rows.tile)
    return tree.extended(hashes)


def _reader(rows: Storage, tiles: Iterable[tuple[int, int, bytes]]) -> Any:
    made = {(level, n): hashes for level, n, hashes in tiles}
    return lambda level, n: made.get((level, n)) or rows.tile(level, n)


def _compare(known: Sequence[Known], tree: Tree, read: Any) -> None:
    for each in known:
        seen, where = each.checkpoint, each.where
        if seen.size > tree.size:
            raise RecoveryFailed(
                f"The checkpoint {where} is over {seen.size} leaves; with the copies there are {tree.size}.",
                hint="name further copies with --from, --database or --receipts, or close the log with --new-origin",
            )
        if tree.root(seen.size, read) != seen.root:
            raise RecoveryFailed(
                f"With the copies, the first {seen.size} leaves are not those of the checkpoint {where}.",
                hint="leave out the copy that does not belong here, or close the log with --new-origin",
            )


def _row(opening: Opening) -> OpeningRow:
    return OpeningRow(
        request_id=str(opening.accounting["request_id"]),
        accounting=canonical_bytes(opening.accounting).decode(),
        accounting_salt=opening.accounting_salt,
        person=canonical_bytes(opening.person or {}).decode(),
        person_salt=opening.person_salt or b"",
        account_of_act=account_of_act(opening.accounting),
    )


def _usage(openings: Iterable[Opening]) -> list[tuple[str, str, str, int]]:
    prices = PriceTable.load()
    return [
        (said["account"], prices.group(said["operation"]), month_of(said["time"]), said["units"])
        for said in (opening.accounting for opening in openings)
        if said["units"]
    ]


def _set_aside(connection: Connection, prefix: str) -> None:
    """Rename the log's tables and make empty ones like them."""
    for name in tables(connection, "log_"):
        if name not in _KEPT:
            set_aside(connection, name, prefix)
