"""`collection.export` and `collection.import`: a collection into a sealed file of the host, and out of one.

Both are acts with entries: the file of an export appears when its entry is in the log, a collection that is imported
appears in the transaction of its entry. FaceIds stay what they are in the archive, since clients keep them. Whoever was
erased from the account that imports, or from its collection of that name, does not come back: what was left out for
that is told.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import countenance
from countenance.biometrics import Reference
from countenance.errors import Error
from countenance.gallery.erasure import Erased
from countenance.gallery.moving import Arriving
from countenance.ledger import Opaque, accounting, microseconds
from countenance.operations import persons
from countenance.operations.archive import ArchiveError, Opening, Sealing, check_password
from countenance.operations.archived import (
    COLLECTION_ID,
    Count,
    Described,
    Release,
    face_line,
    face_of,
    parsed,
    user_line,
    user_of,
)
from countenance.operations.instruction import AdministrationError, Instruction, optional, required
from countenance.operations.persons import subject
from countenance.store import Entry, sync_folder

EXPORT: Final = "collection.export"
IMPORT: Final = "collection.import"
AT_ONCE: Final = 500
"""Faces written in one transaction."""
MOST_TOLD: Final = 1_000
"""Of what was left out, in an answer."""
CONSENT: Final = "consent.record"


def collection_export(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Writes a collection to a sealed file of the host. It appears there when its entry is in the ledger."""
    account, collection = _account(on, params), required(params, "collection_id")
    password, path = required(params, "password"), _path(params)
    check_password(password)
    if path.exists():
        raise AdministrationError(f"{path} exists already.", hint="an archive replaces nothing: name a new file")
    releases = _releases(on, account)
    days = on.governance.retention_days(account, collection)
    draft = path.with_name(f"{path.name}.{on.request_id[:8]}.partial")
    for left in path.parent.glob(f"{glob.escape(path.name)}.????????.partial"):
        left.unlink()  # of an export to the same place that was killed
    try:
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            sealing = Sealing(out, password)
            count = _write(on, sealing, account, collection, days if days >= 0 else None, releases)
            digest = sealing.finish()
            out.flush()
            os.fsync(out.fileno())
        said = {"users": count.users, "faces": count.faces, "sha256": digest, "bytes": sealing.bytes}
        on.ledger.log.append(
            Opaque(
                accounting(
                    kind="act",
                    time=microseconds(on.at),
                    operation=EXPORT,
                    request_id=on.request_id,
                    account=account,
                    party=on.accounts.identified(account),
                    details={"collection_id": collection, **said, "by": on.by},
                )
            )
        )
        draft.rename(path)
        sync_folder(path.parent)
    except BaseException as failure:
        draft.unlink(missing_ok=True)
        if isinstance(failure, OSError):
            raise AdministrationError(f"{path} cannot be written: {failure.strerror}.") from None
        raise
    finally:
        on.governance.progress.moved = 0, 0
    return {"path": str(path), "account_id": account, "collection_id": collection, "consents": count.consents, **said}


def collection_import(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Makes a collection from a sealed file of the host, whole or not at all."""
    account, password, name = _account(on, params), required(params, "password"), optional(params, "as")
    path = _path(params)
    if name is not None and not COLLECTION_ID.fullmatch(name):
        raise AdministrationError(
            "That cannot be the name of a collection.", hint="1 to 255 of letters, digits and _ . -"
        )
    try:
        with path.open("rb") as file:
            done = _imported(on, account, name, Opening(file, password))
    except OSError as failure:
        raise AdministrationError(f"{path} cannot be read: {failure.strerror}.") from None
    finally:
        on.governance.progress.moved = 0, 0
    return {"path": str(path), "account_id": account, **done}


def collection_progress(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """How many faces the export or import that runs now has moved, of how many."""
    done, of = on.governance.progress.moved
    return {"done": done, "of": of}


# -- export


def _write(
    on: Instruction,
    sealing: Sealing,
    account: str,
    collection: str,
    days: int | None,
    releases: Mapping[str, list[tuple[str, int, str]]],
) -> Count:
    """All lines of the archive."""
    digest, users, faces = hashlib.sha256(), 0, 0
    named: set[str] = set()

    def put(line: bytes) -> None:
        digest.update(line)
        sealing.write(line)

    assert on.gallery is not None  # WITH_GALLERY
    with on.gallery.leaving(account, collection) as leaving:
        found = leaving.collection
        put(
            Described(
                found.collection_id,
                account,
                found.model_version,
                found.dimension,
                found.created_at,
                on.at,
                countenance.__version__,
                days,
                leaving.tags,
            ).line()
        )
        for user in leaving.users():
            put(user_line(user.user_id, user.created_at))
            users += 1
            if releases:
                named.add(user.user_id)
        for faces, (reference, template) in enumerate(leaving.references(), 1):
            put(face_line(reference, template))
            if releases and reference.external_image_id is not None:
                named.add(reference.external_image_id)
            if faces % AT_ONCE == 0:
                on.governance.progress.moved = faces, found.face_count
    consents = 0
    for person in sorted(named) if releases else ():
        for purpose, until_us, evidence in releases.get(subject(on.accounts, account, person), ()):
            put(Release(person, purpose, until_us, evidence).line())
            consents += 1
    count = Count(users, faces, consents, digest.hexdigest())
    sealing.write(count.line())
    return count


def _releases(on: Instruction, account: str) -> dict[str, list[tuple[str, int, str]]]:
    """Releases in force by whom they are of: purpose, until when, and the hash of what was signed."""
    now = microseconds(on.at)
    in_force = {(who, purpose): until for who, purpose, until in on.governance.consents(account) if until > now}
    evidence: dict[tuple[str, str], str] = {}
    if in_force:
        for act in on.governance.journal.acts([CONSENT]):
            if act.account == account:
                said = act.details
                evidence[str(said["subject"]), str(said["purpose"])] = str(said["evidence_sha256"])
    found: dict[str, list[tuple[str, int, str]]] = {}
    for (who, purpose), until in sorted(in_force.items()):
        if (who, purpose) in evidence:
            found.setdefault(who, []).append((purpose, until, evidence[who, purpose]))
    return found


# -- import


@dataclass(slots=True)
class _Left:
    """What is left out of an import."""

    erased_persons: list[str] = field(default_factory=list)
    """FaceIds of whoever was erased from the account."""
    erased_faces: list[str] = field(default_factory=list)
    """FaceIds that were taken out of the account's collection of this name."""
    users: int = 0
    consents: int = 0

    def told(self) -> dict[str, Any]:
        """As answers have it."""
        return {
            "erased_persons": {"count": len(self.erased_persons), "face_ids": self.erased_persons[:MOST_TOLD]},
            "erased_faces": {"count": len(self.erased_faces), "face_ids": self.erased_faces[:MOST_TOLD]},
            "users": self.users,
            "consents": self.consents,
        }

    @property
    def faces(self) -> int:
        """How many faces."""
        return len(self.erased_persons) + len(self.erased_faces)


class _Taking:
    """Puts the lines of an archive into an arriving collection, but for whoever was erased."""

    def __init__(self, on: Instruction, account: str, described: Described, erased: Erased) -> None:
        self._on = on
        self._account = account
        self._described = described
        self._erased = erased
        self._subjects = erased_subjects(on, account)
        self._known: dict[str, bool] = {}
        self._faces: list[tuple[Reference, bytes]] = []
        self._users: list[tuple[str, datetime]] = []
        self._counts = {"user": 0, "face": 0, "consent": 0}
        self._bereft_users: set[str] = set()
        """Who lost a face; whoever has none left does not arrive, as an erasure takes such users, too."""
        self.left = _Left()
        self.releases: list[Release] = []

    def take(self, lines: Iterator[bytes], digest: Callable[[bytes], None], arriving: Arriving, of: int) -> Count:
        """To the last line. Raises ArchiveError."""
        for line in lines:
            kind, said = parsed(line)
            if kind == "end":
                self._flush(arriving)
                self.left.users += arriving.forget_empty(sorted(self._bereft_users))
                end = Count.of(said)
                told = (end.users, end.faces, end.consents)
                if told != (self._counts["user"], self._counts["face"], self._counts["consent"]):
                    raise ArchiveError("The archive has not as many lines as it says.")
                if next(lines, None) is not None:
                    raise ArchiveError("The archive has lines after its last.")
                return end
            digest(line + b"\n")
            if kind not in self._counts:
                raise ArchiveError("The archive has a line that no server writes.")
            self._counts[kind] += 1
            if kind == "user":
                self._user(said, arriving)
            elif kind == "face":
                self._face(said, arriving)
                if self._counts["face"] % AT_ONCE == 0:
                    self._on.governance.progress.moved = self._counts["face"], of
            else:
                self._release(Release.of(said))
        raise ArchiveError("The archive has no last line.")

    def _user(self, said: Mapping[str, Any], arriving: Arriving) -> None:
        user_id, created_at = user_of(said)
        if self._is_erased(user_id):
            self.left.users += 1
            return
        self._users.append((user_id, created_at))
        if len(self._users) >= AT_ONCE:
            self._flush(arriving)

    def _face(self, said: Mapping[str, Any], arriving: Arriving) -> None:
        reference, template = face_of(said, self._described)
        if any(self._is_erased(each) for each in (reference.external_image_id, reference.user_id) if each):
            self.left.erased_persons.append(reference.face_id)
            self._bereft(reference)
        elif self._erased.has(reference.face_id):
            self.left.erased_faces.append(reference.face_id)
            self._bereft(reference)
        else:
            self._faces.append((reference, template))
            if len(self._faces) >= AT_ONCE:
                self._flush(arriving)

    def _bereft(self, reference: Reference) -> None:
        if reference.user_id is not None:
            self._bereft_users.add(reference.user_id)

    def _release(self, release: Release) -> None:
        if self._is_erased(release.external_image_id):
            self.left.consents += 1
        else:
            self.releases.append(release)

    def _flush(self, arriving: Arriving) -> None:
        users, self._users = self._users, []
        if users:
            arriving.add_users(users)
        faces, self._faces = self._faces, []
        if faces:
            arriving.add(faces)

    def _is_erased(self, person: str) -> bool:
        if not self._subjects:
            return False
        if person not in self._known:
            if len(self._known) > 100_000:
                self._known.clear()  # faces of one person come close together, as a rule
            self._known[person] = subject(self._on.accounts, self._account, person) in self._subjects
        return self._known[person]


def _imported(on: Instruction, account: str, name: str | None, opening: Opening) -> dict[str, Any]:
    archive = opening.verify()  # nothing is written before all of it was read
    described, of = _looked_at(opening)
    collection = name or described.collection_id
    if described.model_version != on.model_version:
        raise AdministrationError(
            f"The archive's templates are of the face model {described.model_version}, and this server runs "
            f"{on.model_version}: the two cannot be compared.",
            hint="import it where that model runs, or enrol the photographs again",
        )
    assert on.gallery is not None  # WITH_GALLERY
    gallery, progress = on.gallery, on.governance.progress
    erased_before = erased_subjects(on, account)
    taking, digest = _Taking(on, account, described, gallery.erased_from(account, collection)), hashlib.sha256()
    party = on.accounts.identified(account)
    with gallery.arriving(
        account,
        collection,
        model_version=described.model_version,
        dimension=described.dimension,
        created_at=described.created_at,
    ) as arriving:
        lines = opening.lines()
        digest.update(next(lines) + b"\n")  # read by `_looked_at`
        end = taking.take(lines, digest.update, arriving, of)
        if end.sha256 != digest.hexdigest():
            raise ArchiveError("The archive's lines are not those that its last line is of.")
        details: dict[str, int | str] = {
            "collection_id": collection,
            "model_version": described.model_version,
            "sha256": archive,
            "refused": taking.left.faces,
            "by": on.by,
        }
        # An erasure waits for calls in progress, and looks through collections then: this one is there by then, or
        # it sees that somebody is erased.
        with progress.call():
            if progress.is_erasing(account) or erased_subjects(on, account) != erased_before:
                raise Error("Somebody was erased meanwhile, so nothing was imported.", hint="import it again")
            found = arriving.arrive(
                described.tags, entry=Entry(IMPORT, account, "", on.request_id, on.at, details, party=party)
            )
    if described.retention_days is not None:
        said: dict[str, int | str] = {"collection_id": collection, "days": described.retention_days, "by": on.by}
        on.governance.record("retention.set", account, said, request_id=on.request_id, once=False)
    return {
        "collection_id": collection,
        "faces": found.face_count,
        "users": found.user_count,
        "tags": len(described.tags),
        "retention_days": described.retention_days,
        "consents": _consented(on, account, taking),
        "model_version": described.model_version,
        "sha256": archive,
        "from": {
            "account_id": described.account_id,
            "collection_id": described.collection_id,
            "exported_at": described.exported_at.isoformat(),
            "software": described.software,
        },
        "left_out": taking.left.told(),
    }


def erased_subjects(on: Instruction, account: str) -> frozenset[str]:
    """Who was erased from an account, as far as the log tells; see `persons.subject`."""
    return frozenset(
        str(act.details["subject"]) for act in on.governance.journal.acts([persons.DONE]) if act.account == account
    )


def _looked_at(opening: Opening) -> tuple[Described, int]:
    """The first line, and how many faces the last one tells of."""
    first, last = None, b""
    for line in opening.lines():
        first, last = first if first is not None else line, line
    kind, said = parsed(first or b"")
    end, counts = parsed(last)
    if (kind, end) != ("collection", "end"):
        raise ArchiveError("The archive does not begin with a collection and end with its end.")
    return Described.of(said), Count.of(counts).faces


def _consented(on: Instruction, account: str, taking: _Taking) -> int:
    """Puts releases on record that the account has no word of: neither given nor taken back; how many."""
    known = {(who, purpose) for who, purpose, _ in on.governance.consents(account)}
    count = 0
    for each in taking.releases:
        who = subject(on.accounts, account, each.external_image_id)
        try:
            purpose = on.governance.check_purpose(each.purpose)
        except Error:
            purpose = ""  # no word of this server's
        if not purpose or (who, purpose) in known or each.until_us <= microseconds(on.at):
            taking.left.consents += 1
            continue
        details: dict[str, int | str] = {
            "subject": who,
            "purpose": purpose,
            "until_us": each.until_us,
            "evidence_sha256": each.evidence_sha256,
            "by": on.by,
        }
        on.governance.record(
            CONSENT, account, details, request_id=on.request_id, person=each.external_image_id, once=False
        )
        count += 1
    return count


def _account(on: Instruction, params: dict[str, Any]) -> str:
    named = optional(params, "account_id")
    if named is not None:
        return on.accounts.account(named).account_id
    owner = on.accounts.owner()
    if owner is None:
        raise AdministrationError("There is no owner's account yet.", hint="name the account with --account")
    return owner.account_id


def _path(params: dict[str, Any]) -> Path:
    path = Path(required(params, "path"))
    if not path.is_absolute():
        raise AdministrationError("The path of an archive is not absolute.")
    return path


VERBS: Final = {
    EXPORT: collection_export,
    IMPORT: collection_import,
    "collection.progress": collection_progress,
}
"""What operators do with whole collections."""
