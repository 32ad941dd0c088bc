"""What an operator does with the register: accounts and whom they belong to, access keys, bucket grants.

Every account but the owner's is opened for a party that says who it is and under what contract; an account that was
opened before parties were asked for gets no further key until it is declared.
"""

from __future__ import annotations

import re
from typing import Any, Final

from countenance.accounts import DEFAULT_PURPOSE, AccessKey, Account, Accounts, Declared, Party
from countenance.ledger import microseconds
from countenance.operations.instruction import AdministrationError, Instruction, optional, required

OWNER_PURPOSE: Final = "owner"
"""Of keys for the operator's own work."""
BUCKET: Final = re.compile(r"[0-9A-Za-z.\-_]{3,255}")
"""`S3Bucket` in the Rekognition service model: no other name can be asked for."""


def _account(account: Account, declared: Declared | None) -> dict[str, Any]:
    return {
        "account_id": account.account_id,
        "name": account.name,
        "is_owner": account.is_owner,
        "created_at": account.created_at.isoformat(),
        "party": None
        if declared is None
        else {"legal_name": declared.party.legal_name, "jurisdiction": declared.party.jurisdiction},
    }


def _declared(declared: Declared) -> dict[str, Any]:
    return {
        "version": declared.version,
        "recorded_at": declared.recorded_at.isoformat(),
        "act": declared.granted_by,
        "party": declared.party.to_json(),
        "sha256": declared.party.digest(),
    }


def _key(key: AccessKey) -> dict[str, Any]:
    return {
        "access_key_id": key.access_key_id,
        "account_id": key.account_id,
        "purpose": key.purpose,
        "holder": key.holder,
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }


def undeclared(accounts: Accounts) -> list[str]:
    """For people: accounts that nobody has said the owner of, and rows that no entry explains."""
    warnings = [
        f"{'the owner' if each.is_owner else 'account'} {each.account_id} has not declared its party: "
        f"countenance account declare {each.account_id} --party FILE"
        for each in accounts.accounts()
        if accounts.party(each.account_id) is None
    ]
    return warnings + [f"{each} grants nothing: no entry of the log explains it" for each in accounts.ungranted]


def account_create(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Opens an account for a party; a key is issued separately."""
    name = required(params, "name")
    if not params.get("party"):
        raise AdministrationError(
            "An account belongs to a legal entity, and none is named.",
            hint="give --party FILE, or --legal-name, --jurisdiction, --registration or --lei, --sector, --end-use, "
            "--signatory, --contract, --terms and --terms-file",
        )
    party = Party.from_json(params["party"])
    party.check_agreed()
    account = on.accounts.create_account(name, party=party, request_id=on.request_id, at=on.at, by=on.by)
    _heard(on, account)
    return _account(account, on.accounts.party(account.account_id))


def _heard(on: Instruction, account: Account) -> None:
    """Standing follows what is declared."""
    on.governance.standings.declared(
        account.account_id,
        on.governance.declaration(account.account_id),
        is_owner=account.is_owner,
        at_us=microseconds(on.at),
        request_id=on.request_id,
    )


def account_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Every account."""
    return {"accounts": [_account(each, on.accounts.party(each.account_id)) for each in on.accounts.accounts()]}


def account_party(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Whom an account belongs to: every version that was declared, the latest first."""
    account = on.accounts.account(required(params, "account_id"))
    return {
        "account_id": account.account_id,
        "versions": [_declared(each) for each in on.accounts.declarations(account.account_id)],
    }


def account_declare(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Records the next version of whom an account belongs to.

    With `amend`, members that are not given stay as they are.
    """
    account = on.accounts.account(required(params, "account_id"))
    content, amend = params.get("party"), params.get("amend", False)
    if amend and isinstance(content, dict) and (known := on.accounts.party(account.account_id)) is not None:
        content = {**known.party.to_json(), **content}
    party = Party.from_json(content)
    if not account.is_owner:
        party.check_agreed()
    declared = on.accounts.declare(account.account_id, party, request_id=on.request_id, at=on.at, by=on.by)
    _heard(on, account)
    return {"account_id": account.account_id, **_declared(declared)}


def key_create(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Issues an access key and shows its secret, this once."""
    account = on.accounts.account(required(params, "account_id"))
    if not account.is_owner and on.accounts.party(account.account_id) is None:
        raise AdministrationError(
            f"Nobody has said whom account {account.account_id} belongs to.",
            hint=f"countenance account declare {account.account_id} --party FILE",
        )
    purpose = on.governance.check_purpose(optional(params, "purpose", DEFAULT_PURPOSE) or DEFAULT_PURPOSE)
    if purpose == OWNER_PURPOSE and not account.is_owner:
        raise AdministrationError(
            f"Keys for {OWNER_PURPOSE} are for the owner's account.", hint="`countenance purpose list` shows the others"
        )
    issued = on.accounts.create_key(
        account.account_id,
        purpose=on.governance.check_allowed(account.account_id, purpose),
        holder=optional(params, "holder", "") or "",
        request_id=on.request_id,
        at=on.at,
        by=on.by,
    )
    return {**_key(issued.key), "secret_access_key": issued.secret}


def key_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Access keys with their state, without secrets."""
    return {"keys": [_key(key) for key in on.accounts.keys(optional(params, "account_id"))]}


def key_revoke(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Ends a key; it is refused on the next request."""
    key_id = required(params, "access_key_id")
    return _key(on.accounts.revoke_key(key_id, request_id=on.request_id, at=on.at, by=on.by))


def bucket_grant(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Lets an account read images from a bucket."""
    account_id, bucket = required(params, "account_id"), required(params, "bucket")
    if not BUCKET.fullmatch(bucket):
        raise AdministrationError(
            f"{bucket[:80]!r} cannot be the name of a bucket.",
            hint="names have 3 to 255 of these characters: letters, digits, dot, dash, underscore",
        )
    on.accounts.grant_bucket(account_id, bucket, request_id=on.request_id, at=on.at, by=on.by)
    return {"account_id": account_id, "bucket": bucket}


def bucket_revoke(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Takes a bucket grant back."""
    account_id, bucket = required(params, "account_id"), required(params, "bucket")
    on.accounts.revoke_bucket(account_id, bucket, request_id=on.request_id, at=on.at, by=on.by)
    return {"account_id": account_id, "bucket": bucket}


def bucket_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Bucket grants; the owner's account may read any bucket without one."""
    grants = on.accounts.bucket_grants(optional(params, "account_id"))
    return {"grants": [{"account_id": account, "bucket": bucket} for account, bucket in grants]}
