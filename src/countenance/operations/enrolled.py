"""What operators put on record about the enrolled: releases, how long collections keep, and that somebody was erased.

Each verb is carried out for whoever is logged in, or for the host; one person does.
"""

from __future__ import annotations

import re
from typing import Any, Final

from countenance.ledger import microseconds
from countenance.ledger.showing import shown
from countenance.operations import persons
from countenance.operations.instruction import AdministrationError, Instruction, instant, required, told_time
from countenance.operations.persons import subject
from countenance.store import Entry

WITH_GALLERY: Final = frozenset({"collection.export", "collection.import", "person.erase", "retention.set"})
"""Verbs that need the collections."""
LONGEST_RETENTION: Final = 36_600
"""Days: a hundred years."""
DAY_US: Final = 86_400_000_000
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_EXTERNAL: Final = re.compile(r"[a-zA-Z0-9_.\-:]{1,255}")
"""`ExternalImageId` in the service model."""


def consent_record(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Puts a person's release on record: for what, until when, and the hash of what they signed."""
    account, person = on.accounts.account(required(params, "account_id")).account_id, _person(params)
    evidence = required(params, "evidence_sha256")
    if not _DIGEST.fullmatch(evidence):
        raise AdministrationError("The evidence is named by its SHA-256, 64 lower-case hexadecimal digits.")
    until_us = instant(required(params, "until"))
    if not 0 < until_us - microseconds(on.at) <= LONGEST_RETENTION * DAY_US:
        raise AdministrationError("The release is over already, or lasts for more than a hundred years.")
    details: dict[str, int | str] = {
        "subject": subject(on.accounts, account, person),
        "purpose": on.governance.check_purpose(required(params, "purpose")),
        "until_us": until_us,
        "evidence_sha256": evidence,
        "by": on.by,
    }
    on.governance.record("consent.record", account, details, request_id=on.request_id, person=person)
    return {"account_id": account, "act": on.request_id, **details}


def consent_withdraw(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Ends a person's release: nobody is enrolled on it any more. What was enrolled is another matter: person.erase."""
    account, person = on.accounts.account(required(params, "account_id")).account_id, _person(params)
    who, purpose = subject(on.accounts, account, person), required(params, "purpose")
    if (who, purpose) not in {(each[0], each[1]) for each in on.governance.consents(account) if each[2]}:
        raise AdministrationError("There is no such release on record.")
    details = {"subject": who, "purpose": purpose, "by": on.by}
    on.governance.record("consent.withdraw", account, details, request_id=on.request_id, person=person)
    return {"account_id": account, "act": on.request_id, **details}


def consent_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """The releases of an account; persons are named by digests, or one is asked for."""
    account = on.accounts.account(required(params, "account_id")).account_id
    wanted = subject(on.accounts, account, _person(params)) if params.get("external_image_id") else None
    return {
        "account_id": account,
        "consents": [
            {"subject": who, "purpose": purpose, "until": told_time(until) if until else None}
            for who, purpose, until in on.governance.consents(account)
            if wanted in (None, who)
        ],
    }


def retention_set(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Says how many days a collection keeps what is enrolled in it; a daily job takes out what is older."""
    account = on.accounts.account(required(params, "account_id")).account_id
    collection, days = required(params, "collection_id"), params.get("days")
    if type(days) is not int or not 1 <= days <= LONGEST_RETENTION:
        raise AdministrationError(f"The days are a whole number from 1 to {LONGEST_RETENTION}.")
    assert on.gallery is not None  # WITH_GALLERY
    on.gallery.collection(account, collection)
    details: dict[str, int | str] = {"collection_id": collection, "days": days, "by": on.by}
    on.governance.record("retention.set", account, details, request_id=on.request_id)
    return {"account_id": account, **details}


def person_erase(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Takes a person out of every collection of an account, out of kept images and out of the entries that name them;
    what comes back proves when that was done."""
    account, person = on.accounts.account(required(params, "account_id")).account_id, _person(params)
    ground, party = required(params, "ground"), on.accounts.identified(account)
    who = subject(on.accounts, account, person)
    assert on.gallery is not None  # WITH_GALLERY

    def entry_of(collection: str) -> Entry:
        details = {"collection_id": collection, "ground": ground, "by": on.by}
        return Entry(persons.ERASED, account, "", on.request_id, on.at, details, party=party)

    def withdraw() -> None:
        for whose, purpose, until in on.governance.consents(account):
            if whose == who and until:
                said = {"subject": who, "purpose": purpose, "by": on.by}
                on.governance.record(
                    "consent.withdraw", account, said, request_id=on.request_id, person=person, once=False
                )

    done = persons.erase(
        on.gallery,
        on.ledger,
        on.database,
        on.samples,
        entry_of,
        withdraw,
        on.governance.progress,
        account=account,
        external_image_id=person,
        ground=ground,
        at=on.at,
    )
    details: dict[str, int | str] = {
        "subject": who,
        "ground": ground,
        "references": done.references,
        "samples": done.samples,
        "entries": done.entries,
        "by": on.by,
    }
    on.governance.record(persons.DONE, account, details, request_id=on.request_id, once=False)
    found = shown(on.ledger.log, on.request_id, account)
    assert found is not None  # it was just recorded
    note, leaves = found
    last = leaves[-1]
    return {
        "account_id": account,
        "references": done.references,
        "samples": done.samples,
        "entries": done.entries,
        "receipt": {
            "index": last.index,
            "opening": last.opening.to_json(),
            "proof": [each.hex() for each in last.proof or ()],
            "checkpoint": note.decode(),
        },
    }


def _person(params: dict[str, Any]) -> str:
    wanted = required(params, "external_image_id")
    if not _EXTERNAL.fullmatch(wanted):
        raise AdministrationError(
            "That cannot be an external image id.", hint="1 to 255 of letters, digits and _ . - :, as in IndexFaces"
        )
    return wanted


VERBS: Final = {
    "consent.list": consent_list,
    "consent.record": consent_record,
    "consent.withdraw": consent_withdraw,
    "person.erase": person_erase,
    "retention.set": retention_set,
}
"""What operators put on record about the enrolled."""
