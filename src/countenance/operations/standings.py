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
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from countenance.accounts import Accounts, Declared
from countenance.errors import Error
from countenance.operations.lists import SERVER, Lists, Source, StandingError, sources_of
from countenance.operations.lookthrough import Chains, chains_of, day_of
from countenance.operations.reports import Around, Looking, report_of, report_of_use
from countenance.operations.subjects import Subject, subjects
from countenance.operators import Journal, Proposal
from countenance.operators.values import Said
from countenance.standing import runner
from countenance.standing.documents import DocumentMissing, Documents
from countenance.standing.findings import digest, outcome
from countenance.standing.listed import ScreenedParty
from countenance.standing.matching import Hit
from countenance.standing.record import ACTS, CLEARED, DAY_US, DECIDED, Case, Record, Standing, Terms, Verdict
from countenance.standing.rules import Rule, digest_of, fitting, in_force
from countenance.standing.runner import Progress, Wanted
from countenance.standing.snapshots import Snapshots

__all__ = ["Progressing", "StandingError", "Standings", "sources_of"]

STIRRING: Final = frozenset({"account.country", "account.declare", "list.take", "ownership.record"})
"""Acts after which somebody may have to be screened."""

_log = logging.getLogger(__name__)


class Matching(Protocol):
    """What compares parties with lists; see `standing.runner.Runner`."""

    def __call__(
        self, wanted: Sequence[Wanted], parties: Sequence[ScreenedParty], progress: Progress | None
    ) -> list[tuple[Hit, ...]]: ...


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
        rules: red flags and nexus; those that hold on the day of a screening count in it.
        calls: account, hour since 1970 and count of answered calls since a moment: for how accounts are used.
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
        rules: Sequence[Rule] = (),
        calls: Callable[[int], Iterable[tuple[str, int, int]]] = lambda since_us: (),
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.documents = documents
        self.snapshots = Snapshots(data)
        self.data = data
        self._journal = journal
        self._accounts = accounts
        self._gates = gates
        self._rules = tuple(rules)
        self.looking = Looking(accounts, data, calls)
        self._met: set[tuple[str, str, str]] = set()
        self.stirred: Callable[[], None] = lambda: None
        """Called when somebody has to be screened soon; the server, which does it, sets it."""
        self._match = match or runner.Runner(data)

        def later() -> int:
            """A clock set back brings no standing back."""
            return max(now_us(), journal.last_us())

        self._now_us: Callable[[], int] = later
        self._lock = threading.RLock()
        self._screening = threading.Lock()
        self._record = Record(self._findings, terms)
        self.lists = Lists(
            documents,
            self.snapshots,
            self._record,
            self._lock,
            self._do,
            sources=sources,
            now_us=lambda: self._now_us(),
            again=journal.again,
        )
        self.progress = Progressing()
        self._read = (-1, -1)
        """Place of the last act taken."""
        self._take_new()
        documents.database.followers.append(self.follow)

    def follow(self) -> None:
        """Take in what other processes did, but for what two operators decided: see `note`."""
        with self._lock:
            is_stirring = self._take_new()
        if is_stirring:
            self.stirred()

    def _take_new(self) -> bool:
        """Whether something is new after which somebody has to be screened."""
        is_stirring = False
        for said in self._journal.acts(ACTS, self._read):
            self._record.take(said)
            self._read = said.place
            is_stirring = is_stirring or said.operation in STIRRING
        return is_stirring

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

    def is_cleared(self, account: str, declaration: str) -> bool:
        """Whether an account that declares something may call. Who declares somebody else is somebody else."""
        with self._lock:
            now = self._at(None)
            verdict = self._record.verdict(account, now)
            if verdict.standing != CLEARED or not verdict.is_about(declaration):
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

    def declared(self, account: str, declaration: str, *, is_owner: bool, at_us: int, request_id: str) -> None:
        """Takes account of a declaration that the register has recorded."""
        said: dict[str, int | str] = {"party_sha256": declaration, "owner": int(is_owner)}
        with self._lock:
            self._record.take(_Done("account.declare", account, request_id, at_us, said))

    def called_from(self, account: str, declaration: str, country: str) -> None:
        """Takes account of where a call came from: once for each country that the account does not say it is in.

        Args:
            declaration: which declaration the account has; somebody undeclared says nothing that could not fit.
            country: ISO 3166-1 alpha-2 in upper case, "" when it is not known.
        """
        met = (account, declaration, country)
        if not country or not declaration or met in self._met:
            return
        declared = self._accounts.party(account)
        if declared is not None:
            party = declared.party
            said = fitting(party.jurisdiction, party.used_in, [each.country for each in party.addresses])
            if country not in said:
                self._journal.again(lambda: self._note_country(account, country, said))
        self._met.add(met)

    def _note_country(self, account: str, country: str, said: Iterable[str]) -> None:
        with self._lock:
            if country not in self._record.countries(account, self._now_us()):
                details: dict[str, int | str] = {"country": country, "said": ",".join(sorted(said))}
                self._do("account.country", account, details, str(uuid.uuid4()))
                self.stirred()

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

    def note_report(self, account: str, details: Mapping[str, int | str], *, request_id: str) -> None:
        """Has a report of the look back be an act."""
        party = self._accounts.identified(account)
        self._journal.again(
            lambda: self._journal.append("party.lookback", account, request_id, self._now_us(), details, party=party)
        )

    # -- ownership

    def record_statements(self, contents: Sequence[Mapping[str, Any]], *, by: str, request_id: str) -> list[str]:
        """Put statements of ownership on record, for good; the hashes of their documents.

        Args:
            contents: each {"statement": ..., "parties": ...}; see `lookthrough`.
        """
        made = []
        for content in contents:
            kept = self.documents.keep(content)
            if self._journal.again(partial(self._record_statement, kept, by, request_id)):
                made.append(kept)
        return made

    def _record_statement(self, kept: str, by: str, request_id: str) -> bool:
        """Whether it was not on record before."""
        with self._lock:
            if any(kept == known for _, known, _ in self._record.statements):
                return False
            self._do("ownership.record", "", {"statement_sha256": kept, "by": by}, request_id)
            return True

    def chains(self, known_at_us: int | None = None) -> Chains:
        """All statements that were on record at a moment. Raises DocumentMissing."""
        at_us = self._at(known_at_us)
        with self._lock:
            known = [(at, kept) for at, kept, _ in self._record.statements if at <= at_us]
        return chains_of([(at, kept, self.documents.find(kept)) for at, kept in known])

    def documents_of_chains(self) -> tuple[str, ...]:
        """Hashes of the documents of all statements on record, as `chains` has them, without reading any."""
        with self._lock:
            return tuple(kept for _, kept, _ in self._record.statements)

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
            wanted, chains = self.lists.wanted(), self.chains(now)
            owners = {each.account_id for each in self._accounts.accounts() if each.is_owner}
            accounts = list(accounts)
            if not wanted and not owners.issuperset(accounts):
                raise StandingError(
                    "There is no list to screen with.", hint="`countenance list import` or `list update` comes first"
                )
            with self._lock:
                lists, statements = self._record.lists_digest(now), self._record.statements_digest(now)
            rules = in_force(self._rules, day_of(now))
            # As it is now, once: what is declared while others are compared is screened next time.
            declared = {account: self._accounts.party(account) for account in accounts}
            people = {
                account: _subjects(each, chains, now) for account, each in declared.items() if account not in owners
            }
            people = {account: found for account, found in people.items() if found}
            people |= {account: [] for account in accounts if account in owners}
            around = self.looking.around(accounts, wanted, now) if rules else Around()
            different = {each.screened.party_id: each.screened for found in people.values() for each in found}
            self.progress = Progressing(cause, 0, len(different), now)
            hits = self._hits(wanted, list(different.values()), progress) if different else {}
            outcomes = {}
            same = {
                "v": 1,
                "lists": [_told(each) for each in wanted],
                "rules": sorted(each.digest for each in rules),
                "statements": sorted(chains.documents),
            }
            for account, found in people.items():
                with self._lock:
                    verdict, countries = self._record.verdict(account, now), self._record.countries(account, now)
                party = declared[account]
                if account in owners or party is None:
                    report = report_of_use(account, party, around, rules, countries=countries, now_us=now)
                else:
                    sector = verdict.sector if verdict.is_about(party.key) else ""
                    report = report_of(
                        account, party, found, hits, chains, around, rules,
                        sector=sector, countries=countries, now_us=now,
                    )  # fmt: skip
                inputs = {
                    **same,
                    "account": account,
                    "party": party.key if party else "",
                    "subjects": [
                        {"role": each.role, "key": each.key, "party": each.screened.party_id} for each in found
                    ],
                    "rests_on": report["rests_on"],
                }
                outcomes[account] = outcome(report["findings"])
                details: dict[str, int | str] = {
                    "party_sha256": party.key if party else "",
                    "inputs_sha256": self.documents.keep(inputs),
                    "report_sha256": self.documents.keep(report),
                    "outcome": outcomes[account],
                    "findings": len(report["findings"]),
                    "lists": lists,
                    "rules": digest_of(rules),
                    "statements": statements,
                    "cause": cause,
                    "by": by,
                }
                done = partial(self._do_alone, "screening.done", account, details, request_id or str(uuid.uuid4()))
                self._journal.again(done)
            self.progress = Progressing()
            return outcomes

    def report(self, account: str) -> dict[str, Any] | None:
        """The latest report of an account; None before the first. Raises DocumentMissing."""
        with self._lock:
            latest = self._record.screening(account, self._at(None))
        return None if latest is None else dict(self.documents.find(latest.report_sha256))

    def due(self) -> list[tuple[str, str]]:
        """Accounts that have to be screened again, and why: declaration, list, ownership, rules, place or interval."""
        now, found = self._at(None), []
        rules = digest_of(in_force(self._rules, day_of(now)))
        with self._lock:
            lists, statements = self._record.lists_digest(now), self._record.statements_digest(now)
            for each in self._accounts.accounts():
                last, seen = (
                    self._record.screening(each.account_id, now),
                    self._record.seen_at(each.account_id, now),
                )
                if each.is_owner:
                    if seen > (last.at_us if last else 0):
                        found.append((each.account_id, "place"))
                    elif last and now - last.at_us > self._record.terms.interval_us // 2:
                        found.append((each.account_id, "interval"))
                elif last is None:
                    continue  # it is screened when somebody wants to clear it
                elif seen > last.at_us:
                    found.append((each.account_id, "place"))
                elif last.rules != rules:
                    found.append((each.account_id, "rules"))
                elif last.party_sha256 != self._record.party(each.account_id, now):
                    found.append((each.account_id, "declared"))
                elif last.lists != lists:
                    found.append((each.account_id, "list"))
                elif last.statements and last.statements != statements:
                    found.append((each.account_id, "ownership"))
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

    def _hits(
        self, wanted: Sequence[Wanted], parties: Sequence[ScreenedParty], progress: Progress | None
    ) -> dict[str, tuple[Hit, ...]]:
        def tell(done: int, of: int) -> None:
            self.progress.done, self.progress.of = done, of
            if progress is not None:
                progress(done, of)

        found = self._match(wanted, parties, tell)
        return {party.party_id: hits for party, hits in zip(parties, found, strict=True)}

    def _findings(self, report: str) -> Sequence[Mapping[str, Any]]:
        try:
            return list(self.documents.find(report)["findings"])
        except DocumentMissing as error:
            raise KeyError(error.message) from None

    def _at(self, at_us: int | None) -> int:
        return self._now_us() if at_us is None else at_us

    def _do_alone(self, operation: str, account: str, details: Mapping[str, int | str], request_id: str) -> None:
        with self._lock:
            self._do(operation, account, details, request_id)

    def _do(
        self, operation: str, account: str, details: Mapping[str, int | str], request_id: str, at_us: int | None = None
    ) -> None:
        """Appends an act and takes it."""
        now = self._at(at_us)
        party = self._accounts.identified(account) if account else ()
        self._read = self._journal.append(operation, account, request_id, now, details, party=party)
        self._record.take(_Done(operation, account, request_id, now, details))


def _subjects(declared: Declared | None, chains: Chains, now: int) -> list[Subject]:
    if declared is None:
        return []
    found = subjects(declared.party)
    found += chains.further(declared.party, found, now)
    return found + chains.former(declared.party, found, now)


def _told(each: Wanted) -> dict[str, Any]:
    return asdict(each) | {"only": None if each.only is None else digest(list(each.only))}


@dataclass(frozen=True, slots=True)
class _Done:
    operation: str
    account: str
    request_id: str
    at_us: int
    details: Mapping[str, int | str]
