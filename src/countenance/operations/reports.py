"""What a screening's report says of one account: hits, what ownership makes of them, red flags and nexus.

A report is plain values without fractions: its hash is in the act of the screening.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from countenance.accounts import Accounts, Declared
from countenance.operations.lookthrough import Chains, seen_through
from countenance.operations.redflags import (
    USAGE_DAYS,
    Addresses,
    Around,
    facts_of,
    facts_of_use,
    shared_addresses,
    usage_of,
)
from countenance.operations.subjects import FORMER, Subject
from countenance.standing import runner
from countenance.standing.findings import Finding, digest, of_hit
from countenance.standing.matching import Hit
from countenance.standing.record import DAY_US
from countenance.standing.rules import USE, Rule, digest_of, raised
from countenance.standing.runner import Wanted

__all__ = ["Around", "Looking", "report_of", "report_of_use"]


class Looking:
    """Gathers what rules look at beside an account's own declaration. For one thread at a time.

    Args:
        calls: account, hour since 1970 and count of answered calls since a moment.
    """

    def __init__(self, accounts: Accounts, data: Path, calls: Callable[[int], Iterable[tuple[str, int, int]]]) -> None:
        self._accounts = accounts
        self._data = data
        self._calls = calls
        self._listed: tuple[str, Addresses] | None = None
        self.labels_of: Callable[[str], Sequence[str]] = lambda account: ()
        """Texts that an account gave; the server, which has them, sets it."""

    def around(self, accounts: Sequence[str], wanted: Sequence[Wanted], now_us: int) -> Around:
        """For accounts that are screened together, with lists."""
        usage = usage_of(self._calls(now_us - USAGE_DAYS * DAY_US))
        declared = [self._accounts.party(account) for account in accounts]
        if not any(each is not None and each.party.addresses for each in declared):
            return Around(usage=usage, labels_of=self.labels_of)
        everybody = [(each.account_id, self._accounts.party(each.account_id)) for each in self._accounts.accounts()]
        shared = shared_addresses((account, each.party) for account, each in everybody if each is not None)
        key = digest([[each.list_id, each.sha256, list(each.only or ())] for each in wanted])
        if self._listed is None or self._listed[0] != key:
            self._listed = key, Addresses(runner.entities(self._data, wanted))
        return Around(shared, self._listed[1], usage, self.labels_of)


def report_of(
    account: str,
    declared: Declared,
    found: Sequence[Subject],
    hits: Mapping[str, tuple[Hit, ...]],
    chains: Chains,
    around: Around,
    rules: Sequence[Rule],
    *,
    sector: str,
    countries: tuple[str, ...],
    now_us: int,
) -> dict[str, Any]:
    """The report of an account that was screened.

    Args:
        hits: those of each of `found`, by its id for the matcher.
        rules: those in force.
        sector: as verified; "" until then.
        countries: that calls came from, and no declaration said.
    """
    of_each = {who.key: hits[who.screened.party_id] for who in found}
    made: list[Finding] = [
        of_hit(who.role, who.name, hit) for who in found if who.role != FORMER for hit in hits[who.screened.party_id]
    ]
    seen = seen_through(declared, found, of_each, chains, now_us)
    flags = raised(
        facts_of(account, declared, found, of_each, chains, around, sector=sector, countries=countries, now_us=now_us),
        rules,
    )
    made += [*seen.findings, *flags.findings]
    scorers = {f"{hit.scorer} {hit.config_hash}" for each in hits.values() for hit in each}
    return {
        "v": 1,
        "findings": sorted(made, key=lambda each: each["about"]),
        "notes": [*seen.notes, *flags.notes],
        "rests_on": [*sorted(scorers | set(seen.rests_on)), f"rules {digest_of(rules)}"],
    }


def report_of_use(
    account: str,
    declared: Declared | None,
    around: Around,
    rules: Sequence[Rule],
    *,
    countries: tuple[str, ...],
    now_us: int,
) -> dict[str, Any]:
    """Of the owner's account, which is not screened: what flags say of its use."""
    facts = facts_of_use(account, declared.party if declared else None, around, countries=countries, now_us=now_us)
    flags = raised(facts, rules, only=USE)
    rests_on = [f"rules {digest_of(rules)}"]
    return {"v": 1, "findings": flags.findings, "notes": flags.notes, "rests_on": rests_on}
