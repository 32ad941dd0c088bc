"""What the log says about grants: the act behind a row of the register, unless a later act took it back.

Knows acts and their openings; does not know accounts, keys or buckets, and takes details as they are. An opening that
does not open its leaf says nothing here. Logs that ended here count, too: what they granted goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from countenance_audit.errors import AuditError
from countenance_audit.leaf import check_opening

from countenance.ledger.entries import KeptAct
from countenance.ledger.storage import Storage


class Acts:
    """The acts in the log. Safe to use from any thread."""

    def __init__(self, storage: Storage) -> None:
        self._entries = storage.entries

    def granted(
        self,
        request_id: str | None,
        *,
        operations: Sequence[str],
        account: str,
        details: Mapping[str, int | str],
        lately: Mapping[str, int | str],
        ended_by: str,
    ) -> str | None:
        """The request id of the act that grants something, which nothing has taken back since; None: there is none.

        Args:
            request_id: of the act; None looks for the latest that grants it.
            operations: what the act may be.
            account: 12 digits.
            details: what its details must say.
            lately: the same, but an act from before these were recorded lacks all of them.
            ended_by: the operation that takes it back, its details being among those; empty when none does.
        """
        acts = (
            self._entries.acts(account, operations)
            if request_id is None
            else (each for each in self._entries.acts_of(request_id) if each.accounting["operation"] in operations)
        )
        found = None
        for each in acts:
            said = each.accounting
            if said["account"] == account and _says(said["details"], details, lately) and _opens(each):
                found = each
        if found is None:
            return None
        if ended_by:
            for each in self._entries.acts(account, (ended_by,)):
                if each.place > found.place and _is_of(each.accounting["details"], details):
                    return None
        return str(found.accounting["request_id"])


def _says(said: Mapping[str, Any], details: Mapping[str, int | str], lately: Mapping[str, int | str]) -> bool:
    if any(said.get(name) != value for name, value in details.items()):
        return False
    return not lately.keys() & said.keys() or all(said.get(name) == value for name, value in lately.items())


def _is_of(said: Mapping[str, Any], details: Mapping[str, int | str]) -> bool:
    shared = said.keys() & details.keys()
    return bool(shared) and all(said[name] == details[name] for name in shared)


def _opens(act: KeptAct) -> bool:
    try:
        check_opening(act.opening(), act.leaf)
    except AuditError:
        return False
    return True
