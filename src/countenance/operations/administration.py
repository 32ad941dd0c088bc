"""What an operator does on the host: accounts, access keys, bucket grants, the ledger, kept samples.

Reached through the admin socket or, when no server runs, in process; both through `pipeline`. Answers are
plain values for JSON. The only secret that ever leaves is that of a key at the moment of its issue.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from countenance.accounts import DEFAULT_PURPOSE, AccessKey, Account, Accounts
from countenance.errors import Error
from countenance.ledger import Ledger, Opaque, accounting, expiry, focus, fsck, microseconds, retention
from countenance.ledger.statement import check
from countenance.operations import samples as kept
from countenance.samples import Samples
from countenance.store import Database, backup, sync_folder


class AdministrationError(Error):
    """The verb is unknown or its parameters are not what it takes."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One administrative call: the register it acts on and the moment."""

    accounts: Accounts
    ledger: Ledger
    database: Database
    samples: Samples
    request_id: str
    at: datetime


def _required(params: dict[str, Any], name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise AdministrationError(f"The {name.replace('_', ' ')} is empty or missing.")
    return value


def _optional(params: dict[str, Any], name: str, default: str | None = None) -> str | None:
    value = params.get(name)
    if value is not None and not isinstance(value, str):
        raise AdministrationError(f"The parameter {name} is not a string.")
    return value or default


def _day(params: dict[str, Any], name: str) -> datetime:
    try:
        return datetime.strptime(_required(params, name), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise AdministrationError("The day is not a date.", hint="give it as YYYY-MM-DD") from None


def _account(account: Account) -> dict[str, Any]:
    return {
        "account_id": account.account_id,
        "name": account.name,
        "is_owner": account.is_owner,
        "created_at": account.created_at.isoformat(),
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


def account_create(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Opens an account; a key is issued separately."""
    name = _required(params, "name")
    return _account(on.accounts.create_account(name, request_id=on.request_id, at=on.at))


def account_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Every account."""
    return {"accounts": [_account(account) for account in on.accounts.accounts()]}


def key_create(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Issues an access key and shows its secret, this once."""
    issued = on.accounts.create_key(
        _required(params, "account_id"),
        purpose=_optional(params, "purpose", DEFAULT_PURPOSE) or DEFAULT_PURPOSE,
        holder=_optional(params, "holder", "") or "",
        request_id=on.request_id,
        at=on.at,
    )
    return {**_key(issued.key), "secret_access_key": issued.secret}


def key_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Access keys with their state, without secrets."""
    return {"keys": [_key(key) for key in on.accounts.keys(_optional(params, "account_id"))]}


def key_revoke(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Ends a key; it is refused on the next request."""
    key_id = _required(params, "access_key_id")
    return _key(on.accounts.revoke_key(key_id, request_id=on.request_id, at=on.at))


def bucket_grant(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Lets an account read images from a bucket."""
    account_id, bucket = _required(params, "account_id"), _required(params, "bucket")
    if not BUCKET.fullmatch(bucket):
        raise AdministrationError(
            f"{bucket[:80]!r} cannot be the name of a bucket.",
            hint="names have 3 to 255 of these characters: letters, digits, dot, dash, underscore",
        )
    on.accounts.grant_bucket(account_id, bucket, request_id=on.request_id, at=on.at)
    return {"account_id": account_id, "bucket": bucket}


def bucket_revoke(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Takes a bucket grant back."""
    account_id, bucket = _required(params, "account_id"), _required(params, "bucket")
    on.accounts.revoke_bucket(account_id, bucket, request_id=on.request_id, at=on.at)
    return {"account_id": account_id, "bucket": bucket}


def bucket_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Bucket grants; the owner's account may read any bucket without one."""
    grants = on.accounts.bucket_grants(_optional(params, "account_id"))
    return {"grants": [{"account_id": account, "bucket": bucket} for account, bucket in grants]}


def backup_create(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Writes a copy of the database to a path of the host. It appears there when its entry is in the ledger."""
    path = Path(_required(params, "path"))
    if not path.is_absolute():
        raise AdministrationError("The path of a backup is not absolute.")
    if path.exists():
        raise AdministrationError(f"{path} exists already.", hint="a backup replaces nothing: name a new file")
    draft = path.with_name(f"{path.name}.{on.request_id[:8]}.partial")
    leaves = on.ledger.log.size
    backup.copy(on.database.path, draft)
    try:
        said = {"sha256": backup.sha256(draft), "bytes": draft.stat().st_size, "leaves": leaves}
        on.ledger.log.append(
            Opaque(
                accounting(
                    kind="act",
                    time=microseconds(on.at),
                    operation="backup.create",
                    request_id=on.request_id,
                    details=said,
                )
            )
        )
        draft.rename(path)
        sync_folder(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return {"path": str(path), **said}


def ledger_status(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """The log's name, key, size and latest checkpoint."""
    log = on.ledger.log
    size, note = log.publish()
    return {
        "origin": log.origin,
        "key": str(log.signer.verifier),
        "size": log.size,
        "checkpoint": note.decode(),
        "checkpoint_size": size,
        "healthy": on.ledger.healthy,
        "refused_by": dict(on.ledger.witnessing.refusals),
        "quorum_at": on.ledger.witnessing.quorum_s,
        "warnings": on.ledger.witnessing.warnings(),
        "timestamp": _timestamp(log.storage.latest_timestamp()),
        "keys": [
            {"key": str(each.verifier), "id": each.verifier.key_id.hex(), "state": each.state}
            for each in log.keys.known
        ],
    }


def _timestamp(latest: tuple[int, int] | None) -> dict[str, Any] | None:
    if latest is None:
        return None
    size, stamped_at = latest
    return {"size": size, "at": datetime.fromtimestamp(stamped_at / 1_000_000, UTC).isoformat()}


def ledger_rotate(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Makes the log's next key; with `lost`, the keys until now sign nothing more."""
    lost = params.get("lost", False)
    if not isinstance(lost, bool):
        raise AdministrationError("The parameter lost is neither true nor false.")
    return {"key": str(on.ledger.log.rotate(lost=lost))}


def ledger_retire(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Has an older key of the log sign nothing more."""
    return {"key": str(on.ledger.log.retire(_required(params, "key_id")))}


def ledger_statement(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """What an account used in a month, as `form` says: table, json, html or focus."""
    account, month = on.accounts.account(_required(params, "account_id")), _required(params, "month")
    form = _optional(params, "form", "table")
    statement, openings = on.ledger.statement(account.account_id, month)
    if form == "focus":
        operator = next(each.name for each in on.accounts.accounts() if each.is_owner)
        text = focus.as_csv(statement, openings, operator=operator, account_name=account.name)
    elif form == "json":
        text = statement.as_json().decode()
    elif form in ("table", "html"):
        text = statement.as_table() if form == "table" else statement.as_html()
    else:
        raise AdministrationError(f"There is no form {form!r} of a statement.", hint="table, json, html or focus")
    return {"statement": text, "problems": check(statement, openings, prices=on.ledger.prices)}


def ledger_fsck(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Looks at every leaf, opening, tile and checkpoint, and whether the samples are there that entries speak of."""
    found = fsck.examine(on.ledger.log)
    return {
        "leaves": found.leaves,
        "openings": found.openings,
        "references": found.references,
        "samples": found.samples,
        "problems": [*found.problems, *kept.problems(on.ledger, on.samples, found)],
    }


def ledger_erase(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Erases what an account's entries before a day say about persons; the rest of each entry stays."""
    account = on.accounts.account(_required(params, "account_id")).account_id
    # No later than now, so that no call is recorded between the two erasures that only the second one covers.
    before, ground = min(_day(params, "before"), on.at), _required(params, "ground")
    # The samples first: what is left of them after a crash can still be told apart by their entries.
    samples = kept.erase(on.ledger, on.samples, account=account, before=before, ground=ground)
    erased = retention.erase_persons(on.ledger.log, account=account, before_us=microseconds(before), ground=ground)
    return {"account_id": account, "erased": erased, "samples": samples}


def ledger_expire(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Erases the whole openings of an account's entries before a day that lies beyond the floor."""
    account = on.accounts.account(_required(params, "account_id")).account_id
    before = _day(params, "before")
    erased = expiry.expire(on.ledger.log, account=account, before=before, now=on.at, years=on.ledger.floor_years)
    return {"account_id": account, "erased": erased}


def ledger_hold(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Forbids erasures of an account's entries."""
    account = on.accounts.account(_required(params, "account_id")).account_id
    retention.hold(on.ledger.log, account=account, reason=_required(params, "reason"))
    return {"account_id": account}


def ledger_release(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Ends a hold."""
    account = on.accounts.account(_required(params, "account_id")).account_id
    retention.release(on.ledger.log, account=account)
    return {"account_id": account}


def sample_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an account's searches, oldest first; no image."""
    account = on.accounts.account(_required(params, "account_id")).account_id
    listed, has_more = on.samples.listed(account, after=_optional(params, "after"))
    return {
        "samples": [
            {
                "request_id": each.request_id,
                "account_id": each.account,
                "kept_at": (EPOCH + timedelta(microseconds=each.kept_at)).isoformat(),
                "bytes": each.bytes,
            }
            for each in listed
        ],
        "more": has_more,
        "is_on": on.samples.keeps,
    }


def sample_export(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """A kept image, in base64; the act is in the log by then."""
    found = kept.export(
        on.ledger,
        on.samples,
        _required(params, "request_id"),
        reason=_required(params, "reason"),
        request_id=on.request_id,
        at=on.at,
    )
    return {
        "request_id": found.sample.request_id,
        "account_id": found.sample.account,
        "sha256": found.sha256.hex(),
        "bytes": len(found.image),
        "act": on.request_id,
        "image": base64.b64encode(found.image).decode(),
    }


def sample_erase(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Erases an account's samples of calls before a day; the entries stay as they are."""
    account = on.accounts.account(_required(params, "account_id")).account_id
    before, ground = _day(params, "before"), _required(params, "ground")
    erased = kept.erase(on.ledger, on.samples, account=account, before=before, ground=ground)
    return {"account_id": account, "erased": erased}


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
BUCKET: Final = re.compile(r"[0-9A-Za-z.\-_]{3,255}")
"""`S3Bucket` in the Rekognition service model: no other name can be asked for."""

INSTRUCTIONS: dict[str, Callable[[Instruction, dict[str, Any]], dict[str, Any]]] = {
    "account.create": account_create,
    "account.list": account_list,
    "backup.create": backup_create,
    "bucket.grant": bucket_grant,
    "bucket.list": bucket_list,
    "bucket.revoke": bucket_revoke,
    "key.create": key_create,
    "key.list": key_list,
    "key.revoke": key_revoke,
    "ledger.erase": ledger_erase,
    "ledger.expire": ledger_expire,
    "ledger.fsck": ledger_fsck,
    "ledger.hold": ledger_hold,
    "ledger.release": ledger_release,
    "ledger.retire": ledger_retire,
    "ledger.rotate": ledger_rotate,
    "ledger.statement": ledger_statement,
    "ledger.status": ledger_status,
    "sample.erase": sample_erase,
    "sample.export": sample_export,
    "sample.list": sample_list,
}
"""Every administrative verb."""
