"""What operators do about use: they log in, propose and approve, set standing, and put policies in force.

Each verb is carried out for whoever is logged in, or for the host, which decides nothing alone (`operators`).
"""

from __future__ import annotations

from typing import Any, Final

from countenance.ledger import microseconds
from countenance.operations.instruction import (
    AdministrationError,
    Instruction,
    optional,
    proposed,
    required,
    told_proposal,
    told_time,
)
from countenance.operators.state import HOST, SILENCE_US
from countenance.operators.values import check_handle, check_roles
from countenance.policy.purposes import BUILT_IN, EXEMPT, LONGEST, PurposeError, check_sector, check_word
from countenance.standing.record import CLEARED, PENDING, VERDICTS

LONGEST_TEXT: Final = 200


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
    found = sorted(dict(on.governance.office.state.operators).values(), key=lambda each: each.handle)
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
    return proposed(on, "operator.suspend", "", {"operator": handle}, params)


def operator_resume(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes that a suspended operator takes part again."""
    return proposed(on, "operator.resume", "", {"operator": check_handle(required(params, "operator"))}, params)


def operator_roles(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes what an operator is trusted with from now on."""
    roles = params.get("roles")
    if not isinstance(roles, list) or not all(isinstance(each, str) for each in roles):
        raise AdministrationError("The roles are not a list of texts.")
    details = {"operator": check_handle(required(params, "operator")), "roles": ",".join(check_roles(roles))}
    return proposed(on, "operator.roles", "", details, params)


def operator_reset(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes that an operator sets a new password and second factor; the code for it is shown this once."""
    if on.by == HOST:
        raise AdministrationError(
            "Two admins decide that, and nobody is logged in.",
            hint="`countenance login NAME`; without two admins who can log in, `countenance operator refound`",
        )
    handle, reason = required(params, "operator"), required(params, "reason")
    code, proposal = on.governance.office.reset(handle, by=on.by, reason=reason, request_id=on.request_id)
    return {"operator": handle, "code": code, "proposal": proposal}


def operator_refound(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """On the host: announces that the office begins anew, and after three days without an objection does it."""
    if on.by != HOST:
        raise AdministrationError("That is for the host, without a login.", hint="`countenance logout` first")
    found = on.governance.refound(reason=required(params, "reason"), request_id=on.request_id)
    possible = told_time(found.at_us + SILENCE_US) if found.state == "open" else None
    return {**told_proposal(found, microseconds(on.at)), "possible_from": possible}


def session_login(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """A session for an operator who shows a password and a one-time password."""
    handle, password, one_time = (required(params, name) for name in ("operator", "password", "one_time"))
    return {
        "operator": handle,
        "session": on.governance.office.login(handle, password, one_time, request_id=on.request_id),
    }


def session_logout(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Ends every session of whoever is logged in."""
    if on.by == HOST:
        raise AdministrationError("Nobody is logged in.")
    on.governance.office.logout(on.by, request_id=on.request_id)
    return {"operator": on.by}


def session_show(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Who is logged in."""
    operator = on.governance.office.state.operators.get(on.by)
    return {"operator": on.by, "roles": sorted(operator.roles) if operator else []}


# -- proposals


def proposal_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Every proposal, the latest last."""
    now = microseconds(on.at)
    return {"proposals": [told_proposal(each, now) for each in on.governance.office.proposals()]}


def proposal_approve(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Approves what another operator proposed: it is in force from now on."""
    act = on.governance.approve(required(params, "proposal"), by=on.by, request_id=on.request_id)
    return {"kind": act.operation, "account_id": act.account or None, "details": dict(act.details)}


def proposal_withdraw(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Takes a proposal back."""
    proposal = required(params, "proposal")
    on.governance.office.withdraw(proposal, by=on.by, request_id=on.request_id)
    return {"proposal": proposal}


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
                "purpose": each.purpose,
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
    return proposed(on, "call.approve", found.account, found.details(), params)


# -- standing and purposes


def account_standing(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes an account's standing and verified sectors; without any of them, says what they are."""
    account = on.accounts.account(required(params, "account_id")).account_id
    known, found = on.governance.standings.verdict(account), on.governance.standing(account)
    if not any(name in params for name in ("standing", "sector", "end_user_sectors")):
        return {
            "account_id": account,
            "standing": found.standing,
            "why": list(found.why),
            "verdict": known.standing,
            "sector": known.sector,
            "end_user_sectors": list(known.end_user_sectors),
            "since": told_time(known.at_us) if known.at_us else None,
            "by": list(known.by),
            "reason": known.reason,
        }
    # Who only verifies a sector clears nobody anew.
    usual = known.standing if known.is_about(on.governance.declaration(account)) else PENDING
    standing = optional(params, "standing", usual) or usual
    if standing not in VERDICTS:
        raise AdministrationError(f"There is no standing {standing[:40]!r}.", hint=f"there are {', '.join(VERDICTS)}")
    sectors = params.get("end_user_sectors", list(known.end_user_sectors))
    if not isinstance(sectors, list) or not all(isinstance(each, str) for each in sectors):
        raise AdministrationError("The end users' sectors are not a list of texts.")
    sector = optional(params, "sector", known.sector) or ""
    words = sorted({check_sector(each) for each in sectors})
    if sector:
        check_sector(sector)
    details: dict[str, int | str] = {"standing": standing, "sector": sector, "end_user_sectors": ",".join(words)}
    details["declaration"] = on.governance.declaration(account)
    details["verdict_us"] = known.at_us  # what it replaces
    if standing == CLEARED:
        on.governance.standings.refuse_clearing(account)
    return proposed(on, "account.standing", account, details, params)


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
    return proposed(on, "purpose.add", "", {"purpose": word, "meaning": meaning}, params)


def purpose_allow(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes that an account may have keys for a purpose that policies exempt."""
    account = on.accounts.account(required(params, "account_id")).account_id
    word = required(params, "purpose")
    if word not in EXEMPT:
        raise PurposeError(
            f"Keys for {word[:40]!r} need nobody's leave.", hint=f"policies exempt {', '.join(sorted(EXEMPT))}"
        )
    return proposed(on, "purpose.allow", account, {"purpose": word}, params)


VERBS: Final = {
    "account.standing": account_standing,
    "approval.give": approval_give,
    "approval.list": approval_list,
    "operator.create": operator_create,
    "operator.enrol": operator_enrol,
    "operator.list": operator_list,
    "operator.refound": operator_refound,
    "operator.reset": operator_reset,
    "operator.resume": operator_resume,
    "operator.roles": operator_roles,
    "operator.suspend": operator_suspend,
    "proposal.approve": proposal_approve,
    "proposal.list": proposal_list,
    "proposal.withdraw": proposal_withdraw,
    "purpose.add": purpose_add,
    "purpose.allow": purpose_allow,
    "purpose.list": purpose_list,
    "session.login": session_login,
    "session.logout": session_logout,
    "session.show": session_show,
}
"""What operators do about use."""
