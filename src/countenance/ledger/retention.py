"""Erasing what entries say about persons, and the holds that forbid it.

Knows openings and holds; does not know why somebody may ask. The accounting section, the leaf, the tree and every total
stay as they are: the person section's hash takes its place in the opening, and a public leaf names the ground and the
count (PROOFS, section 2). Accounting sections are another matter: see `expiry`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from countenance_audit import canonical
from countenance_audit.leaf import section_hash

from countenance.errors import Error
from countenance.ledger.entries import prefixes
from countenance.ledger.entry import Opaque, Public, accounting
from countenance.ledger.log import Log
from countenance.ledger.portion import PORTION, Portion, portion
from countenance.store import Connection

GROUND_CHARACTERS: Final = 200
PERSONS: Final = "persons"
NAMED: Final = "named"
"""Kinds of the notes about such erasures, of a span of time and of somebody: see `store.erasures`."""


@dataclass(frozen=True, slots=True)
class Instructed:
    """By which instruction something about an account is done."""

    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at_us: int = field(default_factory=lambda: time.time_ns() // 1000)
    """Microseconds since 1970."""
    party: Sequence[tuple[str, str, str]] = ()
    """Role, scheme and identifier of whom the account belongs to."""
    by: str = ""
    """Which operator instructs it, or that the host does."""

    def act(self, operation: str, account: str, details: Mapping[str, Any]) -> Opaque:
        """The entry of what is done."""
        return Opaque(
            accounting(
                kind="act",
                time=self.at_us,
                operation=operation,
                request_id=self.request_id,
                account=account,
                party=self.party,
                details={**details, "by": self.by} if self.by else details,
            )
        )


_NAMING: Final = (
    "person IS NOT NULL AND person <> '{}' AND json_extract(accounting, '$.account') = ? AND ("
    "EXISTS (SELECT 1 FROM json_each(person, '$.external_image_ids') WHERE value IN (SELECT value FROM json_each(?)))"
    " OR EXISTS (SELECT 1 FROM json_each(person, '$.face_ids') WHERE value IN (SELECT value FROM json_each(?))))"
)
_HOLD: Final = "INSERT INTO log_holds (account, reason) VALUES (?, ?) ON CONFLICT DO NOTHING"
_PERSONS_OF: Final = (
    "person IS NOT NULL AND person <> '{}'"
    " AND json_extract(accounting, '$.account') = ? AND CAST(json_extract(accounting, '$.end') AS INTEGER) < ?"
)


class HoldInForce(Error):
    """A legal hold forbids the erasure."""


class NoSuchHold(Error):
    """There is no hold on that account."""


def erase_persons(log: Log, *, account: str, before_us: int, ground: str) -> int:
    """Erase the person sections of an account's entries that ended before a time; returns how many.

    Args:
        account: 12 digits.
        before_us: microseconds since 1970.
        ground: the legal ground, as the public leaf names it; no names.

    Raises:
        HoldInForce: the account is under a legal hold; nothing was erased.
        Error: no ground was given.
    """
    check_ground(ground)
    total = 0
    while True:
        erased = log.write(
            lambda connection: _erase(log, connection, account, before_us),
            lambda count: (
                Public({"kind": "retention", "class": "person", "ground": ground, "count": count}) if count else None
            ),
        )
        total += erased
        if not erased:
            return total


def erase_person(log: Log, *, account: str, external_image_id: str, face_ids: Sequence[str], ground: str) -> int:
    """Erase the person sections of an account's entries that name somebody; returns how many.

    Args:
        face_ids: of the references that were somebody's.

    Raises:
        HoldInForce: the account is under a legal hold; nothing was erased.
    """
    check_ground(ground)
    wanted = json.dumps([external_image_id]), json.dumps(list(face_ids))
    total = 0
    while True:
        erased = log.write(
            lambda connection: _erase_named(log, connection, account, wanted),
            lambda count: (
                Public({"kind": "retention", "class": "person", "ground": ground, "count": count}) if count else None
            ),
        )
        total += erased
        if not erased:
            return total


def calls_naming(connection: Connection, *, account: str, external_image_id: str, face_ids: Sequence[str]) -> list[str]:
    """Request ids of an account's entries that name somebody, of all logs here: what `erase_person` would erase."""
    values = account, json.dumps([external_image_id]), json.dumps(list(face_ids))
    found: set[str] = set()
    for prefix in prefixes(connection):
        rows = connection.execute(f"SELECT request_id FROM {prefix}log_openings WHERE {_NAMING}", values)  # noqa: S608
        found.update(request_id for (request_id,) in rows.fetchall())
    return sorted(found)


def replay_named(connection: Connection, notes: Sequence[Mapping[str, Any]]) -> int:
    """Erase again the person sections of single entries that an older database brought back; how many there were."""
    count = 0
    for note in notes:
        marks = ", ".join("?" * len(note["indices"]))
        condition = f"idx IN ({marks}) AND person IS NOT NULL AND person <> '{{}}'"
        while found := portion(connection, condition, tuple(note["indices"]), PORTION, {"origin": note["origin"]}):
            _erase_at(connection, found)
            count += len(found.indices)
    return count


def _erase_named(log: Log, connection: Connection, account: str, wanted: tuple[str, str]) -> int:
    refuse_if_held(connection, account)
    found = portion(connection, _NAMING, (account, *wanted), PORTION)
    if found is None:
        return 0
    _erase_at(connection, found)
    log.note_erasure(connection, {"kind": NAMED, "origin": found.origin, "indices": list(found.indices)})
    return len(found.indices)


def _erase_at(connection: Connection, found: Portion) -> None:
    marks = ", ".join("?" * len(found.indices))
    rows = connection.execute(
        f"SELECT idx, person, person_salt FROM {found.prefix}log_openings WHERE idx IN ({marks})",  # noqa: S608
        tuple(found.indices),
    ).fetchall()
    connection.executemany(
        f"UPDATE {found.prefix}log_openings SET person = NULL, person_salt = NULL, person_hash = ?"  # noqa: S608
        " WHERE idx = ?",
        ((section_hash("person", salt, canonical.decode(person)), index) for index, person, salt in rows),
    )


def check_ground(ground: str) -> None:
    """Raises Error when it names none, or none that the public leaf can carry."""
    if not ground.strip() or len(ground) > GROUND_CHARACTERS or not ground.isprintable():
        raise Error(
            f"Name the legal ground in at most {GROUND_CHARACTERS} printable characters.", hint="such as Art. 17 GDPR"
        )


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > GROUND_CHARACTERS or not reason.isprintable():
        raise Error(
            f"Name the reason of the hold in at most {GROUND_CHARACTERS} printable characters.",
            hint="such as a court's file number",
        )


def hold(log: Log, *, account: str, reason: str, by: Instructed | None = None) -> None:
    """Forbid erasures of an account's entries until `release`; holding twice keeps the first reason, and is no act.

    Raises:
        Error: no reason was given, or none that can be recorded.
    """
    _check_reason(reason)
    details = {"reason": reason}
    log.write(
        lambda connection: connection.execute(_HOLD, (account, reason)).rowcount,
        lambda is_new: (by or Instructed()).act("ledger.hold", account, details) if is_new else None,
    )


def release(log: Log, *, account: str, by: Instructed | None = None) -> None:
    """End a hold. Raises NoSuchHold."""

    def end(connection: Connection) -> None:
        if _why_held(connection, account) is None:
            raise NoSuchHold(f"Account {account[:40]} is not under a hold.")
        connection.execute("DELETE FROM log_holds WHERE account = ?", (account,))

    log.write(end, lambda _: (by or Instructed()).act("ledger.release", account, {}))


def replay(connection: Connection, notes: Sequence[Mapping[str, Any]]) -> int:
    """Erase again the person sections that an older database brought back; returns how many there were. A hold that is
    in force does not forbid it: each note is of what was erased in one transaction, before the hold or under none."""
    count = 0
    for note in notes:
        while erased := _erase_portion(connection, note["account"], note["before"], note):
            count += len(erased.indices)
    return count


def refuse_if_held(connection: Connection, account: str) -> None:
    """Raises HoldInForce when nothing of the account may be erased, by the open transaction."""
    reason = _why_held(connection, account)
    if reason is not None:
        raise HoldInForce(
            f"Account {account} is under a legal hold: {reason[:200]}.",
            hint="`countenance ledger release` ends a hold; nothing was erased",
        )


def held(connection: Connection) -> list[str]:
    """The accounts under a legal hold, by the open transaction."""
    found = {row[0] for row in connection.execute("SELECT account FROM log_holds").fetchall()}
    for prefix in prefixes(connection):
        rows = connection.execute(
            f"SELECT DISTINCT a.account FROM {prefix}log_acts a JOIN {prefix}log_openings o ON o.idx = a.idx"  # noqa: S608
            " WHERE json_extract(accounting, '$.operation') = 'ledger.hold'"
        ).fetchall()
        found |= {account for (account,) in rows if _why_held(connection, account) is not None}
    return sorted(found)


def _why_held(connection: Connection, account: str) -> str | None:
    """Why nothing of an account may be erased: a hold's reason, by its row, or by the latest act about it. Whoever
    takes the row away has not ended the hold."""
    row = connection.execute("SELECT reason FROM log_holds WHERE account = ?", (account,)).fetchone()
    if row is not None:
        return str(row[0])
    for prefix in reversed(prefixes(connection)):
        latest = connection.execute(
            "SELECT json_extract(accounting, '$.operation'), json_extract(accounting, '$.details.reason')"  # noqa: S608
            f" FROM {prefix}log_acts a JOIN {prefix}log_openings o ON o.idx = a.idx WHERE a.account = ?"
            " AND json_extract(accounting, '$.operation') IN ('ledger.hold', 'ledger.release')"
            " ORDER BY o.idx DESC LIMIT 1",
            (account,),
        ).fetchone()
        if latest is not None:
            return str(latest[1]) if latest[0] == "ledger.hold" else None
    return None


def carry_over(connection: Connection, account: str, reason: str) -> None:
    """Put a hold in force again that the log says is, and that an older database lacks."""
    connection.execute(
        "INSERT INTO log_holds (account, reason) VALUES (?, ?) ON CONFLICT DO NOTHING", (account, reason)
    )


def holds(connection: Connection) -> dict[tuple[str, ...], dict[str, int | str]]:
    """The holds as `acts` names things."""
    rows = connection.execute("SELECT account, reason FROM log_holds").fetchall()
    return {("hold", account): {"reason": reason} for account, reason in rows}


def _erase(log: Log, connection: Connection, account: str, before_us: int) -> int:
    refuse_if_held(connection, account)
    erased = _erase_portion(connection, account, before_us)
    if erased is None:
        return 0
    log.note_erasure(connection, erased.note(PERSONS, account, before_us))
    return len(erased.indices)


def _erase_portion(
    connection: Connection, account: str, before_us: int, of: Mapping[str, Any] | None = None
) -> Portion | None:
    """Of one log; logs that ended are not spared."""
    found = portion(connection, _PERSONS_OF, (account, before_us), PORTION, of)
    if found is None:
        return None
    _erase_at(connection, found)
    return found
