"""What a screening found, as its report has it: plain values, each with what it rests on.

A finding's `case` is a hash over what was compared: another entry, another party or another algorithm is another case,
so that a judgement holds for as long as nothing it rested on has changed. Its `about` is the same through all of that.
Knows hits, and chains of statements as plain values; does not know who judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from countenance_audit import canonical

from countenance.standing.matching import Hit, Tier

BLOCKING_ROLES: Final = frozenset({"party", "end-user", "payer", "signatory"})
"""A hit on one of these is a hit on whoever is served, pays or signs. One on an owner says only that the owner is
listed; what that means for the party is for the tests of ownership (OFAC, EU and UK differ), and for a person."""
CASE_DIGITS: Final = 16
SCORE_DIGITS: Final = 1_000_000
"""Scores are kept as millionths: canonical JSON has no fractions."""

Finding = dict[str, Any]


def finding(
    kind: str, about: str, tier: Tier, title: str, subject: str, explained: Mapping[str, Any], rests_on: Sequence[str]
) -> Finding:
    """One finding.

    Args:
        kind: name, ownership, nexus or red-flag.
        about: what stays the same when entries, parties and algorithms change.
        title: one line, for people.
        subject: role and name of whom it is about, as declared.
        explained: plain values of JSON without fractions.
        rests_on: hashes and versions of all that was compared.
    """
    case = sha256("\n".join((about, str(tier), *rests_on)).encode()).hexdigest()[:CASE_DIGITS]
    said = {"case": case, "about": about, "tier": str(tier), "kind": kind, "title": title, "subject": subject}
    return {**said, "explained": dict(explained), "rests_on": list(rests_on)}


def of_hit(role: str, name: str, hit: Hit) -> Finding:
    """That somebody looks like a listed entry."""
    tier = hit.tier if role in BLOCKING_ROLES else Tier.REVIEW
    of = f"hit/{role}/{name}/{hit.list_id}/{hit.entry_id}"
    title = f"{role} {name}: {hit.listed_name or hit.entry_id} on {hit.list_id}, {hit.score:.2f}"
    rests_on = (hit.entry_hash, hit.party_hash, hit.scorer, hit.config_hash)
    return finding("name", of, tier, title, f"{role} {name}", plain(hit.as_json()), rests_on)


def plain(value: Any) -> Any:
    """The same as canonical JSON takes it: fractions become whole millionths, members in "_millionths"."""
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for name, each in value.items():
            if isinstance(each, float):
                found[f"{name}_millionths"] = round(each * SCORE_DIGITS)
            else:
                found[str(name)] = plain(each)
        return found
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def outcome(findings: Sequence[Mapping[str, Any]]) -> str:
    """The worst tier among findings, or "clear"."""
    tiers = {str(each["tier"]) for each in findings}
    return str(Tier.BLOCK) if Tier.BLOCK in tiers else str(Tier.REVIEW) if tiers else "clear"


def digest(value: Any) -> str:
    """SHA-256 of plain values as canonical JSON, in hexadecimal."""
    return sha256(canonical.encode(value)).hexdigest()
