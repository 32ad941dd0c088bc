"""What an operator does with maps of days: requests for proofs and their answers, audit packs, evidence bundles.

What is issued goes to whoever asked, and is in the log by its hash; what became of requests is in `proofrequests`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from countenance_audit import auditing, certificate, identifiers, usage
from countenance_audit.errors import AuditError
from countenance_audit.leaf import Public, parse
from countenance_audit.mirror import Watch
from countenance_audit.monitor import AUDIT
from countenance_audit.note import VerifierKey

from countenance.ledger import microseconds
from countenance.ledger.periods import PeriodError, Periods
from countenance.ledger.periods.bundling import bundle
from countenance.ledger.periods.proving import certify, keep_statement, pack
from countenance.operations.instruction import AdministrationError, Instruction, optional, required, told_time
from countenance.operations.proofrequests import DEADLINE_DAYS, ISSUE, MOST_A_DAY, REFUSE, REQUEST, Asked, Requests
from countenance.policy.policyset import PolicyError
from countenance.store import sync_folder

MAX_REQUESTER: Final = 200


# -- verbs


def period_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """The days that have a map, the latest revision of each."""
    periods = _periods(on)
    return {
        "origin": periods.log.origin,
        "keys": [{"from": each.day, "key": each.key, "leaf": each.index} for each in periods.keys],
        "days": [
            {
                "day": each.day,
                "revision": each.revision,
                "leaf": each.index,
                "identifiers": each.size - 2,
                "calls": each.calls,
                "units": each.units,
                "amount": each.amount,
                "currency": each.currency,
                "leaves": [each.first, each.end],
                "statements": len(periods.rows.statements(each.day)),
            }
            for each in (periods.root_of(head.day) for head in periods.heads)
        ],
    }


def period_close(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Makes the maps of days that ended, and revises those of which more is known; a server does both by itself."""
    on.ledger.reach_today()
    made = keep_up(_periods(on), on.governance.requests, [each.account_id for each in on.accounts.accounts()])
    return {"made": [{"day": each.day, "revision": each.revision, "leaf": each.index} for each in made]}


def period_rotate(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Has another key for maps from tomorrow on."""
    lost = params.get("lost", False)
    if not isinstance(lost, bool):
        raise AdministrationError("The parameter lost is neither true nor false.")
    return {"key": _periods(on).rotate(lost=lost)}


def period_statement(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Takes in what a monitor or an auditor signed about this log's maps."""
    try:
        said = keep_statement(_periods(on), required(params, "note").encode())
    except AuditError as error:
        raise AdministrationError(f"This is no statement about maps: {error}", hint=error.hint) from None
    kind = "auditor" if said.format == AUDIT else "monitor"
    return {"by": kind, "day": said.last, "revision": said.revision if said.format == AUDIT else None}


def certificate_request(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Puts on record that somebody asked for a proof, and until when he is to have one."""
    return _told(_requested(on, params, has_maps=False))


def certificate_issue(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Answers a request with a certificate; without one, asks and answers at once."""
    known = on.governance.requests.known()
    wanted = optional(params, "request")
    if wanted is not None and wanted not in known:
        raise AdministrationError(
            f"There is no request {wanted[:80]!r}.", hint="`countenance certificate list` shows them"
        )
    requester = known[wanted].requester if wanted is not None else required(params, "requester")
    on.governance.requests.check_limit(requester, microseconds(on.at))
    asked = known[wanted] if wanted is not None else _requested(on, params)
    made = _certified(on, asked)
    return {
        **_told(on.governance.requests.known()[asked.request]),
        "sha256": sha256(made).hexdigest(),
        "certificate": made.decode(),
    }


def certificate_refuse(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Answers a request with no, and says why."""
    wanted, reason = required(params, "request"), required(params, "reason")
    asked = on.governance.requests.known().get(wanted)
    if asked is None or asked.state not in ("open", "overdue"):
        raise AdministrationError(f"There is no unanswered request {wanted[:80]!r}.")
    said = {"request": wanted, "reason": reason, "by": on.by}
    on.governance.journal.note(REFUSE, "", on.request_id, microseconds(on.at), said)
    return {**_told(asked), "state": "refused"}


def certificate_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Requests for proofs and what became of them, the oldest first."""
    return {"requests": [_told(each) for each in on.governance.requests.known().values()]}


def evidence_pack(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Writes what an auditor needs for a day to a path of the host, sealed to his key if one is given."""
    wanted, auditor, periods = required(params, "day"), optional(params, "auditor"), _periods(on)
    path = _new_file(required(params, "path"))
    made = pack(periods, _day(wanted))
    content = made.write()
    if auditor is not None:
        try:
            content = auditing.seal(content, VerifierKey.parse(auditor))
        except AuditError as error:
            raise AdministrationError(f"The auditor's key is none: {error}", hint=error.hint) from None
    said: dict[str, int | str] = {"day": made.day, "revision": made.revision, "by": on.by}
    said |= {"sha256": sha256(content).hexdigest(), "auditor": auditor or ""}
    on.governance.journal.note("evidence.pack", "", on.request_id, microseconds(on.at), said)
    _write(path, content)
    return {"path": str(path), "bytes": len(content), "openings": len(made.openings), **said}


def evidence_export(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Writes an evidence bundle about one or more identifiers to a path of the host."""
    given: dict[str, Any] = {name: required(params, name) for name in ("from", "until", "requester")}
    periods, path = _periods(on), _new_file(required(params, "path"))
    several = params.get("identifiers")
    if not isinstance(several, list) or not several or not all(isinstance(each, str) for each in several):
        raise AdministrationError(
            "No identifier is given.", hint="such as lei:529900T8BM49AURSDO55, several if need be"
        )
    if len(several) > MOST_A_DAY:
        raise AdministrationError(f"A bundle is about {MOST_A_DAY} identifiers at most.")
    on.governance.requests.check_limit(given["requester"], microseconds(on.at), len(several))
    given["legal_entity"] = params.get("legal_entity")
    asked = [_asking(on, {**given, "identifier": each}, number) for number, each in enumerate(several)]
    for each in asked:
        _note_asked(on, each)
    seen = _seen(on)
    with periods.quiet():
        at = _still(periods, seen)
        made = [_made(on, each, at) for each in asked]
        identified, texts = [(each.scheme, each.value) for each in asked], _policies(on, asked[0].first, asked[0].last)
        content = bundle(periods, identified, asked[0].first, asked[0].last, made, texts, at=at)
    for each, one in zip(asked, made, strict=True):
        _note_issued(on, each, one)
    said: dict[str, int | str] = {"sha256": sha256(content).hexdigest(), "bytes": len(content), "by": on.by}
    said |= {"from": asked[0].first, "until": asked[0].last, "requester": asked[0].requester}
    on.governance.journal.note("evidence.export", "", str(uuid.uuid4()), microseconds(on.at), said)
    _write(path, content)
    return {"path": str(path), "identifiers": [f"{each.scheme}:{each.value}" for each in asked], **said}


def keep_up(
    periods: Periods, asked: Requests, accounts: list[str], stopping: Callable[[], bool] = lambda: False
) -> list[Any]:
    """What is due: a key, maps of days that ended, revisions, and acts about requests that nobody answered."""
    periods.begin()
    is_new = periods.refresh()
    made = periods.close_due(stopping)
    if is_new:
        made += periods.revise(accounts, stopping)
    if made:
        periods.log.publish()
    asked.note_overdue(periods.log.now_us())
    return made


def _periods(on: Instruction) -> Periods:
    if on.ledger.periods is None:
        raise PeriodError("This ledger makes no maps of days.")
    return on.ledger.periods


def _asking(on: Instruction, params: dict[str, Any], number: int = 0, *, has_maps: bool = True) -> Asked:
    """What is asked for, if it can be; nothing is on record yet. Without `has_maps` it may be any period that has begun
    to its last day: that there is no map, or not yet, is for the answer to say."""
    named, *days, requester = (required(params, name) for name in ("identifier", "from", "until", "requester"))
    first, last = (_day(each) for each in days)
    try:
        scheme, value = identifiers.parse(named)
    except AuditError as error:
        raise AdministrationError(str(error), hint=error.hint) from None
    if scheme in identifiers.WEAK and params.get("legal_entity") is not True:
        raise AdministrationError(
            "By name alone nothing is certified of a natural person: persons are in no map by name.",
            hint="give another identifier, or say that it is the name of a legal entity (--legal-entity)",
        )
    if not requester.isprintable() or len(requester) > MAX_REQUESTER:
        raise AdministrationError(f"The requester has at most {MAX_REQUESTER} printable characters.")
    periods = _periods(on)
    if has_maps:
        for each in (first, last):
            periods.root_of(each)
    elif last > usage.day_of(periods.log.now_us()):
        raise AdministrationError(f"{last} is yet to come.", hint="ask when the period is over")
    if not 0 <= usage.days_between(first, last) < certificate.MAX_DAYS:
        raise AdministrationError(f"The period ends before it begins, or has more than {certificate.MAX_DAYS} days.")
    now_us = microseconds(on.at)
    request = on.request_id if number == 0 else str(uuid.uuid4())
    return Asked(request, scheme, value, first, last, requester, now_us, now_us + DEADLINE_DAYS * usage.DAY_US)


def _requested(on: Instruction, params: dict[str, Any], *, has_maps: bool = True) -> Asked:
    asked = _asking(on, params, has_maps=has_maps)
    _note_asked(on, asked)
    return asked


def _note_asked(on: Instruction, asked: Asked) -> None:
    said: dict[str, int | str] = {"scheme": asked.scheme, "value": asked.value, "from": asked.first}
    said |= {"until": asked.last, "requester": asked.requester, "deadline_us": asked.deadline_us, "by": on.by}
    on.governance.journal.note(REQUEST, "", asked.request, asked.at_us, said)


def _policies(on: Instruction, first: str, last: str) -> list[bytes]:
    """The texts of the policy sets that decided in a period, as far as they are whole here."""
    begin, end = usage.start_of(first), usage.start_of(usage.next_day(last))
    sets = {each.policy_set for each in on.governance.timeline() if begin <= each.from_us < end}
    texts = []
    for digest in sorted({on.governance.in_force(begin).policy_set, *sets}):
        with suppress(PolicyError):  # altered, which `ledger fsck` tells: no text then, and the entry still names it
            texts.append(on.governance.shelf.find(digest).text.encode())
    return texts


def _certified(on: Instruction, asked: Asked) -> bytes:
    periods, seen = _periods(on), _seen(on)
    with periods.quiet():
        made = _made(on, asked, _still(periods, seen))
    _note_issued(on, asked, made)
    return made


def _seen(on: Instruction) -> tuple[int, bytes] | None:
    """The newest checkpoint that the quorum of witnesses cosigned and that has the newest root; they are asked for one
    when there is none. None: there are no witnesses, or they do not answer."""
    return on.ledger.witnessing.seen_with(_periods(on).newest.index)


def _still(periods: Periods, seen: tuple[int, bytes] | None) -> tuple[int, bytes]:
    """That checkpoint, if no root came after it meanwhile, else one that nobody cosigned yet."""
    return seen if seen is not None and periods.newest.index < seen[0] else periods.log.publish()


def _made(on: Instruction, asked: Asked, at: tuple[int, bytes]) -> bytes:
    periods = _periods(on)
    return certify(
        periods,
        asked.scheme,
        asked.value,
        asked.first,
        asked.last,
        request=asked.request,
        requester=asked.requester,
        coverage=_coverage(on, asked),
        at=at,
    )


def _note_issued(on: Instruction, asked: Asked, made: bytes) -> None:
    digest = sha256(made).hexdigest()
    said: dict[str, int | str] = {"request": asked.request, "sha256": digest, "by": on.by}
    on.governance.journal.note(ISSUE, "", str(uuid.uuid4()), microseconds(on.at), said)


def _coverage(on: Instruction, asked: Asked) -> dict[str, Any]:
    """What every certificate prints besides (PROOFS sections 1 and 4): gaps, and whose use nobody verified."""
    periods = _periods(on)
    roots = [periods.root_of(day) for day in usage.days_from(asked.first, asked.last)]
    owner = on.accounts.owner()
    units = {"all": sum(each.units for each in roots), "owner": 0, "undeclared": 0}
    undeclared, owners = on.accounts.undeclared(), {owner.account_id} if owner is not None else set()
    for account, used in periods.rows.units_of(undeclared | owners, [each.day for each in roots]).items():
        units["owner"] += used if account in owners else 0
        units["undeclared"] += used if account in undeclared else 0
    return {
        "origins": [periods.log.origin],
        "units": units["all"],
        "units_of_the_owner": units["owner"],
        "units_of_undeclared_accounts": units["undeclared"],
        "units_of_parties_not_verified": units["all"],  # all are as declared: nothing here verifies one
        "gaps": list(_gaps(periods, roots[0].first, roots[-1].end)),
    }


def _gaps(periods: Periods, first: int, end: int) -> Iterator[str]:
    """Spans without a heartbeat, downtime and spans without witnesses, as a mirror lists them."""
    findings: list[Any] = []
    watch = Watch(findings)
    for index, leaf in periods.rows.public_leaves(first, end):
        if isinstance(parse(leaf), Public):
            watch.see(index, leaf)
    watch.end()
    yield from (f"leaf {each.index}: {each.text}" for each in findings)


def _told(asked: Asked) -> dict[str, Any]:
    return {
        "request": asked.request,
        "identifier": f"{asked.scheme}:{asked.value}",
        "from": asked.first,
        "until": asked.last,
        "requester": asked.requester,
        "asked_at": told_time(asked.at_us),
        "deadline": told_time(asked.deadline_us),
        "state": asked.state,
        "issued": [{"at": told_time(at), "sha256": digest} for at, digest in asked.issued],
        "refused_because": asked.refused or None,
    }


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise AdministrationError(f"{text[:40]!r} is no day.", hint="give it as YYYY-MM-DD") from None


def _new_file(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise AdministrationError("The path is not absolute.")
    if path.exists():
        raise AdministrationError(f"{path} exists already.", hint="nothing is replaced: name a new file")
    if not path.parent.is_dir():
        raise AdministrationError(f"There is no folder {path.parent}.")
    return path


def _write(path: Path, content: bytes) -> None:
    """Makes a file of accounting records appear whole, legible to its owner only."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise PeriodError(f"{path} cannot be written: {error.strerror}.") from None


VERBS: Final[dict[str, Callable[[Instruction, dict[str, Any]], dict[str, Any]]]] = {
    "certificate.issue": certificate_issue,
    "certificate.list": certificate_list,
    "certificate.refuse": certificate_refuse,
    "certificate.request": certificate_request,
    "evidence.export": evidence_export,
    "evidence.pack": evidence_pack,
    "period.close": period_close,
    "period.list": period_list,
    "period.rotate": period_rotate,
    "period.statement": period_statement,
}
