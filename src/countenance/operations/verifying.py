"""What operators do about results and authorisations: they look at matches, and record what an authority said.

Each verb is carried out for whoever is logged in; the host alone verifies nothing and authorises nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from countenance_audit.errors import AuditError
from countenance_audit.leaf import check_opening

from countenance.ledger import microseconds
from countenance.ledger.proved import Proved
from countenance.operations.instruction import AdministrationError, Instruction, instant, optional, required, told_time
from countenance.operations.onrecord import GRACE_US, JUDGEMENTS, Authorisation
from countenance.operators.state import HOST

DAY_US: Final = 86_400_000_000
MAX_TOLD: Final = 1_000
"""Calls in one answer; what there is beyond is counted."""
LONGEST_TEXT: Final = 200
LONGEST_US: Final = 366 * DAY_US
"""Of an authorisation: a year, after which whoever gave it is asked again. The program's own choice."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


# -- results that people look at


def review_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """The calls of some days whose matches people have to look at, the latest last, and who did."""
    is_open_only = params.get("open", False)
    if type(is_open_only) is not bool:
        raise AdministrationError("The parameter open is neither true nor false.")
    found: list[dict[str, Any]] = []
    count = 0
    proved = Proved(on.ledger.log)
    for said in _calls(proved, on, params, "review"):
        looked = on.governance.verifications(said["request_id"])
        wanted = int(said["details"]["review"])
        if is_open_only and len(looked) >= wanted:
            continue
        count += 1
        found.append(
            {
                "request_id": said["request_id"],
                "at": told_time(said["time"]),
                "account_id": said["account"],
                "operation": said["operation"],
                "purpose": said["purpose"],
                "matches": said["details"]["matches"],
                "wanted": wanted,
                "verifications": [
                    {"judgement": each.judgement, "by": each.by, "at": told_time(each.at_us), "act": each.act}
                    for each in looked
                ],
            }
        )
        del found[:-MAX_TOLD]
    return {"calls": count, "told": found, **proved.told()}


def review_verify(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Records what an operator says of the matches of a call; each says it once."""
    _refuse_host(on, params, "request_id", "judgement", "reason")
    wanted, judgement = required(params, "request_id"), required(params, "judgement")
    if judgement not in JUDGEMENTS:
        raise AdministrationError(
            f"There is no judgement {judgement[:40]!r}.", hint=f"there are {', '.join(JUDGEMENTS)}"
        )
    found = _marked(on, wanted)
    if any(each.by == on.by for each in on.governance.verifications(wanted)):
        raise AdministrationError("You said already what you make of it.", hint="somebody else looks at it now")
    details: dict[str, int | str] = {
        "verified": wanted,
        "judgement": judgement,
        "reason": _words(params, "reason"),
        "by": on.by,
    }
    on.governance.record("result.verify", found["account"], details, request_id=on.request_id)
    looked = on.governance.verifications(wanted)
    return {"request_id": wanted, "act": on.request_id, "judgement": judgement, "by": on.by, "verified": len(looked)}


def _marked(on: Instruction, wanted: str) -> dict[str, Any]:
    try:
        for leaf, opening in on.ledger.log.storage.entries.calls_ever(wanted):
            check_opening(opening, leaf)
            if opening.accounting["kind"] == "call" and "review" in opening.accounting["details"]:
                return dict(opening.accounting)
    except AuditError as error:
        raise AdministrationError(
            f"What is kept of the call {wanted[:40]!r} is not what the log says: {error}",
            hint="`countenance ledger fsck` lists what is wrong",
        ) from None
    raise AdministrationError(
        f"No policy asks anybody to look at a call {wanted[:40]!r}.", hint="`countenance review list` shows which wait"
    )


# -- what authorities said


def authorisation_request(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Puts on record that an authority was asked; searches that need it go on for 48 hours, unless the last time that
    was asked came to nothing."""
    _refuse_host(on, params, "account_id", "reference", "authority", "collection_id")
    account, reference = on.accounts.account(required(params, "account_id")).account_id, _words(params, "reference")
    if any(each.reference == reference for each in on.governance.authorisations(account)):
        raise AdministrationError(f"There is an authorisation {reference!r} already.")
    details: dict[str, int | str] = {
        "reference": reference,
        "authority": _words(params, "authority"),
        "collection_id": optional(params, "collection_id") or "",
        "by": on.by,
    }
    on.governance.record("authorisation.request", account, details, request_id=on.request_id)
    return {"account_id": account, **_told(on, account, reference)}


def authorisation_grant(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Puts on record that an authority granted what it was asked for, until when, and the hash of what it wrote."""
    _refuse_host(on, params, "account_id", "reference", "evidence_sha256", "until")
    account, found = _asked_for(on, params)
    if found.state != "requested":
        raise AdministrationError(f"It is {found.state}.", hint="ask anew, under another reference")
    evidence, until_us = required(params, "evidence_sha256"), instant(required(params, "until"))
    if not _DIGEST.fullmatch(evidence):
        raise AdministrationError("The evidence is named by its SHA-256, 64 lower-case hexadecimal digits.")
    if not 0 < until_us - microseconds(on.at) <= LONGEST_US:
        raise AdministrationError("The authorisation is over already, or lasts for more than a year.")
    details: dict[str, int | str] = {
        "reference": found.reference,
        "until_us": until_us,
        "evidence_sha256": evidence,
        "by": on.by,
    }
    on.governance.record("authorisation.grant", account, details, request_id=on.request_id)
    return {"account_id": account, **_told(on, account, found.reference)}


def authorisation_refuse(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Puts on record that an authority refused, or took back; and says which calls rested on it, whose results have to
    be deleted."""
    _refuse_host(on, params, "account_id", "reference")
    account, found = _asked_for(on, params)
    if found.state == "refused":
        raise AdministrationError("It is refused already.")
    details = {"reference": found.reference, "by": on.by}
    on.governance.record("authorisation.refuse", account, details, request_id=on.request_id)
    return {"account_id": account, **_told(on, account, found.reference), **_rested(on, account, found)}


def authorisation_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Every authorisation of an account, the oldest first."""
    account = on.accounts.account(required(params, "account_id")).account_id
    told = [_told(on, account, each.reference) for each in on.governance.authorisations(account)]
    return {"account_id": account, "authorisations": told}


def authorisation_calls(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """The calls that rested on an authorisation, or on its having been asked for."""
    account, found = _asked_for(on, params)
    return {"account_id": account, "reference": found.reference, **_rested(on, account, found)}


def _rested(on: Instruction, account: str, on_what: Authorisation) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    count = 0
    proved = Proved(on.ledger.log)
    for said in proved.decided(on_what.requested_us):
        decision = said["decision"]
        if said["account"] != account or not decision["allowed"]:
            continue
        if decision["request"]["call"].get("authorisation") != on_what.reference:
            continue
        count += 1
        if len(found) < MAX_TOLD:
            told = {"request_id": said["request_id"], "at": told_time(said["time"]), "operation": said["operation"]}
            found.append({**told, "code": said["code"], "matches": said["details"].get("matches", 0)})
    return {"calls": count, "told": found, **proved.told()}


def _asked_for(on: Instruction, params: dict[str, Any]) -> tuple[str, Authorisation]:
    account, wanted = on.accounts.account(required(params, "account_id")).account_id, required(params, "reference")
    for each in on.governance.authorisations(account):
        if each.reference == wanted:
            return account, each
    raise AdministrationError(
        f"No authorisation {wanted[:40]!r} was asked for.", hint="`countenance authorisation request` comes first"
    )


def _told(on: Instruction, account: str, reference: str) -> dict[str, Any]:
    (each,) = (each for each in on.governance.authorisations(account) if each.reference == reference)
    return {
        "reference": each.reference,
        "authority": each.authority,
        "collection_id": each.collection or None,
        "state": each.told_state(microseconds(on.at)),
        "requested_at": told_time(each.requested_us),
        "answer_due": told_time(each.requested_us + GRACE_US) if each.has_grace else None,
        "granted_at": told_time(each.granted_us) if each.granted_us else None,
        "until": told_time(each.until_us) if each.until_us else None,
    }


# -- in short


def _calls(proved: Proved, on: Instruction, params: dict[str, Any], member: str) -> Iterator[dict[str, Any]]:
    days = params.get("days", 30)
    if type(days) is not int or not 0 < days <= 36_600:
        raise AdministrationError("The number of days is not a whole one above zero.")
    for said in proved.decided(microseconds(on.at) - days * DAY_US):
        if member in said["details"]:
            yield said


def _words(params: dict[str, Any], name: str) -> str:
    text = required(params, name).strip()
    if not text or len(text) > LONGEST_TEXT or not text.isprintable():
        raise AdministrationError(
            f"The {name} has at most {LONGEST_TEXT} printable characters.", hint="it stays in the records: no names"
        )
    return text


def _refuse_host(on: Instruction, params: dict[str, Any], *texts: str) -> None:
    for name in texts:
        optional(params, name)  # whoever asks, what is no text is refused first
    if on.by == HOST:
        raise AdministrationError(
            "An operator says that, and nobody is logged in.", hint="`countenance login NAME` first"
        )


VERBS: Final = {
    "authorisation.calls": authorisation_calls,
    "authorisation.grant": authorisation_grant,
    "authorisation.list": authorisation_list,
    "authorisation.refuse": authorisation_refuse,
    "authorisation.request": authorisation_request,
    "review.list": review_list,
    "review.verify": review_verify,
}
"""What operators do about results and authorisations."""
