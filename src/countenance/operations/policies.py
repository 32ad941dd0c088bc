"""What operators do with policy sets: draft, test, put in force, and ask what decided and what would.

Each verb is carried out for whoever is logged in, or for the host; two operators put a set in force.
"""

from __future__ import annotations

import difflib
import json
from typing import Any, Final

from countenance.ledger import microseconds
from countenance.ledger.proved import Proved
from countenance.operations.governance import Activation
from countenance.operations.instruction import (
    AdministrationError,
    Instruction,
    instant,
    optional,
    proposed,
    required,
    told_time,
)
from countenance.policy import cases
from countenance.policy.policyset import BASE, PolicySet, composed, refuse_mislabelled
from countenance.policy.request import from_json

MAX_TOLD: Final = 100
"""Calls that a replay or a simulation lists one by one; all of them are counted."""
DAY_US: Final = 86_400_000_000
STANDING_PACK: Final = "standing"
WITHOUT_STANDING: Final = "it does not have the pack standing: accounts that nobody cleared may call"


def policy_status(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Which set decides now, which did before, and which will."""
    now = microseconds(on.at)
    in_force = on.governance.in_force(now)
    return {
        "in_force": _activation(in_force),
        "timeline": [_activation(each) for each in on.governance.timeline()],
        "sets": [_set(on, digest) for digest in on.governance.shelf.all()],
    }


def policy_at(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Which set decided at a moment."""
    at = instant(required(params, "at"))
    return {"at": told_time(at), "in_force": _activation(on.governance.in_force(at))}


def policy_draft(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Makes a set of packs and further policies, checks and keeps it; it decides nothing until it is put in force."""
    names, own = params.get("packs", []), params.get("own", {})
    if not isinstance(names, list) or not isinstance(own, dict) or not all(isinstance(each, str) for each in names):
        raise AdministrationError("A draft is a list of packs, and texts of policies by name.")
    if not all(isinstance(each, str) for pair in own.items() for each in pair):
        raise AdministrationError("The further policies are texts by name.")
    made = composed(names, own)
    on.governance.draft(made, by=on.by, request_id=on.request_id)
    return _told(made)


def policy_show(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """A set: its packs, policies and text."""
    digest = optional(params, "policy_set") or on.governance.in_force(microseconds(on.at)).policy_set
    found = on.governance.shelf.find(digest)
    return {**_told(found), "cedar": found.cedar}


def policy_diff(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """How one set differs from another, line by line."""
    before, after = (on.governance.shelf.find(required(params, name)) for name in ("before", "after"))
    lines = difflib.unified_diff(
        before.cedar.splitlines(), after.cedar.splitlines(), before.sha256[:16], after.sha256[:16], lineterm=""
    )
    return {"before": before.sha256, "after": after.sha256, "lines": list(lines)}


def policy_activate(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes to put a set in force, now or at a later moment."""
    found, now = on.governance.shelf.find(required(params, "policy_set")), microseconds(on.at)
    start = optional(params, "from")
    from_us = now if start is None else instant(start)
    refuse_mislabelled(found)
    if from_us < now:
        raise AdministrationError(
            "A set is not put in force in the past.", hint="leave --from out, or name a later time"
        )
    previous = on.governance.in_force(from_us).policy_set
    details: dict[str, int | str] = {"policy_set": found.sha256, "previous": previous, "from_us": from_us}
    return {**proposed(on, "policy.activate", "", details, params), "warnings": _told(found)["warnings"]}


def policy_test(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Has test cases decided by a set, or by the one in force."""
    digest = optional(params, "policy_set") or on.governance.in_force(microseconds(on.at)).policy_set
    engine = on.governance.shelf.engine(on.governance.shelf.find(digest).sha256)
    ran = list(cases.run(cases.read(required(params, "cases")), engine))
    failed = [
        {
            "case": each.case.name,
            "expected": each.case.allowed,
            "allowed": each.decision.allowed,
            "policies": list(each.decision.policies),
            "reason": each.decision.reason,
        }
        for each in ran
        if not each.passed
    ]
    return {"policy_set": digest, "cases": len(ran), "failed": failed}


def policy_explain(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Decides a request as it is written down, and says by which policies."""
    try:
        request = from_json(json.loads(required(params, "request")))
    except ValueError as error:
        raise AdministrationError(
            f"This is no request: {str(error)[:200]}", hint="see docs/concepts/policy.md"
        ) from None
    digest = optional(params, "policy_set") or on.governance.in_force(microseconds(on.at)).policy_set
    engine = on.governance.shelf.engine(on.governance.shelf.find(digest).sha256)
    decision = engine.decide(request)
    return {
        "policy_set": decision.policy_set,
        "allowed": decision.allowed,
        "reason": decision.reason,
        "policies": [
            {"id": each.id, "citation": each.citation, "satisfy": each.satisfy}
            for each in engine.policies(decision.policies)
        ],
    }


def policy_replay(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Has every recorded request of some days decided again, by the set that decided it, and compares."""
    return _again(on, params, None)


def policy_simulate(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Has every recorded request of some days decided by another set, and lists the calls that would change."""
    return _again(on, params, on.governance.shelf.find(required(params, "policy_set")).sha256)


def _again(on: Instruction, params: dict[str, Any], digest: str | None) -> dict[str, Any]:
    days = params.get("days", 30)
    if type(days) is not int or not 0 < days <= 36_600:
        raise AdministrationError("The number of days is not a whole one above zero.")
    count, changed = 0, 0
    told: list[dict[str, Any]] = []
    proved = Proved(on.ledger.log)
    for said in proved.decided(microseconds(on.at) - days * DAY_US):
        count += 1
        decided = said["decision"]
        request = from_json({**decided["entities"], **decided["request"]})
        found = on.governance.shelf.engine(digest or decided["policy_set"]).decide(request)
        now = {"allowed": found.allowed, "policies": list(found.policies)}
        if now == {"allowed": decided["allowed"], "policies": decided["policies"]}:
            continue
        if digest is not None and found.allowed is decided["allowed"]:
            continue  # other words for the same answer
        changed += 1
        if len(told) < MAX_TOLD:
            told.append(
                {
                    "request_id": said["request_id"],
                    "at": told_time(said["time"]),
                    "account_id": said["account"],
                    "operation": said["operation"],
                    "was": {"allowed": decided["allowed"], "policies": decided["policies"]},
                    "would_be": {**now, "reason": found.reason},
                }
            )
    return {"policy_set": digest, "calls": count, "changed": changed, "told": told, **proved.told()}


def _activation(each: Activation) -> dict[str, Any]:
    return {
        "policy_set": each.policy_set,
        "from": told_time(each.from_us) if each.from_us else None,
        "by": list(each.by),
        "reason": each.reason,
        "act": each.request_id,
    }


def _set(on: Instruction, digest: str) -> dict[str, Any]:
    engine = on.governance.shelf.engine(digest)
    if engine.in_force is None:
        return {"policy_set": digest, "packs": None, "own": None, "wording": None}
    found = engine.in_force
    return {"policy_set": digest, "packs": list(found.packs), "own": found.own, "wording": dict(found.wording)}


def _told(made: PolicySet) -> dict[str, Any]:
    return {
        "policy_set": made.sha256,
        "packs": list(made.packs),
        "policies": [
            {"id": each.id, "citation": each.citation, "satisfy": each.satisfy}
            for each in made.policies.values()
            if not each.id.startswith(f"{BASE}.")
        ],
        "own": made.own,
        "wording": dict(made.wording),
        "warnings": [] if STANDING_PACK in made.packs else [WITHOUT_STANDING],
    }


VERBS: Final = {
    "policy.activate": policy_activate,
    "policy.at": policy_at,
    "policy.diff": policy_diff,
    "policy.draft": policy_draft,
    "policy.explain": policy_explain,
    "policy.replay": policy_replay,
    "policy.show": policy_show,
    "policy.simulate": policy_simulate,
    "policy.status": policy_status,
    "policy.test": policy_test,
}
"""What operators do with policy sets."""
