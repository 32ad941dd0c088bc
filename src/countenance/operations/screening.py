"""What operators do about standing: they bring lists, have parties screened, record who owns whom, and judge cases.

Each verb is carried out for whoever is logged in, or for the host. Two operators judge a case, let entries of a list
go, vouch for a list that somebody brought, and retire one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from countenance.errors import Error
from countenance.ledger import microseconds
from countenance.ledger.proved import Proved
from countenance.ledger.showing import shown
from countenance.operations import lookback
from countenance.operations.instruction import (
    AdministrationError,
    Instruction,
    instant,
    optional,
    proposed,
    required,
    told_time,
)
from countenance.operations.lists import Imported, StandingError
from countenance.standing.lists import FORMS, sniffed
from countenance.standing.ownership import OwnershipError, Statement
from countenance.standing.record import JUDGEMENTS, Case, Taken

MAX_TOLD: Final = 1_000
MOST_STATEMENTS: Final = 10_000
"""Of one file; a chain of a thousand companies is no longer one that anybody reads."""
_LIST: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
LONGEST_LIST: Final = 40


# -- lists


def list_import(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Reads a list from files of the host, puts it in force, and screens whoever has to be screened with it."""
    paths, name = params.get("paths"), optional(params, "list")
    form, day = optional(params, "format"), optional(params, "report_date", "") or ""
    if not isinstance(paths, list) or not paths or not all(isinstance(each, str) for each in paths):
        raise AdministrationError("The paths are not a list of texts.")
    if name is not None and (not _LIST.fullmatch(name) or len(name) > LONGEST_LIST):
        raise AdministrationError(
            f"{name[:40]!r} cannot be the name of a list.", hint="lower-case words, as in un-2026"
        )
    if day:
        instant(day)
    if form is not None and form not in FORMS:
        raise AdministrationError(f"There is no form {form[:40]!r}.", hint=f"there are {', '.join(FORMS)}")
    try:
        contents = [Path(each).read_bytes() for each in paths]
    except OSError as error:
        raise AdministrationError(f"A file cannot be read: {error.strerror}.", hint="name files of the host") from None
    if form is None or len(contents) > 1:
        told, files = sniffed(contents)
        if form not in (None, told):
            raise AdministrationError(f"The files are of the form {told}, not {form}.")
        form = told
    else:
        files = {FORMS[form].roles[0]: contents[0]}
    imported = on.governance.standings.lists.take(
        form,
        files,
        list_id=name,
        report_date=day[:10],
        may_shrink=params.get("shrunk", False) is True,
        by=on.by,
        request_id=on.request_id,
    )
    return {**_imported(imported), "screened": _screened(on)}


def list_update(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Fetches the lists of the settings, or one of them, and screens whoever has to be screened with them.

    One that cannot be had or is refused keeps no other from coming into force; it is told.
    """
    wanted, standings = optional(params, "list"), on.governance.standings
    sources = [each for each in standings.lists.sources if wanted in (None, each.list_id)]
    if not sources:
        raise AdministrationError("The setting lists names no such list.", hint="see docs/standing/lists.md")
    shrunk = params.get("shrunk", False) is True
    done, failed = [], []
    for each in sources:
        try:
            done.append(standings.lists.update(each, by=on.by, request_id=on.request_id, may_shrink=shrunk))
        except Error as error:
            if len(sources) == 1:
                raise
            failed.append({"list": each.list_id, "why": error.message, "hint": error.hint})
    return {"lists": [_imported(each) for each in done], "failed": failed, "screened": _screened(on)}


def list_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """The lists in force, how old they are, and which snapshots have entries that wait to be let go."""
    standings, now = on.governance.standings, microseconds(on.at)
    with standings.lock:
        record = standings.record
        return {
            "lists": [
                {
                    **_taken(newest),
                    "looked_at": told_time(record.looked_at(list_id, now)),
                    "attested": record.is_attested(newest, now),
                    "snapshots": len(record.history(list_id)),
                }
                for list_id, newest in sorted(record.taken(now).items())
            ],
            "waiting": [_taken(each) for each in record.waiting(now)],
            "sources": [
                {"list": each.list_id, "format": each.form, "urls": list(each.urls)} for each in standings.lists.sources
            ],
        }


def list_removed(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """The entries that a snapshot lacks and the one before it had; in force until two operators let them go."""
    taken = _snapshot(on, required(params, "act"))
    entries = on.governance.standings.lists.removed_entries(taken)
    told = [{"entry": each.entry_id, "name": each.names[0].text} for each in entries[:MAX_TOLD]]
    return {**_taken(taken), "removed": len(entries), "told": told}


def list_accept(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes to let the entries go that a snapshot lacks."""
    taken = _snapshot(on, required(params, "act"))
    if not taken.removed:
        raise AdministrationError("That snapshot lacks nothing that the one before it had.")
    details: dict[str, int | str] = {
        "act": taken.act,
        "list_id": taken.list_id,
        "removed": taken.removed,
        "removed_sha256": taken.removed_sha256,
    }
    return proposed(on, "list.accept", "", details, params)


def list_attest(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes to vouch for a list that somebody brought: the publisher's own has the same hash."""
    taken = _snapshot(on, required(params, "act"))
    return proposed(on, "list.attest", "", {"list_id": taken.list_id, "sha256": taken.sha256}, params)


def list_retire(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes that nobody is screened with a list any more."""
    name, standings = required(params, "list"), on.governance.standings
    with standings.lock:
        if name not in standings.record.taken(microseconds(on.at)):
            raise AdministrationError(f"There is no list {name[:40]!r} in force.")
    return proposed(on, "list.retire", "", {"list_id": name}, params)


def _snapshot(on: Instruction, act: str) -> Taken:
    standings = on.governance.standings
    with standings.lock:
        for name in standings.record.lists():
            for each in standings.record.history(name):
                if each.act == act:
                    return each
    raise AdministrationError(f"No snapshot was taken by {act[:40]!r}.", hint="`countenance list list` names the acts")


def _taken(each: Taken) -> dict[str, Any]:
    return {
        "list": each.list_id,
        "format": each.form,
        "sha256": each.sha256,
        "report_date": each.report_date or None,
        "entries": each.entities,
        "source": each.source,
        "taken_at": told_time(each.at_us),
        "removed": each.removed,
        "act": each.act,
    }


def _imported(each: Imported) -> dict[str, Any]:
    return {
        "list": each.list_id,
        "sha256": each.sha256,
        "report_date": each.report_date or None,
        "entries": each.entities,
        "added": each.added,
        "changed": each.changed,
        "removed": each.removed,
        "new": each.is_new,
    }


def _screened(on: Instruction) -> dict[str, int]:
    """How many accounts were screened again, by outcome."""
    outcomes = on.governance.standings.screen_due()
    return {each: list(outcomes.values()).count(each) for each in sorted(set(outcomes.values()))}


# -- parties


def party_screen(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Screens the parties of accounts now, whether or not they have to be."""
    wanted = params.get("accounts")
    if wanted is None:
        accounts = [each.account_id for each in on.accounts.accounts() if not each.is_owner]
    elif isinstance(wanted, list) and all(isinstance(each, str) for each in wanted):
        accounts = [on.accounts.account(each).account_id for each in wanted]
    else:
        raise AdministrationError("The accounts are not a list of texts.")
    undeclared = [each for each in accounts if on.accounts.party(each) is None]
    if undeclared and wanted is not None:
        raise AdministrationError(
            f"Nobody has said whom account {undeclared[0]} belongs to.",
            hint=f"countenance account declare {undeclared[0]} --party FILE",
        )
    outcomes = on.governance.standings.screen(accounts, cause="asked", by=on.by)
    return {"screened": [{"account_id": account, "outcome": each} for account, each in sorted(outcomes.items())]}


def party_show(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """An account's standing, why, and what the latest screening found."""
    account = on.accounts.account(required(params, "account_id")).account_id
    standings = on.governance.standings
    found, report = standings.standing(account), standings.report(account)
    with standings.lock:
        latest = standings.record.screening(account, microseconds(on.at))
    return {
        "account_id": account,
        "standing": found.standing,
        "why": list(found.why),
        "screened_at": told_time(latest.at_us) if latest else None,
        "outcome": latest.outcome if latest else None,
        "inputs_sha256": latest.inputs_sha256 if latest else None,
        "report_sha256": latest.report_sha256 if latest else None,
        "act": latest.act if latest else None,
        "cases": [_case(each) for each in standings.cases(account)],
        "notes": report["notes"] if report else [],
    }


def party_statements(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Puts statements of ownership on record, for good, and screens everybody again; without any, lists them."""
    said = params.get("statements")
    standings = on.governance.standings
    if said is None:
        chains = standings.chains()
        return {
            "statements": [
                {**each.statement.to_json(), "recorded_at": told_time(each.at_us)} for each in chains.recorded
            ],
            "parties": dict(chains.parties),
        }
    contents = _statements(said, params.get("parties", {}))
    made = standings.record_statements(contents, by=on.by, request_id=on.request_id)
    outcomes: dict[str, str] = {}
    if made:
        with standings.lock:
            known = [
                each for each in standings.record.accounts() if standings.record.screening(each, microseconds(on.at))
            ]
        outcomes = standings.screen(known, cause="ownership", by=on.by) if known else {}
    return {"recorded": made, "screened": len(outcomes)}


def _statements(said: object, parties: object) -> list[dict[str, Any]]:
    if not isinstance(said, list) or not isinstance(parties, Mapping) or len(said) > MOST_STATEMENTS:
        raise AdministrationError(f"The statements are not a list of at most {MOST_STATEMENTS} objects.")
    found = []
    for each in said:
        statement = Statement.from_json(each)
        described = {
            node: _described(parties[node])
            for node in (statement.owner, statement.owned)
            if parties.get(node) is not None
        }
        found.append({"v": 1, "statement": statement.to_json(), "parties": described})
    return found


def _described(said: object) -> dict[str, Any]:
    kinds: dict[str, type] = {"name": str, "is_person": bool, "jurisdiction": str, "identifiers": list}
    if not isinstance(said, Mapping) or not set(said) <= set(kinds):
        raise OwnershipError("A party of a statement has a name, is_person, jurisdiction and identifiers.")
    if any(not isinstance(value, kinds[name]) for name, value in said.items()):
        raise OwnershipError("A party of a statement has a member of the wrong type.")
    identifiers = said.get("identifiers", [])
    if not all(
        isinstance(each, list) and len(each) == 3 and all(isinstance(x, str) for x in each) for each in identifiers
    ):
        raise OwnershipError("An identifier is a list of scheme, value and country.")
    return dict(said)


def party_lookback(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """What an account's standing was on each day as known then and as known now, and what it used: a report whose hash
    is in an entry of the log."""
    account = on.accounts.account(required(params, "account_id")).account_id
    first, last = optional(params, "from"), optional(params, "to")
    now = microseconds(on.at)
    proved, from_us = Proved(on.ledger.log), instant(first) if first else None
    report = lookback.report(
        on.governance.standings,
        (
            {"index": index, "accounting": said}
            for index, said in proved.accountings(from_us or 0)
            if said["account"] == account
        ),
        account,
        from_us=from_us,
        to_us=min(now, instant(last) + lookback.DAY_US) if last else now,
    )
    report |= proved.told()
    digest = lookback.digest_of(report)
    details: dict[str, int | str] = {"report_sha256": digest, "windows": len(report["windows"]), "by": on.by}
    on.governance.standings.note_report(account, details, request_id=on.request_id)
    found = shown(on.ledger.log, on.request_id, account)
    assert found is not None  # it was just recorded
    note, leaves = found
    return {
        **report,
        "sha256": digest,
        "receipt": {
            "index": leaves[-1].index,
            "opening": leaves[-1].opening.to_json(),
            "proof": [each.hex() for each in leaves[-1].proof or ()],
            "checkpoint": note.decode(),
        },
    }


# -- cases


def case_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """The cases of an account, or the open ones of all."""
    wanted, standings = optional(params, "account_id"), on.governance.standings
    if wanted is not None:
        found = standings.cases(on.accounts.account(wanted).account_id)
    else:
        accounts = [each.account_id for each in on.accounts.accounts()]
        found = [case for account in accounts for case in standings.cases(account) if case.is_open]
    return {"cases": [_case(each) for each in found]}


def case_show(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """A case, feature by feature."""
    account = on.accounts.account(required(params, "account_id")).account_id
    found = on.governance.standings.case(account, required(params, "case"))
    return {**_case(found), "explained": found.finding["explained"], "rests_on": found.finding["rests_on"]}


def case_judge(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Proposes a judgement; another operator's approval makes it one."""
    account, wanted = on.accounts.account(required(params, "account_id")).account_id, required(params, "case")
    judgement, attachments = required(params, "judgement"), params.get("attachments", [])
    if judgement not in JUDGEMENTS:
        raise AdministrationError(
            f"There is no judgement {judgement[:40]!r}.", hint=f"there are {', '.join(JUDGEMENTS)}"
        )
    if not isinstance(attachments, list) or not all(isinstance(x, str) and _DIGEST.fullmatch(x) for x in attachments):
        raise AdministrationError("The attachments are SHA-256 hashes, 64 lower-case hexadecimal digits each.")
    case = on.governance.standings.case(account, wanted)
    if case.judgement is not None and case.judgement.judgement == judgement:
        raise StandingError(f"The case {case.id} was judged so already.")
    details: dict[str, int | str] = {
        "case": case.id,
        "judgement": judgement,
        "attachments": ",".join(attachments),
        "report": case.finding["title"][:200],
    }
    return proposed(on, "case.judge", account, details, params)


def _case(each: Case) -> dict[str, Any]:
    judged = each.judgement
    return {
        "case": each.id,
        "account_id": each.account,
        "kind": each.finding["kind"],
        "tier": each.tier,
        "title": each.finding["title"],
        "subject": each.finding["subject"],
        "since": told_time(each.since_us),
        "open": each.is_open,
        "judgement": None
        if judged is None
        else {
            "judgement": judged.judgement,
            "reason": judged.reason,
            "attachments": list(judged.attachments),
            "by": list(judged.by),
            "at": told_time(judged.at_us),
            "act": judged.act,
        },
    }


def screening_progress(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """How far the screening that runs now is."""
    each = on.governance.standings.progress
    return {"cause": each.cause or None, "done": each.done, "of": each.of}


VERBS: Final = {
    "case.judge": case_judge,
    "case.list": case_list,
    "case.show": case_show,
    "list.accept": list_accept,
    "list.attest": list_attest,
    "list.import": list_import,
    "list.list": list_list,
    "list.removed": list_removed,
    "list.retire": list_retire,
    "list.update": list_update,
    "party.lookback": party_lookback,
    "party.screen": party_screen,
    "party.show": party_show,
    "party.statements": party_statements,
    "screening.progress": screening_progress,
}
"""What operators do about standing."""
