"""Who is known to have stood behind an account on a past day, beyond those whom its own declaration named.

Brings declarations (`accounts`), recorded statements (`standing.ownership`) and identifiers of maps together. A
statement says from when to when it is true, so what is learnt late is held to the days that it is about. A
declaration says what is so from then on, and is in the entries themselves; but what it tells of who the party *is* was
so before: an LEI or another name of the same legal entity, or whose an account is that nobody had declared. Natural
persons are in no map by name (PROOFS section 5).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from typing import Final

from countenance_audit import identifiers, usage
from countenance_audit.errors import Malformed

from countenance.accounts import AccountNotFound, Accounts, Declared
from countenance.ledger import microseconds
from countenance.operations.lookthrough import Chains
from countenance.operations.standings import Standings
from countenance.operations.subjects import keys_of
from countenance.standing.ownership import Statement
from countenance.standing.ownership.interval import WHOLE
from countenance.standing.ownership.statements import CONTROLLING, known

QUARTER: Final = WHOLE // 4
"""Owners of 25 % or more are in maps (PROOFS section 5): where a share is a band, those who may hold as much."""
OWNER: Final = "recorded-owner"
CONTROLLER: Final = "recorded-controller"
LATER: Final = "party"
"""The role of identifiers that a later declaration gives to the party of an earlier one."""
_LISTED: Final = {"leiCode": "lei"}
"""Schemes that statements' sources use, and that maps have under another name."""


class Behind:
    """Asks what is on record now. Not safe for several threads: `Periods` asks under its lock."""

    def __init__(self, accounts: Accounts, standings: Standings) -> None:
        self._accounts = accounts
        self._standings = standings
        self._chains = Chains()
        self._known: list[Statement] = []
        self._read: tuple[str, ...] | None = None
        self._count = -1
        self._declared: dict[str, list[Declared]] = {}

    def refresh(self) -> bool:
        """Read the statements on record; whether there are others than at the last time, or other declarations."""
        count = self._accounts.count_declarations()
        is_new, self._count = count != self._count, count
        if is_new:
            self._declared.clear()
        if self._standings.documents_of_chains() == self._read:
            return is_new
        chains = self._standings.chains()
        self._chains, self._read = chains, chains.documents
        self._known = known(chains.recorded, max((each.at_us for each in chains.recorded), default=0))
        return True

    def __call__(self, account: str, day: str) -> list[tuple[str, str, str]]:
        """Role, scheme and normal form of each, the nearest first."""
        if self._read is None:
            self.refresh()
        return [*self._later(account, day), *self._recorded(account, day)]

    def _later(self, account: str, day: str) -> list[tuple[str, str, str]]:
        """What declarations after a day tell of who the party was on it."""
        end_us = usage.start_of(usage.next_day(day))
        declared = self._declarations(account)
        before = next((each for each in declared if microseconds(each.recorded_at) < end_us), None)
        found: dict[tuple[str, str, str], None] = {}
        for each in declared:
            if microseconds(each.recorded_at) < end_us:
                break
            if before is None:
                found |= dict.fromkeys(each.party.identified())
            elif before.party.is_same_entity(each.party):
                found |= dict.fromkeys((LATER, scheme, value) for scheme, value in each.party.own())
        there = {each[1:] for each in before.party.identified()} if before else set()
        return [each for each in found if each[1:] not in there]

    def _declarations(self, account: str) -> list[Declared]:
        """The latest first."""
        if account not in self._declared:
            with suppress(AccountNotFound):
                self._declared[account] = self._accounts.declarations(account)
            self._declared.setdefault(account, [])
        return self._declared[account]

    def _recorded(self, account: str, day: str) -> list[tuple[str, str, str]]:
        """What statements of ownership tell."""
        if not self._known:
            return []
        on = date.fromisoformat(day)
        holds = [each for each in self._known if each.holds_on(on) and _counts(each)]
        found: dict[tuple[str, str], str] = {}
        seen = set(self._own(account))
        waiting = sorted(seen)
        while waiting:
            below, above = waiting, dict[str, str]()
            for each in holds:
                if each.owned in below and each.owner not in seen:
                    above.setdefault(each.owner, CONTROLLER if each.interest in CONTROLLING else OWNER)
            seen |= above.keys()
            for node, role in above.items():
                for scheme, value in self._identifiers(node):
                    found.setdefault((scheme, value), role)
            waiting = sorted(above)
        return [(role, scheme, value) for (scheme, value), role in found.items()]

    def _own(self, account: str) -> tuple[str, ...]:
        """Nodes of the account's party, by whatever it was ever declared as."""
        nodes: list[str] = []
        for declared in self._declarations(account):
            party = declared.party
            nodes += keys_of(party.legal_name, [("lei", party.lei), ("reg", party.registration)])
        return self._chains.keys(dict.fromkeys(nodes))

    def _identifiers(self, node: str) -> Iterator[tuple[str, str]]:
        described = self._chains.parties.get(node, {})
        scheme, _, value = node.partition(":")
        raw: list[tuple[str, str]] = [(scheme, value)] if scheme in ("lei", "reg") else []
        raw += [(_LISTED[each[0]], each[1]) for each in described.get("identifiers", ()) if each[0] in _LISTED]
        raw += [("reg", other) for other in self._registrations(node)]
        if described and not described.get("is_person") and described.get("name"):
            raw.append(("name", str(described["name"])))
        for each in dict.fromkeys(raw):
            try:
                yield each[0], identifiers.normal(*each)
            except Malformed:
                continue  # a source's own way of writing it; its other identifiers count

    def _registrations(self, node: str) -> Iterator[str]:
        """Register's numbers that are the same as a node that is called by its LEI."""
        for other, first in self._chains.same.items():
            if first == node and other.startswith("reg:"):
                yield other.removeprefix("reg:")


def _counts(each: Statement) -> bool:
    """A quarter or more, or control, or nobody says how much."""
    return each.interest in CONTROLLING or each.share is None or each.share.maybe_at_least(QUARTER)
