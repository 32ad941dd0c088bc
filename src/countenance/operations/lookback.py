"""What an account's standing was on each day, as known then and as known now, and what it used in each window.

Nothing is screened here: what was known then is what acts say, and what is known now is what the latest report says,
each finding from the day on which it became true. Brings the record of standing and the entries of calls together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from countenance.operations.standings import Standings
from countenance.standing.findings import digest
from countenance.standing.record import CLEARED, DAY_US, OWNER, PENDING, REFUSED, REVIEW, SUSPENDED, Case

__all__ = ["DAY_US", "digest_of", "report"]

MAX_CALLS: Final = 10_000
"""Named in a report, the first of each window; all of them are counted."""
_SAID: Final = ("as_known_then", "why_then", "as_known_now", "why_now")
"""Of a window: where all of it is the same, two are one."""
_WORST: Final = (OWNER, CLEARED, PENDING, REVIEW, SUSPENDED, REFUSED)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known now about a case: true from one day to another (exclusive); None: as far as anything goes."""

    case: Case
    since: date | None
    until: date | None

    def holds_on(self, day: date) -> bool:
        return (self.since is None or self.since <= day) and (self.until is None or day < self.until)

    @property
    def standing(self) -> str:
        judged = self.case.judgement.judgement if self.case.judgement else ""
        if judged in (CLEARED, REFUSED):
            return judged
        return SUSPENDED if self.case.tier == "block" else REVIEW


def report(
    standings: Standings,
    accountings: Iterable[Mapping[str, Any]],
    account: str,
    *,
    from_us: int | None,
    to_us: int,
) -> dict[str, Any]:
    """The report, as plain values without fractions.

    Args:
        accountings: index and accounting section of every entry of the account.
        from_us: None begins where the account does.
        to_us: where it ends; microseconds since 1970.
    """
    with standings.lock:
        moments = standings.record.moments(account)
    start = from_us if from_us is not None else (moments[0] if moments else to_us)
    known = [_known(standings, each) for each in standings.cases(account)]
    bounds = {start, *(each for each in moments if start < each < to_us)}
    for each in known:
        bounds |= {at for day in (each.since, each.until) if day and start < (at := _start_of(day)) < to_us}
    windows: list[dict[str, Any]] = []
    calls = [each for each in accountings if each["accounting"]["kind"] == "call"]
    places = sorted(bounds)
    for begin, end in zip(places, [*places[1:], to_us], strict=True):
        then, day = standings.standing(account, begin), _day(begin)
        now = [each for each in known if each.holds_on(day)]
        window = {
            "from": _told(begin),
            "to": _told(end),
            "as_known_then": then.standing,
            "why_then": list(then.why),
            "as_known_now": max([_said(standings, account, begin), *(each.standing for each in now)], key=_WORST.index),
            "why_now": [each.case.finding["title"] for each in now],
            **_used([each for each in calls if begin <= each["accounting"]["time"] < end]),
        }
        if windows and all(windows[-1][name] == window[name] for name in _SAID):
            windows[-1] = _joined(windows[-1], window)
        else:
            windows.append(window)
    return {
        "v": 1,
        "account_id": account,
        "from": _told(start),
        "to": _told(to_us),
        "windows": windows,
        "cases": [
            {
                "case": each.case.id,
                "title": each.case.finding["title"],
                "since": _iso(each.since),
                "until": _iso(each.until),
            }
            for each in known
        ],
    }


def _said(standings: Standings, account: str, at_us: int) -> str:
    """What the operators had said of an account: what is known now of its party does not clear whom nobody cleared."""
    if standings.standing(account, at_us).standing == OWNER:
        return OWNER
    return standings.verdict(account, at_us).standing


def digest_of(said: Mapping[str, Any]) -> str:
    """SHA-256 of a report in canonical JSON, in hexadecimal: what its entry in the log says."""
    return digest(said)


def _known(standings: Standings, case: Case) -> _Known:
    explained = case.finding["explained"]
    if case.finding["kind"] == "name":
        return _Known(case, standings.lists.listed_since(explained["list_id"], explained["entry_id"]), None)
    if case.finding["kind"] == "ownership":
        listed = [standings.lists.listed_since(each["list_id"], each["entry_id"]) for each in explained["listed"]]
        starts = [min((each for each in listed if each), default=None)]
        starts += [date.fromisoformat(each["valid_from"]) for each in explained["chain"] if each["valid_from"]]
        ends = [date.fromisoformat(each["valid_to"]) for each in explained["chain"] if each["valid_to"]]
        return _Known(case, max((each for each in starts if each), default=None), min(ends, default=None))
    return _Known(case, None, None)


def _used(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    operations: dict[str, int] = {}
    answered = [each for each in calls if each["accounting"]["code"] == "OK"]
    for each in answered:
        name = each["accounting"]["operation"]
        operations[name] = operations.get(name, 0) + 1
    return {
        "calls": len(calls),
        "answered": len(answered),
        "operations": dict(sorted(operations.items())),
        "leaves": [each["index"] for each in answered[:MAX_CALLS]],
    }


def _joined(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Any]:
    operations = dict(one["operations"])
    for name, count in two["operations"].items():
        operations[name] = operations.get(name, 0) + count
    return {
        **one,
        "to": two["to"],
        "calls": one["calls"] + two["calls"],
        "answered": one["answered"] + two["answered"],
        "operations": dict(sorted(operations.items())),
        "leaves": (one["leaves"] + two["leaves"])[:MAX_CALLS],
    }


def _start_of(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def _day(at_us: int) -> date:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).date()


def _told(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat()


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None
