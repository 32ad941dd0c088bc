"""The writing connection as the writer thread sees it: begun, committed, taken back, and what its troubles mean.

One transaction writes at a time, whoever else has the database open: SQLite's lock and a row of PostgreSQL see to that.
So what a change reads inside its transaction is what there is when it commits. Where several processes write, the row
`store_state` counts their transactions: one that finds another number than it left knows that others wrote meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from countenance.store.sql import Connection

TAKE = (
    "UPDATE store_state SET change = change + 1,"
    " term = term + CASE WHEN holder = ? THEN 0 ELSE 1 END, holder = ? WHERE one = 1"
    " RETURNING change, acts, term"
)
"""Counts a transaction. In PostgreSQL it takes the lock that others wait for as well."""
NOTE_ACTS = "UPDATE store_state SET acts = change WHERE one = 1"
"""Notes that the transaction says something that others keep in memory."""
LOOK = "SELECT change, acts, term FROM store_state WHERE one = 1"


@dataclass(frozen=True, slots=True)
class State:
    """Where the database stands.

    Attributes:
        change: how many transactions were written.
        acts: `change` of the last that had an act, a thing that processes keep in memory.
        term: how often the right to write went from one process to another: the fencing token.
    """

    change: int
    acts: int
    term: int


class Session(Protocol):
    """The writing connection, owned by the writer thread."""

    @property
    def connection(self) -> Connection:
        """For the work inside a transaction."""
        ...

    @property
    def connections(self) -> int:
        """How many connections there were. Behind another one there may be another database: a standby that took over,
        or one that was put back."""
        ...

    def begin_first(self) -> None:
        """Open a transaction that keeps every other writer out, before the store has its own tables."""
        ...

    def begin(self) -> State | None:
        """Open a transaction that keeps every other writer out; the state that it makes, where several write."""
        ...

    def commit(self) -> None:
        """Make it durable. Raising leaves open whether it is."""
        ...

    def rollback(self) -> None:
        """Take it back, if one is open."""
        ...

    def is_open(self) -> bool:
        """Whether a transaction is open still: some failures take back all of it."""
        ...

    def meaning(self, failure: BaseException) -> BaseException:
        """What a caller gets for a failure of the driver; other failures as they are."""
        ...

    def breaks(self, failure: BaseException) -> bool:
        """Whether nothing may be written any more after this failure."""
        ...

    def tidy(self) -> None:
        """Housekeeping between transactions. Raises what `breaks` knows."""
        ...

    def truncate(self) -> bool:
        """Let go of what was overwritten or removed, as far as the database keeps it beside itself; whether it did."""
        ...

    def abandon(self) -> None:
        """End it at once, whatever is open; never raises."""
        ...

    def close(self) -> None:
        """End it."""
        ...
