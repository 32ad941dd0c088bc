"""Deciding: a request against the set in force. Whatever goes wrong is a denial that says so.

Knows Cedar. A policy that cannot be evaluated would fall away silently, which for one that forbids means that it
allows: so the request is checked against a schema in which every attribute is required, and any error at all denies
(facts/accountability.md, A9).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cedarpy
import orjson

from countenance.errors import Error
from countenance.policy.policyset import OBLIGATIONS, Policy, PolicySet, schema
from countenance.policy.request import Request

REMEMBERED: Final = 512
"""Accounts with their resources, and decisions, that are kept: half a megabyte usually, and some 50 MB where an account
gives its collections the longest tags that there can be."""
LONGEST: Final = 2**63 - 1
"""The largest whole number of Cedar's; a time beyond it is no time, and has to be found to be none."""
STANDING: Final = "standing."
"""Ids of policies about standing begin so: a denial by one of them names nothing but a reference."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided.

    Attributes:
        policies: ids of those that decided, sorted; empty when none could.
        reason: why it could not be decided, for the operator's log; "" when it could.
        policy_set: SHA-256 of the set, in hexadecimal; "" when there was none to be had.
        request: SHA-256 of the question and the entities, in hexadecimal.
    """

    allowed: bool
    policies: tuple[str, ...]
    reason: str
    policy_set: str
    request: str


class Engine:
    """Decides by one set. Safe to use from any thread.

    Args:
        in_force: the set; None when it cannot be had, which denies everything.
        reason: why it cannot be had.
    """

    def __init__(self, in_force: PolicySet | None, *, reason: str = "") -> None:
        self.in_force = in_force
        self.reason = reason
        self._parsed = None if in_force is None else cedarpy.PolicySet.from_str(in_force.cedar)
        self._entities = lru_cache(REMEMBERED)(self._parsed_entities)
        # The time is part of what is asked; where no policy reads it, the answer does not depend on it.
        self._keeps = in_force is not None and not in_force.reads_time
        self.asks_approval = in_force is not None and any(each.approval for each in in_force.policies.values())
        """Whether there is a policy that the approval of a call satisfies."""
        self._known = lru_cache(REMEMBERED)(self._again)

    def decide(self, request: Request) -> Decision:
        """Whether a call may go on; never raises."""
        digest, policy_set = "", self.in_force.sha256 if self.in_force is not None else ""
        try:
            digest = request.digest()
            if self._parsed is None:
                raise Undecided(self.reason or "there is no policy set in force")
            question, entities = request.question(), orjson.dumps(request.entities(), option=orjson.OPT_SORT_KEYS)
            moment = question["context"].get("time")
            if self._keeps and type(moment) is int and 0 <= moment <= LONGEST:
                timeless = {**question, "context": {**question["context"], "time": 0}}
                # As text: among values, 1 and true and 1.0 are equal.
                allowed, policies = self._known(orjson.dumps(timeless, option=orjson.OPT_SORT_KEYS), entities)
            else:
                allowed, policies = self._asked(question, entities)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever it is (a panic of the engine is no Exception)
            reason = error.message if isinstance(error, Error) else f"{type(error).__name__}: {error}"
            _log.error("a request could not be decided, and is denied: %s", ascii(reason[:500]))
            return Decision(False, (), reason[:500], policy_set, digest)
        return Decision(allowed, policies, "", policy_set, digest)

    def policies(self, ids: Sequence[str]) -> list[Policy]:
        """What is said about policies that decided."""
        known = {each.id: each for each in self.in_force.policies.values()} if self.in_force is not None else {}
        return [known[each] for each in ids if each in known]

    def reviewers(self, decision: Decision) -> int:
        """How many people have to look at the matches of an allowed call, each for themselves; 0 when nobody has to."""
        deciding = self.policies(decision.policies) if decision.allowed else []
        return max((OBLIGATIONS[each.obligation] for each in deciding if each.obligation), default=0)

    def can_be_approved(self, decision: Decision) -> bool:
        """Whether nothing but the lack of approvals denied the call."""
        denying = self.policies(decision.policies)
        return bool(denying) and not decision.allowed and all(each.approval for each in denying)

    def _again(self, question: bytes, entities: bytes) -> tuple[bool, tuple[str, ...]]:
        return self._asked(orjson.loads(question), entities)

    def _asked(self, question: dict[str, Any], said: bytes) -> tuple[bool, tuple[str, ...]]:
        assert self._parsed is not None  # `decide` looked
        assert self.in_force is not None
        found = cedarpy.is_authorized(question, self._parsed, self._entities(said), schema())
        if found.diagnostics.errors or found.decision not in (cedarpy.Decision.Allow, cedarpy.Decision.Deny):
            raise Undecided("; ".join(str(each) for each in found.diagnostics.errors) or "no decision")
        deciding = tuple(sorted(self.in_force.policies[each].id for each in found.diagnostics.reasons))
        return found.decision == cedarpy.Decision.Allow, deciding

    @staticmethod
    def _parsed_entities(said: bytes) -> cedarpy.Entities:
        return cedarpy.Entities.from_json_str(said.decode(), schema=schema())


class Undecided(Error):
    """A request that cannot be decided."""
