"""What is in force: whose standing is what, which purposes there are, and by which set calls are decided.

Brings together what operators decided (`operators`), what policies there are (`policy`), and whom accounts belong to.
All of it is read from acts of the log; see docs/concepts/policy.md.
"""

from __future__ import annotations

import threading
import time
import uuid
from bisect import bisect_right, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from countenance.accounts import Accounts
from countenance.gallery import CollectionNotFound, Gallery
from countenance.operations.awaiting import AWAITED, OF_ACCOUNT, Awaited, Waiting, awaited_of
from countenance.operations.onrecord import RECORDED, Authorisation, OnRecord, Verification
from countenance.operations.persons import subject
from countenance.operations.progress import Progress
from countenance.operations.proofrequests import Requests
from countenance.operations.standings import StandingError, Standings
from countenance.operators import Journal, Office, Proposal
from countenance.operators.office import MISSING
from countenance.operators.state import OPERATIONS
from countenance.operators.values import Act
from countenance.policy import Decision, Engine
from countenance.policy.policyset import AS_SHIPPED, DEFAULT, PolicyError, PolicySet, composed, refuse_mislabelled
from countenance.policy.purposes import BUILT_IN, EXEMPT, REAL_TIME, PurposeError, check_word
from countenance.policy.request import THOUSANDTHS, UNKNOWN, Account, Call, Collection, Request
from countenance.policy.shelf import Shelf
from countenance.policy.waiting import Waiting as Rows
from countenance.standing.documents import Documents
from countenance.standing.record import ACTS as STANDING_ACTS
from countenance.standing.record import CLEARED, DECIDED, PENDING, Standing
from countenance.store import Database, DecidedMeanwhile, Keyring

DEFAULT_SET: Final = "policy.default"
"""The act that says which set decided before anybody put one in force."""
DRAFT: Final = "policy.draft"
"""The act of making a set, which decides nothing yet."""
APPROVED_US: Final = 3_600_000_000
"""How long an approval of a call is valid: an hour."""
ACTIVATE: Final = "policy.activate"
_NAMES_SET: Final = ("policy_set", "p.policy_set")
"""Members of acts that name a set."""
DEFAULT_THRESHOLD: Final = 80.0
"""Of a call that names none: the service model's documentation of FaceMatchThreshold and SimilarityThreshold."""
THRESHOLDS: Final[Mapping[str, str]] = {
    "CompareFaces": "SimilarityThreshold",
    "SearchFaces": "FaceMatchThreshold",
    "SearchUsers": "UserMatchThreshold",
}
"""How operations begin that have a threshold, and its parameter."""
ENROLMENT: Final = frozenset({"IndexFaces", "AssociateFaces"})
SENSITIVITY: Final = "countenance:sensitivity"
LEGAL_BASIS: Final = "countenance:legal-basis"
DPIA: Final = "countenance:dpia"
"""Tags of a collection that policies know."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A set in force, from a moment on."""

    from_us: int
    policy_set: str
    by: tuple[str, ...]
    reason: str
    request_id: str
    decided_us: int = 0
    """When it was decided: one that begins later was not in force at once."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, as the log has it: nothing here is looked up in a row that somebody may have written."""

    account: str
    purpose: str
    jurisdiction: str
    is_owner: bool
    declaration: str = ""
    """Which declaration the account has; see `accounts.Declared`."""


class Governance:
    """What calls are decided by. Safe to use from any thread."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        journal: Journal,
        accounts: Accounts,
        *,
        standings: Standings | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Without `standings`, an account is what two operators say of it: for tests of other things."""
        self._accounts = accounts
        if standings is None:
            folder = database.folder
            standings = Standings(Documents(database), journal, accounts, folder, gates=False, now_us=now_us)
        self.standings = standings
        self._journal = self.journal = journal
        self.requests = Requests(journal)
        self._now_us = now_us
        self._lock = threading.RLock()
        self.progress = Progress()
        self.shelf = Shelf(database)
        self.office = Office(database, keyring, journal, now_us=now_us, party_of=accounts.identified)
        self._purposes: dict[str, str] = {}
        self._allowed: set[tuple[str, str]] = set()
        self._timeline: list[Activation] = [self._default()]
        self._approved: dict[str, int] = {}
        rows = Rows(database, most=AWAITED, of_account=OF_ACCOUNT) if database.is_shared else None
        self._waiting = Waiting(rows)
        self._on_record = OnRecord(lambda handle: handle in self.office.state.operators)
        self._forgotten: list[int] = []
        self._taken = 0
        self._recorded = (-1, -1)
        """Place of the last act that is on record here."""
        self._catch_up()
        self._read_record()
        database.followers.append(self.follow)

    def follow(self) -> None:
        """Take in what other processes did: operators first, what two of them decided, then what is on record."""
        with self._lock:
            self.office.follow()
            self._catch_up()
            for said in self._journal.acts(RECORDED, self._recorded):
                self._on_record.note(said)
                self._recorded = said.place

    def _read_record(self) -> None:
        """What is on record, from the acts."""
        fresh, last = OnRecord(lambda handle: handle in self.office.state.operators), (-1, -1)
        for each in self._forgotten:
            fresh.forget(each)
        for said in self._journal.acts(RECORDED):
            fresh.note(said)
            last = said.place
        self._on_record, self._recorded = fresh, last

    # -- what is in force

    def standing(self, account_id: str) -> Standing:
        """Of an account now, and why."""
        return self.standings.standing(account_id)

    def declaration(self, account_id: str) -> str:
        """Which declaration an account has, `accounts.Declared.key`; "" while it is undeclared."""
        declared = self._accounts.party(account_id)
        return declared.key if declared else ""

    def purposes(self) -> dict[str, str]:
        """Word -> what it means."""
        with self._lock:
            return {**BUILT_IN, **self._purposes}

    def check_purpose(self, word: str) -> str:
        """The word, when keys may be issued for it. Raises PurposeError."""
        if word not in self.purposes():
            raise PurposeError(f"There is no purpose {word[:64]!r}.", hint="`countenance purpose list` shows them")
        return word

    def check_allowed(self, account_id: str, word: str) -> str:
        """The word, when an account may have keys for it. Raises PurposeError for one that policies exempt, and two
        operators have not allowed to the account."""
        with self._lock:
            if word in EXEMPT and (account_id, word) not in self._allowed:
                raise PurposeError(
                    f"Two operators allow an account the purpose {word} first: policies exempt it.",
                    hint=f"countenance purpose allow {account_id} {word} --reason '...'",
                )
        return word

    def timeline(self) -> list[Activation]:
        """The sets in force, in the order in which they come."""
        with self._lock:
            return list(self._timeline)

    def in_force(self, at_us: int) -> Activation:
        """The set that decides at a moment."""
        with self._lock:
            return self._timeline[max(0, bisect_right(self._timeline, at_us, key=lambda each: each.from_us) - 1)]

    def engine(self, at_us: int) -> Engine:
        """What decides at a moment. While acts of operators are missing, nothing that was decided can be relied on, a
        refusal that was taken away least of all: then everything is denied."""
        if not self.office.state.is_whole:
            return Engine(None, reason=MISSING)
        return self.shelf.engine(self.in_force(at_us).policy_set)

    # -- what is on record

    def record(
        self,
        operation: str,
        account_id: str,
        details: Mapping[str, int | str],
        *,
        request_id: str,
        person: str = "",
        once: bool = True,
    ) -> None:
        """Put something on record: one of RECORDED.

        Args:
            person: the external image id of whom it is about.
            once: whether it was decided by what is on record, so that who decided looks again (`DecidedMeanwhile`) when
                another process put something there meanwhile.
        """
        if once:
            self._record(operation, account_id, details, request_id, person)
        else:
            self._journal.again(lambda: self._record(operation, account_id, details, request_id, person))

    def _record(
        self, operation: str, account_id: str, details: Mapping[str, int | str], request_id: str, person: str
    ) -> None:
        now = self._now_us()
        with self._lock:
            try:
                place = self._journal.append(
                    operation,
                    account_id,
                    request_id,
                    now,
                    details,
                    party=self._accounts.identified(account_id),
                    external_image_ids=[person] if person else [],
                )
            except DecidedMeanwhile:
                raise  # nothing was written
            except BaseException:
                self._read_record()  # what was reported as failed may be in the log all the same
                raise
            self._recorded = place
            self._on_record.note(Act(operation, account_id, request_id, now, details))

    def draft(self, policy_set: PolicySet, *, by: str, request_id: str) -> None:
        """Keep a set, with the act that says who made it: a row that no act speaks of is nobody's."""
        details = {"policy_set": policy_set.sha256, "by": by}

        def insert(connection: Any) -> None:
            self.shelf.insert(connection, policy_set)

        try:
            self._journal.again(
                lambda: self._journal.append(DRAFT, "", request_id, self._now_us(), details, also=insert)
            )
        finally:
            self.shelf.forget(policy_set.sha256)

    def consents(self, account_id: str) -> list[tuple[str, str, int]]:
        """Subject, purpose, and until when (microseconds since 1970), of an account."""
        with self._lock:
            return self._on_record.consents(account_id)

    def has_consent(self, account_id: str, external_image_id: str, purpose: str, at_us: int) -> bool:
        """Whether a release of a person for a purpose is on record and in force."""
        if not external_image_id:
            return False
        who = subject(self._accounts, account_id, external_image_id)
        with self._lock:
            return self._on_record.consent_until(account_id, who, purpose) >= at_us

    def retention_days(self, account_id: str, collection_id: str) -> int:
        """Days that a collection keeps what is enrolled; UNKNOWN when none is set."""
        with self._lock:
            return self._on_record.retention_days(account_id, collection_id)

    def authorisations(self, account_id: str) -> list[Authorisation]:
        """What authorities were asked for an account, the oldest first."""
        with self._lock:
            return self._on_record.authorisations(account_id)

    def verifications(self, request_id: str) -> list[Verification]:
        """Who looked at the answer of a call, the oldest first."""
        with self._lock:
            return self._on_record.verifications(request_id)

    # -- calls

    def moment(self, at_us: int) -> int:
        """When a call is decided: never before what is in the log already. A clock that was set back must not bring a
        policy set back, or an account."""
        return max(at_us, self._journal.last_us())

    def asked(
        self,
        gallery: Gallery,
        who: Asking,
        operation: str,
        params: Mapping[str, Any],
        at_us: int,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Request, Awaited | None]:
        """What policies are told about a call, and under what it could be approved; None where nothing asks for that,
        so that no image is hashed in vain, and for a call that cannot be.

        Args:
            headers: those that change what the call does.
        """
        account_id, verdict = who.account, self.standings.verdict(who.account)
        is_cleared = self.standings.is_cleared(account_id, who.declaration)
        # What was verified was verified of a declaration; and whoever is not cleared does not learn what was found.
        is_verified = is_cleared or (who.is_owner and verdict.is_about(who.declaration))
        account = Account(
            id=account_id,
            owner=who.is_owner,
            standing=CLEARED if is_cleared else PENDING,
            sector=verdict.sector if is_verified else "",
            jurisdiction=who.jurisdiction,
            end_user_sectors=verdict.end_user_sectors if is_verified else (),
        )
        name = _collection_of(params)
        collection, references = self._collection(gallery, account_id, name)
        awaited, approvals = None, 0
        if self.engine(at_us).asks_approval:
            awaited = awaited_of(account_id, who.purpose, operation, name, params, headers or {})
            if awaited is not None:
                with self._lock:
                    approvals = 2 if self._approved.get(awaited.id, 0) >= at_us else 0
        call = Call(
            purpose=who.purpose,
            time=at_us // 1_000_000,
            approvals=approvals,
            authorisation=self._authorisation(account_id, name, at_us),
            # A release is one person's: it does not enrol everybody in a picture.
            consent=operation in ENROLMENT
            and params.get("MaxFaces", 1 if operation != "IndexFaces" else 0) == 1
            and self.has_consent(account_id, _whom(params), who.purpose, at_us),
            references=references,
            threshold=_threshold_of(operation, params),
            emotions=_asks_for_emotions(params),
            real_time=who.purpose == REAL_TIME,
        )
        return Request(account, operation, collection, call), awaited

    def _authorisation(self, account_id: str, collection: str, at_us: int) -> str:
        with self._lock:
            return self._on_record.authorisation(account_id, collection, at_us)

    def decide(self, request: Request, at_us: int) -> tuple[Decision, Engine]:
        """The decision, and what decided."""
        engine = self.engine(at_us)
        return engine.decide(request), engine

    def await_approval(self, awaited: Awaited) -> str:
        """Remember a denied call, so that it can be approved; its id."""
        with self._lock:
            self._waiting.add(awaited)
        return awaited.id

    def awaited(self) -> list[Awaited]:
        """Denied calls that could be approved, the latest last."""
        with self._lock:
            return self._waiting.all()

    # -- what two operators decide

    def approve(self, proposal: str, *, by: str, request_id: str) -> Act:
        """Approve a proposal; what it decides is in force when this returns. Raises ProposalError, PolicyError."""
        with self._lock:
            try:
                return self.office.approve(proposal, by=by, request_id=request_id, check=self._still_possible)
            finally:
                self._catch_up()  # also after an error: what was reported as failed may have been stored

    def refound(self, *, reason: str, request_id: str) -> Proposal:
        """Begin anew on the host; see `Office.refound`. Raises OperatorError."""
        with self._lock:
            try:
                return self.office.refound(reason=reason, request_id=request_id)
            finally:
                self._catch_up()

    def decides(self) -> bool:
        """Whether there is a set that can allow anything."""
        return self.engine(self._now_us()).in_force is not None

    def warnings(self) -> list[str]:
        """Why every call is denied, or calls of accounts that nobody cleared are not."""
        at_us, found = self._now_us(), []
        engine = self.engine(at_us)
        if engine.in_force is None:
            found.append(f"every call is denied: {engine.reason}")
        elif "standing" not in engine.in_force.packs:
            found.append("the policies in force do not have the pack standing: accounts that nobody cleared may call")
        worded = engine.in_force.wording if engine.in_force is not None else {}
        if changed := [name for name, wording in worded.items() if wording != AS_SHIPPED]:
            found.append(f"the policies in force have {', '.join(changed)} in other words than this program's")
        return found + self.standings.warnings()

    def problems(self) -> list[str]:
        """What `ledger fsck` should know of operators and of sets that were in force."""
        found = self.office.problems()
        operations = (*OPERATIONS, *RECORDED, *STANDING_ACTS, DEFAULT_SET, DRAFT)
        found += [
            f"act {each.request_id} ({each.operation}): it has no seal of this server; it counts for nothing"
            for each in self._journal.unsealed(operations)
        ]
        kept = self.shelf.all()
        for digest in sorted({*kept, *(each.policy_set for each in self.timeline())}):
            try:
                self.shelf.find(digest)
            except PolicyError as error:
                found.append(error.message)
        spoken_of = self._sets_spoken_of()
        found += [
            f"policy set {digest[:64]}: it is there, and no entry explains it"
            for digest in kept
            if digest not in spoken_of
        ]
        return found + self.standings.problems()

    def _sets_spoken_of(self) -> set[str]:
        """Sets that were made, proposed, or in force, by acts."""
        acts = self._journal.acts((DEFAULT_SET, DRAFT, ACTIVATE, "proposal.make"))
        return {str(said) for each in acts for name in _NAMES_SET if (said := each.details.get(name)) is not None}

    def _still_possible(self, proposal: Proposal) -> None:
        if proposal.kind == ACTIVATE:
            refuse_mislabelled(self.shelf.find(str(proposal.details["policy_set"])))
            previous = self.in_force(max(self._now_us(), int(proposal.details["from_us"]))).policy_set
            if proposal.details["previous"] not in ("", previous):
                raise PolicyError(
                    f"Another set than {str(proposal.details['previous'])[:16]} is in force by now: {previous[:16]}.",
                    hint="propose it again; what it changes is not what was proposed",
                )
        if proposal.kind == "account.standing":
            self._accounts.account(proposal.account)
            if proposal.details.get("verdict_us", now := self.standings.verdict(proposal.account).at_us) != now:
                raise StandingError(
                    "Two operators have said something else of the account since that was proposed.",
                    hint="look again, and propose it",
                )
            if proposal.details["standing"] == CLEARED:
                self.standings.refuse_clearing(proposal.account)
            if proposal.details.get("declaration", declared := self.declaration(proposal.account)) != declared:
                raise StandingError(
                    "The account has declared something else since that was proposed.",
                    hint="look again, and propose it",
                )
        self.standings.refuse_stale(proposal)

    def _catch_up(self) -> None:
        decided = self.office.state.decided
        for act in decided[self._taken :]:
            self._take(act)
        self._taken = len(decided)

    def _take(self, act: Act) -> None:
        said, by = act.details, (str(act.details.get("by", "")), str(act.details.get("and", "")))
        if act.request_id in self.office.state.refounded_without:
            self._begin_anew(act)
        if act.operation in DECIDED:
            self.standings.note(act)
        elif act.operation == "purpose.add":
            self._purposes[check_word(str(said["purpose"]))] = str(said["meaning"])
        elif act.operation == "purpose.allow":
            self._allowed.add((act.account, str(said["purpose"])))
        elif act.operation == ACTIVATE:
            # Never in force before it was decided, nor before what began earlier, whatever a clock says: what was in
            # force stays in the timeline. What was decided to come later still comes.
            begun = max(each.from_us for each in self._timeline if each.from_us <= max(each.decided_us, act.at_us))
            start = max(int(said["from_us"]), act.at_us, begun)
            made = Activation(start, str(said["policy_set"]), by, str(said["reason"]), act.request_id, act.at_us)
            insort(self._timeline, made, key=lambda each: each.from_us)
        elif act.operation == "call.approve":
            named = Awaited.of_act(act.account, said)
            if named.id == said["approval"]:  # and no other call
                self._approved[named.id] = act.at_us + APPROVED_US

    def _begin_anew(self, act: Act) -> None:
        """What was decided is not known any more: nobody is cleared, no call is approved, and the set is the one that
        the program comes with."""
        self.standings.forget(act.at_us)
        self._approved.clear()
        self._allowed.clear()
        self._on_record.forget(act.at_us)
        self._forgotten.append(act.at_us)
        start = max(act.at_us, *(each.from_us for each in self._timeline if each.from_us <= each.decided_us))
        usual = replace(self._timeline[0], from_us=start, reason="decisions were lost", request_id=act.request_id)
        self._timeline = [each for each in self._timeline if each.from_us <= start]
        self._timeline.append(replace(usual, decided_us=start))

    def _default(self) -> Activation:
        found = next(iter(self._journal.acts((DEFAULT_SET,))), None)
        if found is None:
            policy_set = composed(DEFAULT)
            self.shelf.keep(policy_set)
            request_id, at_us = str(uuid.uuid4()), self._now_us()
            self._journal.append(DEFAULT_SET, "", request_id, at_us, {"policy_set": policy_set.sha256})
            return Activation(0, policy_set.sha256, (), "as the program comes", request_id)
        digest = str(found.details["policy_set"])
        if digest == composed(DEFAULT).sha256 and digest not in self.shelf.all():
            self.shelf.keep(composed(DEFAULT))  # an older database was put in place
        return Activation(0, digest, (), "as the program comes", found.request_id)

    def _collection(self, gallery: Gallery, account_id: str, name: str) -> tuple[Collection | None, int]:
        if not name:
            return None, 0
        made = Collection(f"{account_id}/{name}")
        try:
            found = gallery.collection(account_id, name)
            tags = gallery.tags(account_id, name)
        except CollectionNotFound:
            return made, 0  # what it is told is for the operation
        return replace(
            made,
            tags=tuple(sorted(f"{key}={value}" for key, value in tags.items())),
            sensitivity=tags.get(SENSITIVITY, ""),
            legal_basis=tags.get(LEGAL_BASIS, ""),
            dpia=tags.get(DPIA, ""),
            retention_days=self.retention_days(account_id, name),
        ), found.face_count


def _collection_of(params: Mapping[str, Any]) -> str:
    if arn := params.get("ResourceArn"):
        return str(arn).rpartition("/")[2]
    return str(params.get("CollectionId", ""))


def _whom(params: Mapping[str, Any]) -> str:
    """What the deployer calls the person whom a call enrols: by ExternalImageId, or by the user that faces go under."""
    return str(params.get("ExternalImageId", params.get("UserId", "")))


def _threshold_of(operation: str, params: Mapping[str, Any]) -> int:
    for prefix, name in THRESHOLDS.items():
        if operation.startswith(prefix):
            # Never up: what is asked for must not pass as stricter than it is. By its decimals: 1.001 is 1001.
            return int(Decimal(str(params.get(name, DEFAULT_THRESHOLD))) * THOUSANDTHS)
    return UNKNOWN


def _asks_for_emotions(params: Mapping[str, Any]) -> bool:
    asked = {*params.get("Attributes", ()), *params.get("DetectionAttributes", ())}
    return bool(asked & {"ALL", "EMOTIONS"})


def at_us(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return int(moment.astimezone(UTC).timestamp() * 1_000_000)


__all__ = ["Activation", "Awaited", "Governance", "PolicyError", "at_us"]
