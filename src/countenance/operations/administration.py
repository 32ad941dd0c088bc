"""What an operator does on the host: every verb, and those of the ledger, of backups and of kept samples.

Reached through the admin socket or, when no server runs, in process; both through `pipeline`. Answers are
plain values for JSON. The only secret that ever leaves is that of a key at the moment of its issue.
"""

from __future__ import annotations

import base64
import glob
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from countenance import accounts as register
from countenance.gallery import held as collections_held
from countenance.ledger import Opaque, accounting, acts, expiry, focus, fsck, microseconds, retention
from countenance.ledger.statement import check
from countenance.operations import (
    certificates,
    deciding,
    enrolled,
    indexes,
    migration,
    moving,
    policies,
    registration,
    screening,
    topology,
    verifying,
)
from countenance.operations import samples as kept
from countenance.operations.instruction import AdministrationError, Instruction, day, optional, required
from countenance.store import backup, sync_folder

__all__ = ["INSTRUCTIONS", "AdministrationError", "Instruction"]


def backup_create(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Writes a copy of the database to a path of the host. It appears there when its entry is in the ledger."""
    path = Path(required(params, "path"))
    if not path.is_absolute():
        raise AdministrationError("The path of a backup is not absolute.")
    if path.exists():
        raise AdministrationError(f"{path} exists already.", hint="a backup replaces nothing: name a new file")
    draft = path.with_name(f"{path.name}.{on.request_id[:8]}.partial")
    for left in path.parent.glob(f"{glob.escape(path.name)}.????????.partial"):
        left.unlink()  # of a backup to the same place that was killed: a copy of everything
    leaves = on.ledger.log.size
    on.database.copy_to(draft)
    try:
        said = {"sha256": backup.sha256(draft), "bytes": draft.stat().st_size, "leaves": leaves}
        on.ledger.log.append(
            Opaque(
                accounting(
                    kind="act",
                    time=microseconds(on.at),
                    operation="backup.create",
                    request_id=on.request_id,
                    details={**said, "by": on.by},
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
        "warnings": [
            *on.ledger.witnessing.warnings(),
            *on.governance.warnings(),
            *registration.undeclared(on.accounts),
        ],
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
    return {"key": str(on.ledger.log.retire(required(params, "key_id")))}


def ledger_statement(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """What an account used in a month, as `form` says: table, json, html or focus."""
    account, month = on.accounts.account(required(params, "account_id")), required(params, "month")
    form = optional(params, "form", "table")
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
    """Looks at every leaf, opening, tile and checkpoint, and whether there is what entries say there is: accounts,
    keys, grants, declarations, holds, collections with their references, samples."""
    with on.database.reading(snapshot=True) as connection:
        size = on.ledger.log.storage.size_in(connection)
        there = register.held(connection) | collections_held(connection) | retention.holds(connection)
    found = fsck.examine(on.ledger.log, size)
    differing = [str(each) for each in acts.differences(found.things, there)]
    return {
        "leaves": found.leaves,
        "openings": found.openings,
        "references": found.references,
        "samples": found.samples,
        "lost": found.lost,
        "problems": [
            *found.problems,
            *differing,
            *kept.problems(on.ledger, on.samples, found),
            *on.governance.problems(),
        ],
    }


def ledger_erase(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Erases what an account's entries before a day say about persons; the rest of each entry stays."""
    account = on.accounts.account(required(params, "account_id")).account_id
    # No later than now, so that no call is recorded between the two erasures that only the second one covers.
    before, ground = min(day(params, "before"), on.at), required(params, "ground")
    # The samples first: what is left of them after a crash can still be told apart by their entries.
    samples = kept.erase(on.ledger, on.samples, account=account, before=before, ground=ground)
    erased = retention.erase_persons(on.ledger.log, account=account, before_us=microseconds(before), ground=ground)
    return {"account_id": account, "erased": erased, "samples": samples}


def ledger_expire(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Erases the whole openings of an account's entries before a day that lies beyond the floor."""
    account = on.accounts.account(required(params, "account_id")).account_id
    before = day(params, "before")
    erased = expiry.expire(on.ledger.log, account=account, before=before, now=on.at, years=on.ledger.floor_years)
    return {"account_id": account, "erased": erased}


def ledger_hold(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Forbids erasures of an account's entries."""
    account = on.accounts.account(required(params, "account_id")).account_id
    retention.hold(on.ledger.log, account=account, reason=required(params, "reason"), by=_instructed(on, account))
    return {"account_id": account}


def ledger_release(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Ends a hold."""
    account = on.accounts.account(required(params, "account_id")).account_id
    retention.release(on.ledger.log, account=account, by=_instructed(on, account))
    return {"account_id": account}


def _instructed(on: Instruction, account: str) -> retention.Instructed:
    return retention.Instructed(on.request_id, microseconds(on.at), on.accounts.identified(account), on.by)


def sample_list(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an account's searches, oldest first; no image."""
    account = on.accounts.account(required(params, "account_id")).account_id
    listed, has_more = on.samples.listed(account, after=optional(params, "after"))
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
        required(params, "request_id"),
        reason=required(params, "reason"),
        request_id=on.request_id,
        at=on.at,
        party_of=on.accounts.identified,
        by=on.by,
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
    account = on.accounts.account(required(params, "account_id")).account_id
    before, ground = day(params, "before"), required(params, "ground")
    erased = kept.erase(on.ledger, on.samples, account=account, before=before, ground=ground)
    return {"account_id": account, "erased": erased}


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
INSTRUCTIONS: dict[str, Callable[[Instruction, dict[str, Any]], dict[str, Any]]] = {
    "account.create": registration.account_create,
    "account.declare": registration.account_declare,
    "account.list": registration.account_list,
    "account.party": registration.account_party,
    "backup.create": backup_create,
    "bucket.grant": registration.bucket_grant,
    "bucket.list": registration.bucket_list,
    "bucket.revoke": registration.bucket_revoke,
    "key.create": registration.key_create,
    "key.list": registration.key_list,
    "key.revoke": registration.key_revoke,
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
    **deciding.VERBS,
    **enrolled.VERBS,
    **indexes.VERBS,
    **migration.VERBS,
    **moving.VERBS,
    **verifying.VERBS,
    **screening.VERBS,
    **policies.VERBS,
    **topology.VERBS,
    **certificates.VERBS,
    **topology.VERBS,
}
"""Every administrative verb."""
