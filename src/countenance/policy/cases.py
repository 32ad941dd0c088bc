"""Test cases of policies, from a file: what is asked, and what has to be decided.

    {"defaults": {"account": {...}, "action": ..., "collection": {...} or null, "call": {...}},
     "cases": [{"name": ..., "account": {...}, ..., "allowed": false, "policies": ["moratorium.police"]}]}

A case's members are laid over the defaults'; `policies` are the ids that must decide, when it has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from countenance.errors import Error
from countenance.policy.engine import Decision, Engine
from countenance.policy.request import Request, from_json


class CasesError(Error):
    """The file holds no test cases."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question and its answer."""

    name: str
    request: Request
    allowed: bool
    policies: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a case."""

    case: Case
    decision: Decision

    @property
    def passed(self) -> bool:
        """The decision is the one asked for, and could be made."""
        decided = not self.decision.reason and self.decision.allowed is self.case.allowed
        return decided and self.case.policies in (None, self.decision.policies)


def read(text: str) -> list[Case]:
    """The cases of a file. Raises CasesError."""
    try:
        said = json.loads(text)
        defaults, cases = said["defaults"], said["cases"]
        found = [_case(defaults, each, number) for number, each in enumerate(cases, 1)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CasesError(f"These are no test cases: {str(error)[:200]}", hint="see docs/concepts/policy.md") from None
    if not found:
        raise CasesError("There are no test cases in the file.")
    return found


def run(cases: list[Case], engine: Engine) -> Iterator[Ran]:
    """Have each decided."""
    for case in cases:
        yield Ran(case, engine.decide(case.request))


def _case(defaults: Mapping[str, Any], said: Mapping[str, Any], number: int) -> Case:
    request: dict[str, Any] = {}
    for part in ("account", "call", "collection"):
        if part in said and said[part] is None:
            continue
        if part in said or defaults.get(part) is not None:
            request[part] = {**(defaults.get(part) or {}), **said.get(part, {})}
    request["action"] = said.get("action", defaults.get("action"))
    if unknown := set(said) - {"name", "account", "action", "call", "collection", "allowed", "policies"}:
        raise ValueError(f"case {number} has no member {', '.join(sorted(unknown))}")
    if type(said["allowed"]) is not bool:
        raise ValueError(f"allowed is true or false in case {number}")
    policies = said.get("policies")
    ids = None if policies is None else tuple(sorted(policies))
    return Case(str(said.get("name", number)), from_json(request), said["allowed"], ids)
