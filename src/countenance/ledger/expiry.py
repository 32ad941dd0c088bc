"""Accounting sections past their floor: kept for ten years whatever is asked, and then erased if somebody decides so.

Knows openings, the floor and the holds. Companies have no right of erasure, and record-keeping duties of sanctions law
reach ten years back (docs/concepts/threat-model.md, `erased-accounting`), so nothing younger goes. The leaf stays; a
public entry names the count, and an auditor lists each opening that is missing. Acts and changes stay: what is in force
and what collections hold rests on them (`authority`, `acts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from countenance_audit.usage import day_of

from countenance.errors import Error
from countenance.ledger.entry import Public, microseconds
from countenance.ledger.log import Log
from countenance.ledger.periods.rows import forget
from countenance.ledger.portion import PORTION, Portion, portion
from countenance.ledger.retention import refuse_if_held
from countenance.store import Connection

ACCOUNTING: Final = "accounting"
"""Kind of the notes about such erasures: see `store.erasures`."""


_EXPIRED_OF: Final = (
    "json_extract(accounting, '$.account') = ? AND json_extract(accounting, '$.kind') NOT IN ('act', 'effect')"
    " AND CAST(json_extract(accounting, '$.end') AS INTEGER) < ?"
)


class FloorNotReached(Error):
    """The entries are younger than accounting has to be kept."""


def floor(now: datetime, years: int) -> datetime:
    """The moment before which accounting sections may be erased."""
    try:
        return now.replace(year=now.year - years)
    except ValueError:  # 29 February
        return now.replace(year=now.year - years, day=28)


def expire(log: Log, *, account: str, before: datetime, now: datetime, years: int) -> int:
    """Erase the openings of an account's entries that ended before a time; returns how many.

    Args:
        years: the floor.

    Raises:
        FloorNotReached: the time is within the floor; nothing was erased.
        HoldInForce: the account is under a legal hold; nothing was erased.
    """
    earliest = floor(now, years)
    if before > earliest:
        raise FloorNotReached(
            f"Accounting is kept for {years} years; what ended before {earliest:%Y-%m-%d} may go.",
            hint="name an earlier day; `countenance ledger erase` erases what entries say about persons at any time",
        )
    before_us, total = microseconds(before.astimezone(UTC)), 0

    def work(connection: Connection) -> int:
        refuse_if_held(connection, account)
        erased = _expire_portion(connection, account, before_us)
        if erased is None:
            return 0
        log.note_erasure(connection, erased.note(ACCOUNTING, account, before_us))
        return len(erased.indices)

    def said(count: int) -> Public | None:
        ground = f"past the floor of {years} years"
        return Public({"kind": "retention", "class": ACCOUNTING, "ground": ground, "count": count}) if count else None

    while count := log.write(work, said):
        total += count
    return total


def replay(connection: Connection, notes: Sequence[Mapping[str, Any]]) -> int:
    """Erase again the openings that an older database brought back; returns how many there were."""
    total = 0
    for note in notes:
        while erased := _expire_portion(connection, note["account"], note["before"], note):
            total += len(erased.indices)
    return total


def _expire_portion(
    connection: Connection, account: str, before_us: int, of: Mapping[str, Any] | None = None
) -> Portion | None:
    found = portion(connection, _EXPIRED_OF, (account, before_us), PORTION, of)
    if found is not None:
        rows = [(index,) for index in found.indices]
        connection.executemany(f"DELETE FROM {found.prefix}log_openings WHERE idx = ?", rows)  # noqa: S608
        connection.executemany(f"INSERT INTO {found.prefix}log_expired (idx) VALUES (?)", rows)  # noqa: S608
        forget(connection, account, day_of(before_us))
    return found
