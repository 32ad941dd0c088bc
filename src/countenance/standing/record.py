"""What the acts of the log say of lists, screenings, cases and verdicts: and so an account's standing, on any day.

Replays acts in order and keeps all of them, since every question is asked of a moment: what was known then. Knows no
rows, no list's content and no matcher; which acts count is for whoever reads the log. An account is what two operators
say, unless something speaks against it that they have not judged: a finding, a list that nobody looked at for too long,
a declaration or a list that came after the last screening. Nothing is cleared by being old, and no case closes itself.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final, Protocol, TypeVar

OWNER, PENDING, CLEARED = "owner", "pending", "cleared"
REVIEW, SUSPENDED, REFUSED = "review", "suspended", "refused"
STANDINGS: Final = (OWNER, PENDING, CLEARED, REVIEW, SUSPENDED, REFUSED)
VERDICTS: Final = (CLEARED, PENDING, REVIEW, SUSPENDED, REFUSED)
"""What two operators can say of an account."""
JUDGEMENTS: Final = (CLEARED, REFUSED, "needs-information")
"""What two operators can say of a case."""
BLOCK: Final = "block"
"""Tier of a finding that suspends; any other has the account reviewed."""
DAY_US: Final = 86_400_000_000
AGAIN_US: Final = DAY_US
"""How long a new list or rule may wait until everybody was screened with it: a day, as the lists' publishers take."""

ACTS: Final = (
    "account.country",
    "account.create",
    "account.declare",
    "list.seen",
    "list.take",
    "ownership.record",
    "screening.done",
)
"""Acts of one operator, the host or the server that are replayed here."""
DECIDED: Final = ("account.standing", "case.judge", "list.accept", "list.attest", "list.retire")
"""Those that two operators decide."""


class Said(Protocol):
    """An act as a journal gives it out; times in microseconds since 1970."""

    @property
    def operation(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def request_id(self) -> str: ...
    @property
    def at_us(self) -> int: ...
    @property
    def details(self) -> Mapping[str, int | str]: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things count.

    Attributes:
        list_age_us: how old a list may be before it has to be looked at again.
        grace_us: how much longer standing stays as it is.
        interval_us: how long a screening counts.
    """

    list_age_us: int = 7 * DAY_US
    grace_us: int = 3 * DAY_US
    interval_us: int = 30 * DAY_US


@dataclass(frozen=True, slots=True)
class Verdict:
    """What two operators say of an account."""

    standing: str = PENDING
    sector: str = ""
    end_user_sectors: tuple[str, ...] = ()
    at_us: int = 0
    reason: str = ""
    by: tuple[str, ...] = ()
    declaration: str | None = None
    """Which declaration they looked at, "" for none; None of acts that do not say."""

    def is_about(self, declaration: str) -> bool:
        """Whether it is about an account that declares this."""
        return self.declaration in (None, declaration)


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot of a list that was put in force.

    Attributes:
        source: an address, or "operator" for a file that somebody brought.
        removed: how many entries of the snapshot before it does not have.
        removed_sha256: document with their ids; "" when there are none.
    """

    list_id: str
    form: str
    sha256: str
    report_date: str
    entities: int
    source: str
    removed: int
    removed_sha256: str
    at_us: int
    act: str


@dataclass(frozen=True, slots=True)
class Screening:
    """That an account was screened.

    Attributes:
        outcome: "clear", "review" or "block".
        lists: `lists_digest` of what it was screened with.
        cause: why it was: asked, opened, declared, list, ownership, interval, rules, place.
    """

    account: str
    party_sha256: str
    inputs_sha256: str
    report_sha256: str
    outcome: str
    lists: str
    cause: str
    at_us: int
    act: str
    rules: str = ""
    """Digest of the rules that were in force; "" of acts from before there were any."""
    statements: str = ""
    """`statements_digest` of what was on record; "" of acts that do not say."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What two operators say of a case."""

    case: str
    judgement: str
    reason: str
    attachments: tuple[str, ...]
    by: tuple[str, ...]
    at_us: int
    act: str


@dataclass(frozen=True, slots=True)
class Case:
    """A finding that somebody has to judge.

    Attributes:
        id: changes with the listed entry, the party and the algorithm: a judgement holds for what was judged.
        about: what it is about, whatever changes: a later finding about the same replaces it.
        tier: BLOCK, or "review".
        finding: as the screening's report has it.
        since_us: when it was found first.
    """

    id: str
    account: str
    about: str
    tier: str
    finding: Mapping[str, Any]
    since_us: int
    judgement: Judgement | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still has to be judged."""
        return self.judgement is None or self.judgement.judgement not in (CLEARED, REFUSED)


@dataclass(frozen=True, slots=True)
class Standing:
    """An account's standing at a moment, and why."""

    standing: str
    why: tuple[str, ...] = ()


@dataclass(slots=True)
class _Account:
    """What acts say of one account, each list in the order of time."""

    verdicts: list[Verdict] = field(default_factory=list)
    parties: list[tuple[int, str]] = field(default_factory=list)
    screenings: list[Screening] = field(default_factory=list)
    countries: list[tuple[int, str]] = field(default_factory=list)
    is_owner: bool = False
    memo: tuple[int, list[Case]] | None = None
    """The cases by all acts so far, and when the last of these was: asked for on every call."""


class Record:
    """The acts, replayed. Not safe for several threads: whoever holds it locks.

    Args:
        findings_of: the findings of a report by its hash; raises KeyError when it cannot be read.
    """

    def __init__(self, findings_of: Callable[[str], Sequence[Mapping[str, Any]]], terms: Terms | None = None) -> None:
        self.terms = terms or Terms()
        self._findings_of = findings_of
        self._accounts: dict[str, _Account] = {}
        self._judged: dict[tuple[str, str], list[Judgement]] = {}
        self._taken: dict[str, list[Taken]] = {}
        self._seen: dict[str, list[int]] = {}
        self._accepted: dict[str, int] = {}
        self._attested: dict[str, int] = {}
        self._retired: dict[str, list[int]] = {}
        self._forgotten: list[int] = []
        self.statements: list[tuple[int, str, str]] = []
        """When, hash of the document, request id, of every statement of ownership."""

    # -- taking acts

    def take(self, act: Said) -> None:
        """Takes one act; others than those of ACTS and DECIDED are passed over."""
        said, account = act.details, self._accounts.setdefault(act.account, _Account()) if act.account else _Account()
        by = tuple(str(said[name]) for name in ("by", "and") if said.get(name))
        if act.operation == "account.standing":
            sectors = tuple(each for each in str(said["end_user_sectors"]).split(",") if each)
            verdict = Verdict(
                str(said["standing"]),
                str(said["sector"]),
                sectors,
                act.at_us,
                str(said.get("reason", "")),
                by,
                str(said["declaration"]) if "declaration" in said else None,
            )
            insort(account.verdicts, verdict, key=_when)
        elif act.operation in ("account.create", "account.declare"):
            account.is_owner = account.is_owner or bool(said.get("owner", 0))
            if "party_sha256" in said:
                version = f"{said['party_version']}/" if "party_version" in said else ""
                insort(account.parties, (act.at_us, f"{version}{said['party_sha256']}"), key=_first)
        elif act.operation == "screening.done":
            insort(
                account.screenings,
                Screening(
                    act.account,
                    str(said["party_sha256"]),
                    str(said["inputs_sha256"]),
                    str(said["report_sha256"]),
                    str(said["outcome"]),
                    str(said["lists"]),
                    str(said["cause"]),
                    act.at_us,
                    act.request_id,
                    str(said.get("rules", "")),
                    str(said.get("statements", "")),
                ),
                key=_when,
            )
            account.memo = None
        elif act.operation == "account.country":
            insort(account.countries, (act.at_us, str(said["country"])), key=_first)
        elif act.operation == "case.judge":
            attachments = tuple(each for each in str(said.get("attachments", "")).split(",") if each)
            judged = Judgement(
                str(said["case"]),
                str(said["judgement"]),
                str(said["reason"]),
                attachments,
                by,
                act.at_us,
                act.request_id,
            )
            insort(self._judged.setdefault((act.account, judged.case), []), judged, key=_when)
            account.memo = None
        elif act.operation == "ownership.record":
            self.statements.append((act.at_us, str(said["statement_sha256"]), act.request_id))
        elif act.operation.startswith("list."):
            self._take_list(act, said)

    def _take_list(self, act: Said, said: Mapping[str, int | str]) -> None:
        list_id = str(said["list_id"])
        if act.operation == "list.take":
            taken = Taken(
                list_id,
                str(said["format"]),
                str(said["sha256"]),
                str(said["report_date"]),
                int(said["entities"]),
                str(said["source"]),
                int(said["removed"]),
                str(said["removed_sha256"]),
                act.at_us,
                act.request_id,
            )
            insort(self._taken.setdefault(list_id, []), taken, key=_when)
        elif act.operation == "list.seen":
            insort(self._seen.setdefault(list_id, []), act.at_us)
        elif act.operation == "list.accept":
            self._accepted.setdefault(str(said["act"]), act.at_us)
        elif act.operation == "list.attest":
            self._attested.setdefault(str(said["sha256"]), act.at_us)
        elif act.operation == "list.retire":
            insort(self._retired.setdefault(list_id, []), act.at_us)

    def forget(self, before_us: int) -> None:
        """What two operators decided before a moment counts for nothing: whether it was taken back is not known."""
        self._forgotten.append(before_us)
        for each in self._accounts.values():
            each.memo = None

    def _counts(self, decided_us: int, at_us: int) -> bool:
        return not any(decided_us < each <= at_us for each in self._forgotten)

    # -- lists

    def taken(self, at_us: int) -> dict[str, Taken]:
        """The newest snapshot of each list that is in force at a moment."""
        return {list_id: known[-1] for list_id, known in self._known_of_lists(at_us).items()}

    def kept_back(self, at_us: int) -> list[tuple[Taken, Taken]]:
        """Where a snapshot lacks entries of the one before it that two operators have not let go: both, the earlier one
        first. The entries count whatever came after."""
        return [
            (earlier, later)
            for known in self._known_of_lists(at_us).values()
            for earlier, later in pairwise(known)
            if later.removed and not self._is_accepted(later, at_us)
        ]

    def _known_of_lists(self, at_us: int) -> dict[str, list[Taken]]:
        found: dict[str, list[Taken]] = {}
        for list_id, all_of_it in self._taken.items():
            known = all_of_it[: bisect_right(all_of_it, at_us, key=_when)]
            ended = _last(self._retired.get(list_id, []), at_us, lambda each: each)
            known = [each for each in known if ended is None or each.at_us > ended]
            if known:
                found[list_id] = known
        return found

    def lists_digest(self, at_us: int) -> str:
        """Names the lists that are in force, with what of their earlier snapshots still counts."""
        words = [f"{each.list_id}={each.sha256}" for each in self.taken(at_us).values()]
        words += [
            f"{earlier.list_id}={earlier.sha256}-{later.removed_sha256}" for earlier, later in self.kept_back(at_us)
        ]
        return sha256("\n".join(sorted(words)).encode()).hexdigest()

    def statements_digest(self, at_us: int) -> str:
        """Names the statements of ownership that were on record at a moment."""
        known = sorted(kept for at, kept, _ in self.statements if at <= at_us)
        return sha256("\n".join(known).encode()).hexdigest()

    def waiting(self, at_us: int) -> list[Taken]:
        """Snapshots whose removed entries nobody has accepted yet, the latest last."""
        return sorted((later for _, later in self.kept_back(at_us)), key=_when)

    def is_attested(self, snapshot: Taken, at_us: int) -> bool:
        """Whether the publisher's own copy is known to be the same: it was fetched, or two operators compared it."""
        fetched = any(
            each.sha256 == snapshot.sha256 and each.source != "operator" and each.at_us <= at_us
            for each in self._taken.get(snapshot.list_id, [])
        )
        attested = self._attested.get(snapshot.sha256)
        return fetched or (attested is not None and attested <= at_us)

    def history(self, list_id: str) -> list[Taken]:
        """Every snapshot of a list there ever was, the oldest first."""
        return list(self._taken.get(list_id, []))

    def lists(self) -> list[str]:
        """Every list there ever was a snapshot of."""
        return sorted(self._taken)

    def looked_at(self, list_id: str, at_us: int) -> int:
        """When a list was last known to be the newest."""
        seen = _last(self._seen.get(list_id, []), at_us, lambda each: each) or 0
        taken = _last(self._taken.get(list_id, []), at_us, _when)
        return max(seen, taken.at_us if taken else 0)

    def _is_accepted(self, snapshot: Taken, at_us: int) -> bool:
        accepted = self._accepted.get(snapshot.act)
        return accepted is not None and accepted <= at_us and self._counts(accepted, at_us)

    # -- accounts

    def verdict(self, account: str, at_us: int) -> Verdict:
        """What two operators say of an account; PENDING while they have said nothing."""
        known = self._accounts.get(account)
        found = _last(known.verdicts, at_us, _when) if known else None
        return found if found is not None and self._counts(found.at_us, at_us) else Verdict()

    def party(self, account: str, at_us: int) -> str:
        """Which declaration an account has at a moment, by version and digest; "" without one."""
        known = self._accounts.get(account)
        found = _last(known.parties, at_us, lambda each: each[0]) if known else None
        return found[1] if found else ""

    def screening(self, account: str, at_us: int) -> Screening | None:
        """The latest of an account."""
        known = self._accounts.get(account)
        return _last(known.screenings, at_us, _when) if known else None

    def screenings(self, account: str) -> list[Screening]:
        """All of an account, the oldest first."""
        known = self._accounts.get(account)
        return list(known.screenings) if known else []

    def countries(self, account: str, at_us: int) -> tuple[str, ...]:
        """Where calls of an account came from that its declarations did not say, each once, in the order of time."""
        known = self._accounts.get(account)
        return tuple(dict.fromkeys(each for seen, each in known.countries if seen <= at_us)) if known else ()

    def seen_at(self, account: str, at_us: int) -> int:
        """When the latest of these was seen; 0 for never."""
        known = self._accounts.get(account)
        found = _last(known.countries, at_us, _first) if known else None
        return found[0] if found else 0

    def accounts(self) -> list[str]:
        """All there are acts about."""
        return sorted(self._accounts)

    def moments(self, account: str) -> list[int]:
        """When something was recorded, or had been waited for too long, that can change the standing of an account;
        from where the account begins."""
        known = self._accounts.get(account) or _Account()
        found = {each.at_us for each in known.verdicts} | {at for at, _ in known.parties}
        found |= {each.at_us for each in known.screenings} | {at for at, _ in known.countries}
        found |= {each.at_us for (of, _), all_of_it in self._judged.items() if of == account for each in all_of_it}
        begin = min(found, default=0)
        found |= set(self._forgotten) | {at for all_of_it in self._retired.values() for at in all_of_it}
        screened = sorted(each.at_us for each in known.screenings)
        found |= _lapses(screened, screened, self.terms.interval_us)
        found |= _lapses((at for at, _ in known.countries), screened, AGAIN_US)
        found |= _lapses((at for at, _, _ in self.statements), screened, AGAIN_US)
        for list_id, all_of_it in self._taken.items():
            taken = [each.at_us for each in all_of_it]
            looked = sorted({*taken, *self._seen.get(list_id, [])})
            lapsed = _lapses(looked, looked, self.terms.list_age_us + self.terms.grace_us)
            # Of the days on which it was looked at only those count that ended such a time.
            found |= {*taken, *lapsed, *(at for each in lapsed if (at := _after(looked, each)))}
            found |= _lapses(taken, screened, AGAIN_US)
        return sorted(each for each in found if each >= begin)

    def cases(self, account: str, at_us: int) -> list[Case]:
        """What was found about an account up to a moment and not replaced by a later finding about the same, the
        oldest first. Raises KeyError when a report cannot be read."""
        known = self._accounts.get(account)
        if known is None or not known.screenings:
            return []
        if known.memo is not None and at_us >= known.memo[0]:
            return known.memo[1]
        found: dict[str, Case] = {}
        first: dict[str, int] = {}
        for screening in self.screenings(account):
            if screening.at_us > at_us:
                break
            for finding in self._findings_of(screening.report_sha256):
                key, about = str(finding["case"]), str(finding["about"])
                first.setdefault(key, screening.at_us)
                found[about] = Case(key, account, about, str(finding["tier"]), finding, first[key])
        cases = sorted(
            (self._judged_case(each, at_us) for each in found.values()), key=lambda each: (each.since_us, each.id)
        )
        judged = (all_of_it[-1].at_us for (of, _), all_of_it in self._judged.items() if of == account)
        latest = max([known.screenings[-1].at_us, *judged, *self._forgotten])
        if at_us >= latest:
            known.memo = latest, cases
        return cases

    def _judged_case(self, case: Case, at_us: int) -> Case:
        judged = _last(self._judged.get((case.account, case.id), []), at_us, _when)
        if judged is not None and not self._counts(judged.at_us, at_us):
            judged = None
        return Case(case.id, case.account, case.about, case.tier, case.finding, case.since_us, judged)

    def may_clear(self, account: str, at_us: int) -> tuple[str, ...]:
        """What speaks against clearing an account; nothing when two operators may."""
        return tuple(why for _, why in self._against(account, at_us))

    def standing(self, account: str, at_us: int, *, gates: bool = True) -> Standing:
        """Of an account, as known at a moment; without `gates`, whether or not it was screened."""
        known = self._accounts.get(account)
        if known is not None and known.is_owner:
            return Standing(OWNER)
        verdict = self.verdict(account, at_us)
        if verdict.standing != CLEARED:
            return Standing(verdict.standing, (verdict.reason,) if verdict.reason else ())
        against = list(self._against(account, at_us)) if gates else []
        if not verdict.is_about(self.party(account, at_us)):
            against.append((REVIEW, "it declared something else since it was cleared"))
        for worst in (REFUSED, SUSPENDED, REVIEW):
            if why := tuple(reason for standing, reason in against if standing == worst):
                return Standing(worst, why)
        return Standing(CLEARED)

    def _against(self, account: str, at_us: int) -> list[tuple[str, str]]:
        screening = self.screening(account, at_us)
        if screening is None:
            return [(REVIEW, "it was never screened")]
        found: list[tuple[str, str]] = []
        try:
            for case in self.cases(account, at_us):
                judged = case.judgement.judgement if case.judgement else ""
                if judged == REFUSED:
                    found.append((REFUSED, f"case {case.id} was judged so"))
                elif judged != CLEARED:
                    found.append((SUSPENDED if case.tier == BLOCK else REVIEW, f"case {case.id} is open"))
        except KeyError:
            found.append((REVIEW, "a report of its screenings cannot be read"))
        if screening.party_sha256 != self.party(account, at_us):
            found.append((REVIEW, "its declaration changed after the last screening"))
        if screening.at_us < self.seen_at(account, at_us) < at_us - AGAIN_US:
            found.append((REVIEW, "nobody screened it since it was used from a country that it does not say it is in"))
        if screening.statements:
            long_known = [at for at, _, _ in self.statements if screening.at_us < at < at_us - AGAIN_US]
            if long_known:
                found.append((REVIEW, "nobody screened it since more was known of who owns whom"))
        if at_us - screening.at_us > self.terms.interval_us:
            found.append((REVIEW, "the last screening is too long ago"))
        in_force = self.taken(at_us)
        if not in_force:
            found.append((REVIEW, "there is no list to screen with"))
        for list_id, newest in in_force.items():
            if at_us - self.looked_at(list_id, at_us) > self.terms.list_age_us + self.terms.grace_us:
                found.append((REVIEW, f"the list {list_id} is too old"))
            if newest.at_us < at_us - AGAIN_US and screening.at_us < newest.at_us:
                found.append((REVIEW, f"nobody screened it with the list {list_id} of {newest.report_date}"))
        return found


def _lapses(since: Iterable[int], done: Sequence[int], within_us: int) -> set[int]:
    """The first moments at which something had not been done, after others, in time.

    Args:
        done: in the order of time.
    """
    found = set()
    for each in since:
        following = _after(done, each)
        if not following or following > each + within_us:
            found.add(each + within_us + 1)
    return found


def _after(of: Sequence[int], at_us: int) -> int:
    """The first of some, in the order of time, that is later than a moment; 0 when there is none."""
    place = bisect_right(of, at_us)
    return of[place] if place < len(of) else 0


def _when(each: Verdict | Taken | Screening | Judgement) -> int:
    return each.at_us


def _first(each: tuple[int, str]) -> int:
    return each[0]


T = TypeVar("T")


def _last(of: Sequence[T], at_us: int, moment: Callable[[T], int]) -> T | None:
    """The last that is not after a moment, of some in the order of time."""
    place = bisect_right(of, at_us, key=moment)
    return of[place - 1] if place else None
