"""Acts of the log as values: read with their leaves checked, and written like every other entry.

For what is in force by acts alone (`operators`): an opening that does not open its leaf is passed over, so that what
somebody wrote into the rows counts for nothing.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from countenance_audit.errors import AuditError
from countenance_audit.leaf import Public, check_opening, parse

from countenance.ledger.entries import FROM_THE_START
from countenance.ledger.entry import Opaque, accounting, person
from countenance.ledger.log import Log
from countenance.store import Connection

SEAL: Final = "seal"
"""Member of an act's details; see `Log.seal`."""
UNSEALED: Final = frozenset({"account.create", "account.declare"})
"""Acts that the register writes with its rows; `authority` holds the two against each other."""

T = TypeVar("T")

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
    place: tuple[int, int] = (0, 0)
    """Later acts have a larger one."""


class Journal:
    """Reads and writes acts. Safe to use from any thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._number = len(log.storage.closed())

    def acts(self, operations: Sequence[str], after: tuple[int, int] = FROM_THE_START) -> Iterator[Said]:
        """Those of some operations in all logs here, the oldest first; only those after one with this place."""
        for each in self._log.storage.entries.acts_named(operations, after):
            try:
                check_opening(each.opening(), each.leaf)
            except AuditError as error:
                _log.error("an act does not open its leaf, and counts for nothing: %s", error)
                continue
            said = each.accounting
            act = Said(said["operation"], said["account"], said["request_id"], said["time"], said["details"])
            if self._is_ours(act):
                details = {name: value for name, value in act.details.items() if name != SEAL}
                yield replace(act, details=details, place=each.place)
            else:
                _log.error("the act %s has no seal of this server, and counts for nothing", act.request_id)

    def unsealed(self, operations: Sequence[str]) -> Iterator[Said]:
        """Acts of some operations that somebody else put into the rows, for `ledger fsck`."""
        for each in self._log.storage.entries.acts_named(operations):
            said = each.accounting
            act = Said(said["operation"], said["account"], said["request_id"], said["time"], said["details"])
            if not self._is_ours(act):
                yield act

    def _is_ours(self, act: Said) -> bool:
        if act.operation in UNSEALED:
            return True
        told = str(act.details.get(SEAL, "")).encode("utf-8", "replace")
        seal = self._sealed(act.operation, act.account, act.request_id, act.at_us, act.details)
        return hmac.compare_digest(told, seal.encode())

    def _sealed(
        self, operation: str, account: str, request_id: str, at_us: int, details: Mapping[str, int | str]
    ) -> str:
        said = {name: value for name, value in details.items() if name != SEAL}
        return self._log.seal([operation, account, request_id, at_us, said])

    def last_us(self) -> int:
        """Time of the last entry, microseconds since 1970: entries never go back, whatever the clock does."""
        return self._log.last_time

    def lost_us(self) -> int:
        """When a recovery last could not bring every entry back, as leaves of this log and of those that ended say;
        microseconds since 1970, 0 for never."""
        rows, last = self._log.storage, 0
        for each in (*(rows.of_closed(ended) for ended in rows.closed()), rows):
            for leaf in each.public_leaves(each.last_size()):
                found = parse(leaf)
                if isinstance(found, Public) and found.kind == "recovery" and found.content["lost"]:
                    last = max(last, found.time)
        return last

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
        also: Callable[[Connection], None] | None = None,
    ) -> tuple[int, int]:
        """Make an act durable, and what `also` does to the database with it; its place.

        Args:
            external_image_ids: of persons whom it is about; they can be erased from it.

        Raises:
            DecidedMeanwhile: another process wrote an act that this one has not taken in; see `again`.
            DatabaseError: it is not in the log.
        """
        details = {**details, SEAL: self._sealed(operation, account, request_id, at_us, details)}
        said = accounting(
            kind="act",
            time=at_us,
            operation=operation,
            request_id=request_id,
            account=account,
            party=party,
            details=details,
        )
        place = self._log.append(Opaque(said, person(external_image_ids=external_image_ids)), also, once=True)
        return self._number, place.index

    def note(self, operation: str, account: str, request_id: str, at_us: int, details: Mapping[str, int | str]) -> None:
        """Like `append`, of what rests on nothing that other processes decide. Not for who holds a lock that a follower
        takes."""
        self.again(lambda: self.append(operation, account, request_id, at_us, details))

    def again(self, work: Callable[[], T], *, repeats: bool = False) -> T:
        """What `work` returns, tried again when another process decided something meanwhile; see `Database.again`."""
        return self._log.again(work, repeats=repeats)
