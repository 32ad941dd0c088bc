"""Acts of the log as values: read with their leaves checked, and written like every other entry.

For what is in force by acts alone (`operators`): an opening that does not open its leaf is passed over, so that what
somebody wrote into the rows counts for nothing.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from countenance_audit.errors import AuditError
from countenance_audit.leaf import Public, check_opening, parse

from countenance.ledger.entry import Opaque, accounting, person
from countenance.ledger.log import Log

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """An act.

    Attributes:
        account: 12 digits, or "" for what concerns the whole server.
        at_us: microseconds since 1970.
    """

    operation: str
    account: str
    request_id: str
    at_us: int
    details: Mapping[str, int | str]


class Journal:
    """Reads and writes acts. Safe to use from any thread."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def acts(self, operations: Sequence[str]) -> Iterator[Said]:
        """Those of some operations in all logs here, the oldest first."""
        for each in self._log.storage.entries.acts_named(operations):
            try:
                check_opening(each.opening(), each.leaf)
            except AuditError as error:
                _log.error("an act does not open its leaf, and counts for nothing: %s", error)
                continue
            said = each.accounting
            yield Said(said["operation"], said["account"], said["request_id"], said["time"], said["details"])

    def last_us(self) -> int:
        """Time of the last entry, microseconds since 1970: entries never go back, whatever the clock does."""
        return self._log.last_time

    def has_lost(self) -> bool:
        """Whether a recovery could not bring every entry back, as leaves of this log and of those that ended say."""
        rows = self._log.storage
        for each in (*(rows.of_closed(ended) for ended in rows.closed()), rows):
            for leaf in each.public_leaves(each.last_size()):
                found = parse(leaf)
                if isinstance(found, Public) and found.kind == "recovery" and found.content["lost"]:
                    return True
        return False

    def append(
        self,
        operation: str,
        account: str,
        request_id: str,
        at_us: int,
        details: Mapping[str, int | str],
        *,
        party: Sequence[tuple[str, str, str]] = (),
        external_image_ids: Sequence[str] = (),
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Make an act durable, and what `also` does to the database with it.

        Args:
            external_image_ids: of persons whom it is about; they can be erased from it.

        Raises:
            DatabaseError: it is not in the log.
        """
        said = accounting(
            kind="act",
            time=at_us,
            operation=operation,
            request_id=request_id,
            account=account,
            party=party,
            details=details,
        )
        self._log.append(Opaque(said, person(external_image_ids=external_image_ids)), also)
