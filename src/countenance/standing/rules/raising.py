"""What rules make of facts: findings for people to judge, and notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from countenance.standing.findings import Finding, digest, finding
from countenance.standing.matching import Tier
from countenance.standing.rules.checks import CHECKS
from countenance.standing.rules.facts import Facts
from countenance.standing.rules.rule import NOTE, Rule

TOGETHER: Final = 2
"""Different notes that are a case together. Guidance says that no single one decides, and that they are to be looked
at together (FinCEN and BIS, June 2022, say so of theirs); how many is this program's choice."""
USE: Final = frozenset({"called_from", "usage"})
"""Checks of how something is used, which hold for the owner's account, too."""


@dataclass(frozen=True, slots=True)
class Raised:
    """Findings, and notes as plain values."""

    findings: list[Finding]
    notes: list[dict[str, Any]]


def raised(facts: Facts, rules: Iterable[Rule], *, only: Iterable[str] | None = None) -> Raised:
    """What rules that hold make of facts.

    Args:
        rules: those in force on the day of the facts.
        only: names of the checks that count; None for all.
    """
    findings, notes, noted = list[Finding](), list[dict[str, Any]](), list[tuple[Rule, Sequence[str]]]()
    subject = f"party {facts.name}"
    for rule in rules:
        if only is not None and rule.check not in only:
            continue
        by_key: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for key, fact, detail in CHECKS[rule.check].run(facts, rule.terms):
            by_key.setdefault(key, []).append((fact, dict(detail)))
        for key, found in sorted(by_key.items()):
            said = [fact for fact, _ in found]
            explained = {**rule.told(), "facts": said, "details": [detail for _, detail in found if detail]}
            if rule.opens == NOTE:
                notes.append({"kind": rule.kind, **explained})
                noted.append((rule, said))
                continue
            about = f"{rule.kind}/{rule.id}" + (f"/{key}" if key else "")
            title = f"{rule.id} {rule.title}: {'; '.join(said)}"
            rests_on = [rule.digest, *(digest(each) for each in said)]
            findings.append(finding(rule.kind, about, Tier.REVIEW, title[:500], subject, explained, rests_on))
    if len({rule.id for rule, _ in noted}) >= TOGETHER:
        names = sorted({rule.id for rule, _ in noted}, key=lambda each: (len(each), each))
        explained = {
            "rules": [{**rule.told(), "facts": list(said)} for rule, said in noted],
            "why": f"{TOGETHER} or more of these together are for somebody to look at",
        }
        rests_on = sorted({rule.digest for rule, _ in noted} | {digest(each) for _, said in noted for each in said})
        title = f"red flags together: {', '.join(names)}"
        findings.append(finding("red-flag", "red-flag/together", Tier.REVIEW, title, subject, explained, rests_on))
    return Raised(findings, notes)
