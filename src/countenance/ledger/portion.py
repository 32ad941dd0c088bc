"""Openings that are erased in one transaction, and what is noted of them outside the database.

Knows rows and conditions on them; does not know why they are erased (`retention`, `expiry`). A note names a log and a
span of its indices, so that a restore erases again what was erased and nothing that came to be protected since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from countenance.ledger.entries import prefixes
from countenance.store import Connection

PORTION: Final = 1_000
"""Openings erased in one transaction, so that other changes do not wait for thousands of them."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Openings taken at once: all that a condition held of, of one log, from index `first` to `last`."""

    prefix: str
    origin: str
    indices: Sequence[int]

    def note(self, kind: str, account: str, before_us: int) -> dict[str, Any]:
        """What is noted of it (`store.erasures`): no more than what was taken, whatever came later."""
        said = {"kind": kind, "account": account, "before": before_us, "origin": self.origin}
        return said | {"first": self.indices[0], "last": self.indices[-1]}


def portion(
    connection: Connection,
    condition: str,
    values: tuple[object, ...],
    limit: int,
    of: Mapping[str, Any] | None = None,
) -> Portion | None:
    """The first openings that a condition holds of, of the oldest log that has any; None when there are none.

    Args:
        condition: on the columns of log_openings.
        of: the note of an earlier portion; None looks everywhere.
    """
    within = of or {}
    first, last = within.get("first", 0), within.get("last", 2**62)
    for prefix in prefixes(connection):
        origin = _origin(connection, prefix)
        if within.get("origin", origin) != origin:
            continue
        rows = connection.execute(
            f"SELECT idx FROM {prefix}log_openings WHERE idx BETWEEN ? AND ? AND {condition}"  # noqa: S608
            " ORDER BY idx LIMIT ?",
            (first, last, *values, limit),
        ).fetchall()
        if rows:
            return Portion(prefix, origin, [index for (index,) in rows])
    return None


def _origin(connection: Connection, prefix: str) -> str:
    if prefix:
        number = int(prefix.removeprefix("closed").removesuffix("_"))
        row = connection.execute("SELECT origin FROM log_closed WHERE number = ?", (number,)).fetchone()
    else:
        row = connection.execute("SELECT origin FROM log_keys ORDER BY number DESC LIMIT 1").fetchone()
    return str(row[0]) if row else ""
