"""What operators do about use: they log in, propose and approve, set standing, and put policies in force.

Each verb is carried out for whoever is logged in, or for the host, which decides nothing alone (`operators`).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from countenance.ledger import microseconds
from countenance.operations.governance import STANDINGS, Activation
from countenance.operations.instruction import AdministrationError, Instruction, optional, required
from countenance.operators import Proposal
from countenance.operators.state import HOST
from countenance.operators.values import check_handle
from countenance.policy import cases
from countenance.policy.policyset import BASE, PolicySet, composed
from countenance.policy.purposes import BUILT_IN, LONGEST, PurposeError, check_word
from countenance.policy.request import from_json

LONGEST_TEXT: Final = 200
MAX_TOLD: Final = 100
"""Calls that a replay or a simulation lists one by one; all of them are counted."""
DAY_US: Final = 86_400_000_000


# -- operators and sessions


def operator_create(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Makes an operator, or proposes it; the code is shown this once."""
    handle, roles = required(params, "operator"), params.get("roles")
    if not isinstance(roles, list) or not all(isinstance(each, str) for each in roles):
        raise AdministrationError("The roles are not a list of texts.")
    code, proposal = on.governance.office.create(
        handle, roles, by=on.by, reason=required(params, "reason"), request_id=on.request_id
    )
    return {"operator": handle, "code": code, "proposal": proposal or None}


def operator_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Every operator there ever was."""
    found = sorted(on.governance.office.state.operators.values(), key=lambda each: each.handle)
    return {
        "operators": [
            {
                "operator": each.handle,
                "roles": sorted(each.roles),
                "active": each.is_active,
                "can_log_in": each.can_log_in,
            }
            for each in found
        ]
    }


def operator_enrol(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Sets a new operator's password; the second factor's secret is shown this once."""
    handle, code, password = (required(params, name) for name in ("operator", "code", "password"))
    address = on.governance.office.enrol(handle, code, password, request_id=on.request_id)
    return {"operator": handle, "otpauth": address}


def operator_suspend(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes that an operator decides nothing any more."""
    handle = check_handle(required(params, "operator"))
    if handle not in on.governance.office.state.operators:
        raise AdministrationError(f"There is no operator {handle}.")
    return _proposed(on, "operator.suspend", "", {"operator": handle}, params)


def session_login(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """A session for an operator who shows a password and a one-time password."""
    handle, password, one_time = (required(params, name) for name in ("operator", "password", "one_time"))
    return {
        "operator": handle,
        "session": on.governance.office.login(handle, password, one_time, request_id=on.request_id),
    }


def session_show(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Who is logged in."""
    operator = on.governance.office.state.operators.get(on.by)
    return {"operator": on.by, "roles": sorted(operator.roles) if operator else []}


# -- proposals


def proposal_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Every proposal, the latest last."""
    now = microseconds(on.at)
    return {"proposals": [_proposal(each, now) for each in on.governance.office.state.proposals.values()]}


def proposal_approve(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Approves what another operator proposed: it is in force from now on."""
    act = on.governance.approve(required(params, "proposal"), by=on.by, request_id=on.request_id)
    return {"kind": act.operation, "account_id": act.account or None, "details": dict(act.details)}


def proposal_withdraw(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Takes a proposal back."""
    proposal = required(params, "proposal")
    on.governance.office.withdraw(proposal, by=on.by, request_id=on.request_id)
    return {"proposal": proposal}


def _proposal(each: Proposal, now_us: int) -> dict[str, Any]:
    state = each.state if each.state != "open" or each.is_open(now_us) else "too old"
    return {
        "proposal": each.id,
        "kind": each.kind,
        "account_id": each.account or None,
        "details": dict(each.details),
        "by": each.by,
        "at": _moment(each.at_us),
        "approved_by": each.approved_by or None,
        "state": state,
    }


def _proposed(
    on: Instruction, kind: str, account: str, details: Mapping[str, int | str], params: dict[str, Any]
) -> dict[str, Any]:
    if on.by == HOST:
        raise AdministrationError(
            "Two operators decide that, and nobody is logged in.", hint="`countenance login NAME` first"
        )
    reason = required(params, "reason")
    made = on.governance.office.propose(kind, account, details, by=on.by, reason=reason, request_id=on.request_id)
    return _proposal(made, microseconds(on.at))


# -- approvals of calls


def approval_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Denied calls that two operators could approve, the latest last."""
    return {
        "approvals": [
            {
                "approval": each.id,
                "account_id": each.account,
                "operation": each.operation,
                "collection_id": each.collection,
                "image": each.image,
            }
            for each in on.governance.awaited()
        ]
    }


def approval_give(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes to approve a denied call; another operator's approval makes it valid for an hour."""
    wanted = required(params, "approval")
    found = next((each for each in on.governance.awaited() if each.id == wanted), None)
    if found is None:
        raise AdministrationError(
            f"No denied call waits for the approval {wanted[:40]!r}.", hint="have the caller ask once more"
        )
    return _proposed(on, "call.approve", found.account, found.details(), params)


# -- standing and purposes


def account_standing(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes an account's standing and verified sectors; without any of them, says what they are."""
    account = on.accounts.account(required(params, "account_id")).account_id
    known = on.governance.standing(account)
    if not any(name in params for name in ("standing", "sector", "end_user_sectors")):
        return {
            "account_id": account,
            "standing": known.standing,
            "sector": known.sector,
            "end_user_sectors": list(known.end_user_sectors),
            "since": _moment(known.since_us) if known.since_us else None,
            "by": list(known.by),
            "reason": known.reason,
        }
    standing = optional(params, "standing", known.standing) or known.standing
    if standing not in STANDINGS:
        raise AdministrationError(f"There is no standing {standing[:40]!r}.", hint=f"there are {', '.join(STANDINGS)}")
    sectors = params.get("end_user_sectors", list(known.end_user_sectors))
    if not isinstance(sectors, list) or not all(isinstance(each, str) for each in sectors):
        raise AdministrationError("The end users' sectors are not a list of texts.")
    sector = optional(params, "sector", known.sector) or ""
    words = sorted({check_word(each) for each in sectors})
    if sector:
        check_word(sector)
    details = {"standing": standing, "sector": sector, "end_user_sectors": ",".join(words)}
    return _proposed(on, "account.standing", account, details, params)


def purpose_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """What keys may be issued for."""
    return {
        "purposes": [
            {"purpose": word, "meaning": meaning, "built_in": word in BUILT_IN}
            for word, meaning in sorted(on.governance.purposes().items())
        ]
    }


def purpose_add(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes a word for the vocabulary."""
    word, meaning = check_word(required(params, "purpose")), required(params, "meaning")
    if word in on.governance.purposes():
        raise PurposeError(f"There is a purpose {word} already.")
    if len(meaning) > LONGEST_TEXT or not meaning.isprintable():
        raise AdministrationError(f"The meaning has at most {LONGEST_TEXT} printable characters.")
    assert len(word) <= LONGEST
    return _proposed(on, "purpose.add", "", {"purpose": word, "meaning": meaning}, params)


# -- policies


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
    at = _instant(required(params, "at"))
    return {"at": _moment(at), "in_force": _activation(on.governance.in_force(at))}


def policy_draft(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Makes a set of packs and further policies, checks and keeps it; it decides nothing until it is put in force."""
    names, own = params.get("packs", []), params.get("own", {})
    if not isinstance(names, list) or not isinstance(own, dict) or not all(isinstance(each, str) for each in names):
        raise AdministrationError("A draft is a list of packs, and texts of policies by name.")
    if not all(isinstance(each, str) for pair in own.items() for each in pair):
        raise AdministrationError("The further policies are texts by name.")
    made = composed(names, own)
    on.governance.shelf.keep(made)
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
    from_us = now if start is None else _instant(start)
    if from_us < now:
        raise AdministrationError(
            "A set is not put in force in the past.", hint="leave --from out, or name a later time"
        )
    previous = on.governance.in_force(from_us).policy_set
    details: dict[str, int | str] = {"policy_set": found.sha256, "previous": previous, "from_us": from_us}
    return _proposed(on, "policy.activate", "", details, params)


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
    for said, request in _recorded(on, microseconds(on.at) - days * DAY_US):
        count += 1
        decided = said["decision"]
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
                    "at": _moment(said["time"]),
                    "account_id": said["account"],
                    "operation": said["operation"],
                    "was": {"allowed": decided["allowed"], "policies": decided["policies"]},
                    "would_be": {**now, "reason": found.reason},
                }
            )
    return {"policy_set": digest, "calls": count, "changed": changed, "told": told}


def _recorded(on: Instruction, since_us: int) -> Iterator[tuple[dict[str, Any], Any]]:
    for said in on.ledger.log.storage.entries.decided(since_us):
        decision = said["decision"]
        yield said, from_json({**decision["entities"], **decision["request"]})


def _activation(each: Activation) -> dict[str, Any]:
    return {
        "policy_set": each.policy_set,
        "from": _moment(each.from_us) if each.from_us else None,
        "by": list(each.by),
        "reason": each.reason,
        "act": each.request_id,
    }


def _set(on: Instruction, digest: str) -> dict[str, Any]:
    engine = on.governance.shelf.engine(digest)
    return {"policy_set": digest, "packs": list(engine.in_force.packs) if engine.in_force else None}


def _told(made: PolicySet) -> dict[str, Any]:
    return {
        "policy_set": made.sha256,
        "packs": list(made.packs),
        "policies": [
            {"id": each.id, "citation": each.citation, "satisfy": each.satisfy}
            for each in made.policies.values()
            if not each.id.startswith(f"{BASE}.")
        ],
    }


def _moment(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat()


def _instant(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise AdministrationError(
            f"{text[:40]!r} is no time.", hint="give it as 2026-11-23T14:05:00Z, or a day"
        ) from None
    return microseconds(found if found.tzinfo else found.replace(tzinfo=UTC))


VERBS: Final = {
    "account.standing": account_standing,
    "approval.give": approval_give,
    "approval.list": approval_list,
    "operator.create": operator_create,
    "operator.enrol": operator_enrol,
    "operator.list": operator_list,
    "operator.suspend": operator_suspend,
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
    "proposal.approve": proposal_approve,
    "proposal.list": proposal_list,
    "proposal.withdraw": proposal_withdraw,
    "purpose.add": purpose_add,
    "purpose.list": purpose_list,
    "session.login": session_login,
    "session.show": session_show,
}
"""What operators do about use."""
