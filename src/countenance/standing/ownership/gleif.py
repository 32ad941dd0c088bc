"""GLEIF's level 2 data: which legal entity consolidates which, by their LEIs.

Two forms of the same: the XML of the Relationship Record Common Data Format (RR-CDF 2.1), and the CSV of the golden
copy (gleif.org). Consolidation is accounting: that somebody's figures are in somebody else's says who controls, and no
percentage. So a record is the interest `otherInfluenceOrControl` without a share, direct or through others; a branch is
its head office's altogether, which is the same legal person. Records that are not active any more ended on the last day
of their relationship period, and ones without that day, as well as annulled ones, are left out.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import IO, Any, Final
from xml.etree.ElementTree import ParseError

from countenance_audit import identifiers
from countenance_audit.errors import Malformed
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from countenance.standing.ownership.interval import WHOLE, Interval
from countenance.standing.ownership.statements import OwnershipError, Statement

SOURCE: Final = "GLEIF level 2"
MOST_PERIODS: Final = 5
"""Of one record in the CSV form: it numbers the columns from 1 to 5."""
_DIRECT: Final = {
    "IS_DIRECTLY_CONSOLIDATED_BY": True,
    "IS_ULTIMATELY_CONSOLIDATED_BY": False,
    "IS_INTERNATIONAL_BRANCH_OF": True,
}
BRANCH: Final = "IS_INTERNATIONAL_BRANCH_OF"
_ACTIVE: Final = "ACTIVE"
_ANNULLED: Final = frozenset({"ANNULLED", "DUPLICATE"})
_OF_RELATIONSHIP: Final = "RELATIONSHIP_PERIOD"
_OF_PERIOD: Final = ("periodType", "startDate", "endDate")
_OF_RECORD: Final = ("RelationshipType", "RelationshipStatus", "RegistrationStatus")


@dataclass(frozen=True, slots=True)
class Record:
    """One relationship as GLEIF has it."""

    child: str
    parent: str
    kind: str
    status: str
    registration: str
    start: date | None
    end: date | None

    @property
    def counts(self) -> bool:
        """Whether it says something, of some day: it was not taken back, and if it is over, it says since when."""
        return self.registration not in _ANNULLED and (self.status == _ACTIVE or self.end is not None)


def read(file: IO[bytes], wanted: Collection[str] = ()) -> list[Statement]:
    """Statements of control, of all records, or of the chains above some LEIs.

    Args:
        file: of either form, open at its beginning.
        wanted: LEIs; with them, only records on a way up from one of them are kept.

    Raises:
        OwnershipError: it is of neither form, or a record cannot be read.
    """
    known = {_lei(each) for each in wanted}
    first = file.peek(1)[:64] if hasattr(file, "peek") else file.read(64)
    if not hasattr(file, "peek"):
        file.seek(0)
    records = _xml(file) if first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else _csv(file)
    found: dict[str, list[Record]] = {}
    for each in records:
        if each.counts:
            found.setdefault(each.child, []).append(each)
    if known:
        found = dict(_above(found, known))
    return [_statement(each) for several in found.values() for each in several]


def _above(records: Mapping[str, list[Record]], wanted: Iterable[str]) -> Iterator[tuple[str, list[Record]]]:
    seen, new = set[str](), sorted(wanted)
    while new:
        child = new.pop()
        if child in seen or child not in records:
            continue
        seen.add(child)
        yield child, records[child]
        new += [each.parent for each in records[child]]


def _statement(each: Record) -> Statement:
    interest, share = "otherInfluenceOrControl", None
    if each.kind == BRANCH:
        interest, share = "shareholding", Interval(WHOLE, WHOLE)
    key = hashlib.sha256(f"{each.child} {each.kind} {each.parent} {each.start}".encode()).hexdigest()[:32]
    return Statement(
        key,
        f"lei:{each.parent}",
        f"lei:{each.child}",
        interest,
        share,
        _DIRECT[each.kind],
        each.start,
        max(each.end, each.start or each.end) if each.end else None,
        SOURCE,
    )


def _record(child: str, parent: str, kind: str, status: str, registration: str, periods: Any) -> Record | None:
    """None for kinds that say nothing about control (a fund's management, a feeder's master)."""
    if kind not in _DIRECT:
        return None
    own = [(start, end) for name, start, end in periods if name == _OF_RELATIONSHIP]
    start, end = own[0] if own else ("", "")
    return Record(_lei(child), _lei(parent), kind, status, registration, _day(start), _day(end))


def _lei(text: str) -> str:
    try:
        return identifiers.normal("lei", text)
    except Malformed as error:
        raise OwnershipError(f"{text[:30]!r} is no LEI: {error.message}") from None


def _day(text: str) -> date | None:
    """Of a date with a time in any zone; the day as it is written."""
    try:
        return date.fromisoformat(text.strip()[:10]) if text.strip() else None
    except ValueError:
        raise OwnershipError(f"{text[:30]!r} is no date.") from None


def _csv(file: IO[bytes]) -> Iterator[Record]:
    rows = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""))
    names = ("StartNode.NodeID", "EndNode.NodeID", "RelationshipType", "RelationshipStatus")
    try:
        missing = [each for each in names if f"Relationship.{each}" not in (rows.fieldnames or ())]
        if missing:
            raise OwnershipError(f"The file is no level 2 data of GLEIF: it lacks Relationship.{missing[0]}.")
        for row in rows:
            if None in row or None in row.values():
                raise OwnershipError(f"Line {rows.line_num} has not as many members as the first.")
            periods = [
                tuple(
                    row.get(f"Relationship.Period.{at}.{name}", "") for name in ("periodType", "startDate", "endDate")
                )
                for at in range(1, MOST_PERIODS + 1)
            ]
            child, parent, kind, status = (row[f"Relationship.{each}"].strip() for each in names)
            registration = row.get("Registration.RegistrationStatus", "").strip()
            if (made := _record(child, parent, kind, status, registration, periods)) is not None:
                yield made
    except (UnicodeDecodeError, csv.Error) as error:
        raise OwnershipError(f"The file cannot be read: {str(error)[:120]}.") from None


def _xml(file: IO[bytes]) -> Iterator[Record]:
    try:
        for _, element in iterparse(file, events=("end",)):
            if _local(element) != "RelationshipRecord":
                continue
            found: dict[str, list[str]] = {}
            for each in element.iter():
                found.setdefault(_local(each), []).append((each.text or "").strip())
            nodes, periods = found.get("NodeID", []), []
            for each in element.iter():
                if _local(each) == "RelationshipPeriod":
                    inner = {_local(part): (part.text or "").strip() for part in each}
                    periods.append((inner.get("PeriodType", ""), inner.get("StartDate", ""), inner.get("EndDate", "")))
            if len(nodes) != 2:
                raise OwnershipError("A relationship record has not two ends.")
            child, parent = nodes
            kind, status, registration = ((found.get(name) or [""])[0] for name in _OF_RECORD)
            if (made := _record(child, parent, kind, status, registration, periods)) is not None:
                yield made
            element.clear()
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise OwnershipError(f"The file is no XML that can be read: {str(error)[:120]}.") from None


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
