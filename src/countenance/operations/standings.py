"""Accounts' standing: lists are taken, parties screened, findings become cases, and two operators judge them.

Brings together declarations (`accounts`), what is listed and what a screening finds (`standing`), and acts of the log.
Whatever decides is an act; here is nothing that a row could change. Every screening is an act with the hashes of all
that went into it, a clear one too: that is what shows that somebody looked.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from countenance.accounts import Accounts
from countenance.errors import Error
from countenance.operations.lookthrough import Chains, chains_of, seen_through
from countenance.operations.subjects import Subject, subjects
from countenance.operators import Journal, Proposal
from countenance.operators.values import Said
from countenance.standing import runner
from countenance.standing.documents import DocumentMissing, Documents
from countenance.standing.fetching import check_address, fetch
from countenance.standing.findings import Finding, digest, of_hit, outcome
from countenance.standing.listed import ListedEntity, ScreenedParty
from countenance.standing.lists import FORMS, ListError, Snapshot, compare, read, refuse_shrunk
from countenance.standing.matching import Hit
from countenance.standing.record import ACTS, CLEARED, DAY_US, DECIDED, Case, Record, Standing, Taken, Terms, Verdict
from countenance.standing.runner import Progress, Wanted
from countenance.standing.snapshots import Snapshots

FETCH_AGAIN_US: Final = 20 * 3_600_000_000
"""A list is fetched once a day: the server may be started at another hour than yesterday."""
SNAPSHOTS_REMEMBERED: Final = 8
"""When entries of so many snapshots were listed: a megabyte each."""
SERVER: Final = "server"
"""Who does what nobody asked for: a list was updated, an interval has passed."""
OPERATOR_FILE: Final = "operator"
"""Source of a list that somebody brought as a file."""

_log = logging.getLogger(__name__)


class StandingError(Error):
    """Something about lists, screenings or cases cannot be done."""


class Matching(Protocol):
    """What compares parties with lists; see `standing.runner.screen`."""

    def __call__(
        self, wanted: Sequence[Wanted], parties: Sequence[ScreenedParty], progress: Progress | None
    ) -> list[tuple[Hit, ...]]: ...


@dataclass(frozen=True, slots=True)
class Imported:
    """A snapshot that was put in force, or was in force already.

    Attributes:
        taken: None when it was the same as the one in force.
        added, changed, removed: numbers of entries.
    """

    list_id: str
    sha256: str
    report_date: str
    entities: int
    added: int
    changed: int
    removed: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where a list is fetched from: an address for each of its files, in the order of the form's roles."""

    form: str
    list_id: str
    urls: tuple[str, ...]


def sources_of(said: Sequence[str]) -> list[Source]:
    """From the setting: FORM=URL|URL, or FORM:NAME=URL. Raises StandingError."""
    found = []
    for each in said:
        name, _, addresses = each.partition("=")
        form, _, list_id = name.strip().partition(":")
        urls = tuple(url.strip() for url in addresses.split("|") if url.strip())
        if form not in FORMS or not 1 <= len(urls) <= len(FORMS[form].roles) or not (list_id or FORMS[form].list_id):
            raise StandingError(
                f"The setting lists has {each[:80]!r}, which is no FORM=URL.",
                hint=f"forms are {', '.join(FORMS)}; ftm-json needs a name: ftm-json:NAME=URL",
            )
        for url in urls:
            check_address(url)
        found.append(Source(form, list_id or FORMS[form].list_id, urls))
    return found


@dataclass(slots=True)
class Progressing:
    """How far the screening that runs is; for people."""

    cause: str = ""
    done: int = 0
    of: int = 0
    since_us: int = 0


class Standings:
    """Lists, screenings, cases and verdicts of one server. Safe to use from any thread.

    Args:
        data: the data folder.
        gates: whether an account needs a screening to be cleared; False takes the operators' word for it, for tests of
            other things.
        match: compares parties with lists; None does it in processes of its own.
    """

    def __init__(
        self,
        documents: Documents,
        journal: Journal,
        accounts: Accounts,
        data: Path,
        *,
        terms: Terms | None = None,
        gates: bool = True,
        sources: Sequence[Source] = (),
        match: Matching | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.documents = documents
        self.snapshots = Snapshots(data)
        self.data = data
        self._journal = journal
        self._accounts = accounts
        self._gates = gates
        self.sources = tuple(sources)
        self._match = match or (lambda wanted, parties, progress: runner.screen(data, wanted, parties, progress))
        self._now_us = now_us
        self._lock = threading.RLock()
        self._screening = threading.Lock()
        self._record = Record(self._findings, terms)
        self.progress = Progressing()
        self._listed: dict[str, dict[str, str]] = {}
        for said in journal.acts(ACTS):
            self._record.take(said)

    # -- what is in force

    def note(self, act: Said) -> None:
        """Takes what two operators decided."""
        if act.operation in DECIDED:
            with self._lock:
                self._record.take(act)

    def verdict(self, account: str, at_us: int | None = None) -> Verdict:
        """What two operators say of an account."""
        with self._lock:
            return self._record.verdict(account, self._at(at_us))

    def standing(self, account: str, at_us: int | None = None) -> Standing:
        """An account's standing as known at a moment, and why."""
        with self._lock:
            return self._record.standing(account, self._at(at_us), gates=self._gates)

    def is_cleared(self, account: str, party_sha256: str) -> bool:
        """Whether an account that declares something may call. Who declares somebody else is somebody else."""
        with self._lock:
            now = self._at(None)
            verdict = self._record.verdict(account, now)
            if verdict.standing != CLEARED or verdict.party_sha256 not in ("", party_sha256):
                return False
            return self._record.standing(account, now, gates=self._gates).standing == CLEARED

    def refuse_clearing(self, account: str) -> None:
        """Raises StandingError when something speaks against clearing an account."""
        if not self._gates:
            return
        runner.require()
        with self._lock:
            against = self._record.may_clear(account, self._at(None))
        if against:
            raise StandingError(
                f"The account cannot be cleared: {'; '.join(against)}.",
                hint=f"`countenance party screen {account}`, and `countenance case list {account}`",
            )

    def refuse_stale(self, proposal: Proposal) -> None:
        """Raises StandingError when what was proposed about a case or a list is not there any more."""
        if proposal.kind == "case.judge":
            self.case(proposal.account, str(proposal.details["case"]))

    def case(self, account: str, wanted: str) -> Case:
        """A case of an account by its id. Raises StandingError."""
        for each in self.cases(account):
            if each.id == wanted:
                return each
        raise StandingError(
            f"The account has no case {wanted[:40]!r}.", hint="`countenance case list` shows those there are"
        )

    def declared(self, account: str, party_sha256: str, *, is_owner: bool, at_us: int, request_id: str) -> None:
        """Takes account of a declaration that the register has recorded."""
        said: dict[str, int | str] = {"party_sha256": party_sha256, "owner": int(is_owner)}
        with self._lock:
            self._record.take(_Done("account.declare", account, request_id, at_us, said))

    def forget(self, before_us: int) -> None:
        """What two operators decided before a moment counts for nothing."""
        with self._lock:
            self._record.forget(before_us)

    def warnings(self) -> list[str]:
        """What should be looked at: lists that are too old, and entries that wait to be let go."""
        if not self._gates:
            return []
        now, found = self._at(None), []
        with self._lock:
            for list_id in self._record.taken(now):
                days = (now - self._record.looked_at(list_id, now)) // DAY_US
                if days * DAY_US > self._record.terms.list_age_us:
                    found.append(f"the list {list_id} was last looked at {days} days ago")
        return found

    def problems(self) -> list[str]:
        """What `ledger fsck` should know: documents and lists that are missing or damaged."""
        found = [f"document {each[:16]}: damaged" for each in self.documents.damaged()]
        with self._lock:
            screenings = [each for account in self._record.accounts() for each in self._record.screenings(account)]
            snapshots = [each for name in self._record.lists() for each in self._record.history(name)]
            statements = [kept for _, kept, _ in self._record.statements]
        for each in screenings:
            found += self._missing(f"screening {each.act}", each.inputs_sha256, each.report_sha256)
        for kept in statements:
            found += self._missing("statement of ownership", kept)
        for taken in snapshots:
            found += self._missing(f"list {taken.list_id}", *([taken.removed_sha256] if taken.removed else []))
            try:
                self.snapshots.find(taken.sha256)
            except Error as error:
                found.append(error.message)
        return found

    def _missing(self, what: str, *documents: str) -> list[str]:
        found = []
        for each in documents:
            try:
                self.documents.find(each)
            except DocumentMissing as error:
                found.append(f"{what}: {error.message}")
        return found

    def cases(self, account: str, at_us: int | None = None) -> list[Case]:
        """What was found about an account, the oldest first. Raises StandingError when a report cannot be read."""
        try:
            with self._lock:
                return self._record.cases(account, self._at(at_us))
        except KeyError:
            raise StandingError(
                "A report of the account's screenings cannot be read.", hint="screen it again"
            ) from None

    @property
    def record(self) -> Record:
        """All of it, for reading under `lock`."""
        return self._record

    @property
    def lock(self) -> threading.RLock:
        return self._lock

    # -- lists

    def take_list(
        self,
        form: str,
        files: Mapping[str, bytes],
        *,
        list_id: str | None = None,
        source: str = OPERATOR_FILE,
        report_date: str = "",
        may_shrink: bool = False,
        by: str = SERVER,
        request_id: str,
    ) -> Imported:
        """Read a list, keep it and put it in force. The one before stays in force when this raises.

        Entries that are missing in it stay in force as well, until two operators let them go.

        Args:
            report_date: ISO 8601, of a form that has none.

        Raises:
            ListError: it cannot be read, is from the future, or lost too much to be believed.
        """
        found = read(form, files, list_id=list_id)
        with self._lock:
            now = self._now_us()
            before = self._record.history(found.list_id)
        previous = self._read_again(before[-1]) if before else None
        difference = compare(previous, found) if previous is not None else None
        if previous is not None and not may_shrink:
            refuse_shrunk(previous, found)
        kept = self.snapshots.keep(files)
        removed = sorted(difference.removed) if difference else []
        added, changed = (len(difference.added), len(difference.changed)) if difference else (len(found.entities), 0)
        said: dict[str, int | str] = {"list_id": found.list_id, "sha256": kept, "source": source, "by": by}
        is_same = bool(before) and before[-1].sha256 == kept
        dated = found.report_date.isoformat() if found.report_date else report_date
        if dated > _day_of(now + DAY_US):
            raise ListError(
                f"The list is of {dated}, which is still to come.", hint="days and months may have been swapped"
            )
        with self._lock:
            if is_same and (before[-1].source == source or source == OPERATOR_FILE):
                self._do("list.seen", "", said, request_id, now)
            else:
                removed_sha256 = self.documents.keep({"v": 1, "removed": removed}) if removed else ""
                said |= {
                    "format": form,
                    "report_date": dated,
                    "entities": len(found.entities),
                    "removed": len(removed),
                    "removed_sha256": removed_sha256,
                }
                self._do("list.take", "", said, request_id, now)
        return Imported(found.list_id, kept, dated, len(found.entities), added, changed, len(removed), not is_same)

    def is_due(self, source: Source) -> bool:
        """Whether a list has not been looked at today."""
        now = self._at(None)
        with self._lock:
            return now - self._record.looked_at(source.list_id, now) > FETCH_AGAIN_US

    def update(self, source: Source, *, by: str = SERVER, request_id: str, may_shrink: bool = False) -> Imported:
        """Fetch a list from its publisher, and put it in force. Raises FetchFailed, ListError."""
        roles = FORMS[source.form].roles
        folder = self.snapshots.folder / "fetching"
        files = {role: fetch(url, folder) for role, url in zip(roles, source.urls, strict=False)}
        return self.take_list(
            source.form,
            files,
            list_id=source.list_id,
            source=source.urls[0],
            may_shrink=may_shrink,
            by=by,
            request_id=request_id,
        )

    def _read_again(self, taken: Taken) -> Snapshot:
        return read(taken.form, self.snapshots.find(taken.sha256), list_id=taken.list_id)

    def listed_since(self, list_id: str, entry_id: str) -> date | None:
        """From which day on an entry is known to have been listed: as the list says, or by the first snapshot that has
        it; None when no snapshot does."""
        with self._lock:
            history = self._record.history(list_id)
        for taken in history:
            entry = self._entries(taken).get(entry_id)
            if entry is not None:
                said = entry or taken.report_date or _day_of(taken.at_us)
                try:
                    return date.fromisoformat(said)
                except ValueError:
                    return date.fromisoformat(taken.report_date or _day_of(taken.at_us))
        return None

    def _entries(self, taken: Taken) -> dict[str, str]:
        """Entry -> when it was listed, as the list says, of a snapshot; the last few are remembered."""
        known = self._listed.get(taken.sha256)
        if known is None:
            known = {each.entry_id: each.listed_on for each in self._read_again(taken).entities}
            self._listed[taken.sha256] = known
            while len(self._listed) > SNAPSHOTS_REMEMBERED:
                self._listed.pop(next(iter(self._listed)))
        return known

    def removed_entries(self, taken: Taken) -> list[ListedEntity]:
        """The entries that a snapshot lacks, as the one before it had them."""
        with self._lock:
            history = self._record.history(taken.list_id)
        place = history.index(taken)
        if not place:
            return []
        wanted = set(self.removed(taken))
        return [each for each in self._read_again(history[place - 1]).entities if each.entry_id in wanted]

    def note_report(self, account: str, details: Mapping[str, int | str], *, request_id: str) -> None:
        """Has a report of the look back be an act."""
        party = self._accounts.identified(account)
        self._journal.append("party.lookback", account, request_id, self._now_us(), details, party=party)

    def removed(self, taken: Taken) -> list[str]:
        """The entries that a snapshot lacks and the one before it had. Raises DocumentMissing."""
        return [str(each) for each in self.documents.find(taken.removed_sha256)["removed"]] if taken.removed else []

    def wanted(self) -> list[Wanted]:
        """What has to be screened with now. Raises DocumentMissing."""
        with self._lock:
            now = self._at(None)
            in_force, kept_back = self._record.taken(now), self._record.kept_back(now)
        found = [Wanted(each.list_id, each.form, each.sha256) for each in in_force.values()]
        for earlier, later in kept_back:
            found.append(Wanted(earlier.list_id, earlier.form, earlier.sha256, tuple(self.removed(later))))
        return found

    # -- ownership

    def record_statements(self, contents: Sequence[Mapping[str, Any]], *, by: str, request_id: str) -> list[str]:
        """Put statements of ownership on record, for good; the hashes of their documents.

        Args:
            contents: each {"statement": ..., "parties": ...}; see `lookthrough`.
        """
        made = []
        for content in contents:
            kept = self.documents.keep(content)
            with self._lock:
                if any(kept == known for _, known, _ in self._record.statements):
                    continue
                self._do("ownership.record", "", {"statement_sha256": kept, "by": by}, request_id)
            made.append(kept)
        return made

    def chains(self, known_at_us: int | None = None) -> Chains:
        """All statements that were on record at a moment. Raises DocumentMissing."""
        at_us = self._at(known_at_us)
        with self._lock:
            known = [(at, kept) for at, kept, _ in self._record.statements if at <= at_us]
        return chains_of([(at, kept, self.documents.find(kept)) for at, kept in known])

    # -- screening

    def screen(
        self,
        accounts: Iterable[str],
        *,
        cause: str,
        by: str = SERVER,
        request_id: str | None = None,
        progress: Progress | None = None,
    ) -> dict[str, str]:
        """Screen accounts with the lists and statements in force; account -> outcome.

        Each account's screening is an act of its own, as soon as all of them were compared.

        Raises:
            MatcherMissing: the extra is not installed; nothing was recorded.
            StandingError: there is no list.
        """
        with self._screening:
            now = self._now_us()
            wanted, chains = self.wanted(), self.chains()
            if not wanted:
                raise StandingError(
                    "There is no list to screen with.", hint="`countenance list import` or `list update` comes first"
                )
            with self._lock:
                lists = self._record.lists_digest(now)
            people = {account: self._subjects(account, chains, now) for account in accounts}
            people = {account: found for account, found in people.items() if found}
            different = {each.screened.party_id: each.screened for found in people.values() for each in found}
            self.progress = Progressing(cause, 0, len(different), now)
            hits = self._hits(wanted, list(different.values()), progress)
            outcomes = {}
            for account, found in people.items():
                report = self._report(account, found, hits, chains, now)
                inputs = {
                    "v": 1,
                    "account": account,
                    "party": self._party(account),
                    "lists": [
                        asdict(each) | {"only": None if each.only is None else digest(list(each.only))}
                        for each in wanted
                    ],
                    "statements": sorted(chains.documents),
                    "subjects": [
                        {"role": each.role, "key": each.key, "party": each.screened.party_id} for each in found
                    ],
                    "rests_on": report["rests_on"],
                }
                outcomes[account] = outcome(report["findings"])
                details: dict[str, int | str] = {
                    "party_sha256": self._party(account),
                    "inputs_sha256": self.documents.keep(inputs),
                    "report_sha256": self.documents.keep(report),
                    "outcome": outcomes[account],
                    "findings": len(report["findings"]),
                    "lists": lists,
                    "cause": cause,
                    "by": by,
                }
                with self._lock:
                    self._do("screening.done", account, details, request_id or str(uuid.uuid4()))
            self.progress = Progressing()
            return outcomes

    def report(self, account: str) -> dict[str, Any] | None:
        """The latest report of an account; None before the first. Raises DocumentMissing."""
        with self._lock:
            latest = self._record.screening(account, self._at(None))
        return None if latest is None else dict(self.documents.find(latest.report_sha256))

    def due(self) -> list[tuple[str, str]]:
        """Accounts that have to be screened again, and why: declaration, list or interval."""
        now, found = self._at(None), []
        with self._lock:
            lists = self._record.lists_digest(now)
            for each in self._accounts.accounts():
                if each.is_owner:
                    continue
                last = self._record.screening(each.account_id, now)
                if last is None:
                    continue  # it is screened when somebody wants to clear it
                if last.party_sha256 != self._record.party(each.account_id, now):
                    found.append((each.account_id, "declared"))
                elif last.lists != lists:
                    found.append((each.account_id, "list"))
                elif now - last.at_us > self._record.terms.interval_us // 2:
                    found.append((each.account_id, "interval"))
        return found

    def screen_due(self, *, progress: Progress | None = None) -> dict[str, str]:
        """Screens whoever has to be screened again. Raises MatcherMissing, StandingError."""
        by_cause: dict[str, list[str]] = {}
        for account, cause in self.due():
            by_cause.setdefault(cause, []).append(account)
        outcomes: dict[str, str] = {}
        for cause, accounts in by_cause.items():
            outcomes |= self.screen(accounts, cause=cause, progress=progress)
        return outcomes

    # -- in short

    def _subjects(self, account: str, chains: Chains, now: int) -> list[Subject]:
        declared = self._accounts.party(account)
        if declared is None:
            return []
        found = subjects(declared.party)
        return found + chains.further(declared.party, found, now)

    def _hits(
        self, wanted: Sequence[Wanted], parties: Sequence[ScreenedParty], progress: Progress | None
    ) -> dict[str, tuple[Hit, ...]]:
        def tell(done: int, of: int) -> None:
            self.progress.done, self.progress.of = done, of
            if progress is not None:
                progress(done, of)

        found = self._match(wanted, parties, tell)
        return {party.party_id: hits for party, hits in zip(parties, found, strict=True)}

    def _report(
        self, account: str, found: Sequence[Subject], hits: Mapping[str, tuple[Hit, ...]], chains: Chains, now: int
    ) -> dict[str, Any]:
        declared = self._accounts.party(account)
        assert declared is not None  # `_subjects` looked
        made: list[Finding] = [of_hit(who.role, who.name, hit) for who in found for hit in hits[who.screened.party_id]]
        seen = seen_through(declared, found, {who.key: hits[who.screened.party_id] for who in found}, chains, now)
        made += seen.findings
        rests_on = sorted(
            {f"{hit.scorer} {hit.config_hash}" for each in hits.values() for hit in each} | set(seen.rests_on)
        )
        return {
            "v": 1,
            "findings": sorted(made, key=lambda each: each["about"]),
            "notes": seen.notes,
            "rests_on": rests_on,
        }

    def _party(self, account: str) -> str:
        declared = self._accounts.party(account)
        return declared.party.digest() if declared else ""

    def _findings(self, report: str) -> Sequence[Mapping[str, Any]]:
        try:
            return list(self.documents.find(report)["findings"])
        except DocumentMissing as error:
            raise KeyError(error.message) from None

    def _at(self, at_us: int | None) -> int:
        return self._now_us() if at_us is None else at_us

    def _do(
        self, operation: str, account: str, details: Mapping[str, int | str], request_id: str, at_us: int | None = None
    ) -> None:
        """Appends an act and takes it."""
        now = self._at(at_us)
        party = self._accounts.identified(account) if account else ()
        self._journal.append(operation, account, request_id, now, details, party=party)
        self._record.take(_Done(operation, account, request_id, now, details))


def _day_of(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).date().isoformat()


def _told(each: Wanted) -> dict[str, Any]:
    return asdict(each) | {"only": None if each.only is None else digest(list(each.only))}


@dataclass(frozen=True, slots=True)
class _Done:
    operation: str
    account: str
    request_id: str
    at_us: int
    details: Mapping[str, int | str]
