"""Beneficial Ownership Data Standard, v0.4: reading what others publish, and writing what is on record here.

The standard (standard.openownership.org, JSON Schema of v0.4) has statements about three kinds of records: entities,
persons, and relationships between them. Of a record there can be several statements; here the later one takes over from
the earlier on its `statementDate`, and one that is `closed` ends it. A file therefore has to hold all statements of its
records, and not only the latest.

- A record with an LEI is the node `lei:...`, one with a register's number `reg:...`, another its name. Who is anonymous
  or not specified is `unknown:...`, which no two are the same.
- Each interest of a relationship is a statement of its own. Dates that are not exact count at their widest: "2017" as a
  start is its first day, as an end its last. Shares with more than four decimals are rounded outward.
- An indirect relationship is left out when the file has all of its component relationships with their shares: both
  together would count twice. Otherwise it stands for itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

from countenance_audit import identifiers
from countenance_audit.errors import Malformed

from countenance.standing.ownership.interval import PER_CENT, WHOLE, Interval
from countenance.standing.ownership.statements import INTERESTS, LONGEST, OwnershipError, Statement

VERSION: Final = "0.4"
LEI_SCHEME: Final = "XI-LEI"
"""Of org-id.guide, for identifiers that are LEIs."""
MOST: Final = 200_000
"""Statements of one file: some hundred megabytes in memory."""
_UNNAMED: Final = frozenset({"anonymousEntity", "unknownEntity", "anonymousPerson", "unknownPerson"})
_DATE: Final = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T.*)?)?)?")
_JOINT: Final = "joint arrangement: "
_ID: Final = re.compile(r"(lei|reg|name|unknown):(.+)", re.DOTALL)
_STATUS: Final = ("new", "updated", "closed", None)

Parties = dict[str, dict[str, Any]]


@dataclass(slots=True)
class _Records:
    """What a file has, by record: its statements in the order of their dates."""

    described: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    relationships: dict[str, list[tuple[date, Mapping[str, Any]]]] = field(default_factory=dict)


def read(content: bytes) -> tuple[list[Statement], Parties]:
    """Statements of ownership, and what is said of the parties they name, from an array or from JSON lines.

    Raises:
        OwnershipError: it is not of this standard, or says what cannot be.
    """
    digest, records = hashlib.sha256(content).hexdigest(), _Records()
    statements: list[Statement] = []
    parties: Parties = {}
    for place, said in enumerate(_parsed(content), 1):
        if place > MOST:
            raise OwnershipError(f"The file has more than {MOST} statements.", hint="split it by declaration")
        with _telling(place):
            _file(records, said)
    nodes: dict[str, str] = {}
    for record, said in records.described.items():
        with _telling(record):
            nodes[record] = _node(record, said, records.kinds[record])
            described = _described(said, records.kinds[record])
            if described is not None:
                parties[nodes[record]] = described
    told = _told_by_components(records)
    for record, versions in records.relationships.items():
        with _telling(record):
            statements += _relationship(record, versions, nodes, digest, is_left_out=record in told)
    return statements, parties


class _telling:  # noqa: N801 -- reads as a word where it is used
    """Turns whatever goes wrong with one statement into an OwnershipError that names it."""

    def __init__(self, what: int | str) -> None:
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OwnershipError):
            raise OwnershipError(f"Statement {str(self._what)[:80]}: {error.message}", hint=error.hint) from None
        if isinstance(error, ValueError | KeyError | TypeError | AttributeError | ArithmeticError):
            said = str(error)[:120] or type(error).__name__
            raise OwnershipError(f"Statement {str(self._what)[:80]} is none of BODS {VERSION}: {said}.") from None


def _parsed(content: bytes) -> Iterator[Any]:
    try:
        text = content.decode("utf-8-sig").strip()
        if text.startswith("["):
            yield from json.loads(text, parse_float=Decimal)
        else:
            for line in text.splitlines():
                if line.strip():
                    yield json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise OwnershipError(f"The file is no JSON: {str(error)[:120]}.") from None


def _file(records: _Records, said: Any) -> None:
    """Puts one statement where it belongs."""
    if not isinstance(said, Mapping):
        raise OwnershipError("it is no object")
    record, kind, details = _text(said, "recordId"), _text(said, "recordType"), said.get("recordDetails")
    if kind not in ("entity", "person", "relationship") or not isinstance(details, Mapping):
        raise OwnershipError("it has no recordType of the standard, or no recordDetails")
    if said.get("recordStatus") not in _STATUS:
        raise OwnershipError("its recordStatus is none of the standard")
    _text(said, "statementId")
    when = _first(_text(said, "statementDate"))
    if records.kinds.setdefault(record, kind) != kind:
        raise OwnershipError("its record is of another type elsewhere in the file")
    if kind == "relationship":
        records.relationships.setdefault(record, []).append((when, said))
    elif said.get("recordStatus") != "closed" or record not in records.described:
        records.described[record] = details


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        raise OwnershipError(f"it has no {name}")
    return value


# -- records


def _node(record: str, said: Mapping[str, Any], kind: str) -> str:
    of = said.get("entityType") if kind == "entity" else said.get("personType")
    word = of.get("type") if isinstance(of, Mapping) else of
    name = _name(said, kind)
    if word in _UNNAMED or not name:
        return f"unknown:{record[: LONGEST - 20]}"
    for scheme, value in _identifiers(said):
        if scheme in ("lei", "reg"):
            return f"{scheme}:{value}"
    return f"name:{name.casefold()}"


def _name(said: Mapping[str, Any], kind: str) -> str:
    if kind == "entity":
        found: Any = said.get("name")
    else:
        names = [each for each in said.get("names") or () if isinstance(each, Mapping)]
        legal = [each for each in names if each.get("type") == "legal"]
        found = next((each.get("fullName") for each in (*legal, *names)), None)
    words = " ".join(str(found or "").split())
    return words if words.isprintable() and len(words) <= LONGEST - len("name:") else ""


def _identifiers(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Scheme and normal form of the identifiers that have one here, LEIs first."""
    given = [each for each in said.get("identifiers") or () if isinstance(each, Mapping)]
    pairs = [(str(each.get("scheme") or "").upper(), str(each.get("id") or "")) for each in given]
    for wanted in (True, False):
        for scheme, value in pairs:
            if scheme and value and (scheme == LEI_SCHEME) is wanted:
                try:
                    normal = (
                        identifiers.normal("lei", value) if wanted else identifiers.normal("reg", f"{scheme}:{value}")
                    )
                except Malformed:
                    continue  # not in the form that its scheme asks for: the name has to do
                yield ("lei" if wanted else "reg"), normal


def _described(said: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    name = _name(said, kind)
    if not name:
        return None
    found = []
    for scheme, value in _identifiers(said):
        if scheme == "lei":
            found.append(["leiCode", value, ""])
        else:
            register, _, number = value.partition(":")
            found.append(["registrationNumber", number, register[:2].lower() if "-" in register else ""])
    return {"name": name, "is_person": kind == "person", "jurisdiction": _country(said, kind), "identifiers": found}


def _country(said: Mapping[str, Any], kind: str) -> str:
    """Of registration, or of the only nationality."""
    if kind == "entity":
        where: Any = said.get("jurisdiction")
    else:
        several = said.get("nationalities")
        where = several[0] if isinstance(several, Sequence) and len(several) == 1 else None
    code = str(where.get("code") or "") if isinstance(where, Mapping) else ""
    return code[:2].upper() if re.fullmatch(r"[A-Za-z]{2}(-[A-Za-z0-9]{1,3})?", code) else ""


# -- relationships


def _told_by_components(records: _Records) -> set[str]:
    """Indirect relationships whose components the file has, each with a share."""
    told = set()
    for record, versions in records.relationships.items():
        with _telling(record):
            named = [str(each) for each in versions[-1][1]["recordDetails"].get("componentRecords") or ()]
            parts = [records.relationships[each] for each in named if each in records.relationships]
            has_all = all(each in records.kinds for each in named)
            if parts and has_all and all(_has_shares(part[-1][1]["recordDetails"]) for part in parts):
                told.add(record)
    return told


def _has_shares(details: Mapping[str, Any]) -> bool:
    interests = details.get("interests") or ()
    return any(isinstance(each, Mapping) and each.get("share") and each.get("type") for each in interests)


def _relationship(
    record: str,
    versions: Sequence[tuple[date, Mapping[str, Any]]],
    nodes: Mapping[str, str],
    digest: str,
    *,
    is_left_out: bool,
) -> list[Statement]:
    """Of all statements about one relationship: each until the next one's date, later ones from theirs on."""
    made: list[Statement] = []
    ordered = sorted(versions, key=lambda each: each[0])
    for place, (when, said) in enumerate(ordered):
        if said.get("recordStatus") == "closed":
            continue  # what it ends ended below
        until = ordered[place + 1][0] if place + 1 < len(ordered) else None
        for each in _interests(record, said, nodes, digest):
            if is_left_out and each.is_direct is False:
                continue
            begins = each.valid_from or (when if place else None)
            ends = min((day for day in (each.valid_to, until) if day is not None), default=None)
            if ends is not None and begins is not None:
                begins = min(begins, ends)  # something else was said before it began
            made.append(replace(each, valid_from=begins, valid_to=ends))
    return made


def _interests(record: str, said: Mapping[str, Any], nodes: Mapping[str, str], digest: str) -> Iterator[Statement]:
    details, name = said["recordDetails"], said["statementId"]
    owned = _end(details.get("subject"), nodes, record, "subject")
    owner = _end(details.get("interestedParty"), nodes, record, "interestedParty")
    source = _source(said)
    interests = details.get("interests") or ()
    if not isinstance(interests, Sequence) or isinstance(interests, str):
        raise OwnershipError("its interests are no list")
    if not interests or isinstance(details.get("interestedParty"), Mapping):
        yield Statement(f"{name}/0", owner, owned, "unknownInterest", None, None, None, None, source, digest)
        return
    for place, each in enumerate(interests):
        if not isinstance(each, Mapping):
            raise OwnershipError("an interest is no object")
        kind = each.get("type") or "unknownInterest"
        if kind not in INTERESTS:
            raise OwnershipError(f"there is no interest {str(kind)[:40]!r}")
        told = str(each.get("details") or "")
        yield Statement(
            f"{name}/{place}",
            owner,
            owned,
            kind,
            _share(each.get("share")),
            {"direct": True, "indirect": False}.get(str(each.get("directOrIndirect"))),
            _first(each["startDate"]) if each.get("startDate") else None,
            _over(each["endDate"]) if each.get("endDate") else None,
            source,
            digest,
            joint=told.removeprefix(_JOINT)[:LONGEST] if told.startswith(_JOINT) else "",
        )


def _end(said: Any, nodes: Mapping[str, str], record: str, what: str) -> str:
    """Who stands at one end of a relationship: a record, or nobody who is specified."""
    if isinstance(said, str) and said:
        return nodes.get(said, f"bods:{said[: LONGEST - 20]}")
    if isinstance(said, Mapping) and isinstance(said.get("reason"), str):
        return f"unknown:{record[: LONGEST - 20]}"
    raise OwnershipError(f"it has no {what}")


def _source(said: Mapping[str, Any]) -> str:
    published = said.get("publicationDetails")
    publisher = published.get("publisher") if isinstance(published, Mapping) else None
    by = publisher if isinstance(publisher, Mapping) else {}
    words = " ".join(str(by.get("name") or by.get("url") or "no publisher").split())
    return f"BODS, {words}"[:LONGEST] if words.isprintable() else "BODS, a publisher"


def _share(said: Any) -> Interval | None:
    if not said:
        return None
    if not isinstance(said, Mapping):
        raise OwnershipError("a share is no object")
    given = {name: _number(value) for name, value in said.items() if name in _BOUNDS and value is not None}
    if not given:
        return None
    if "exact" in given:
        low, high = _millionths(given["exact"], ROUND_FLOOR), _millionths(given["exact"], ROUND_CEILING)
        return Interval(low, high)
    least, most = (
        given.get("exclusiveMinimum", given.get("minimum")),
        given.get("exclusiveMaximum", given.get("maximum")),
    )
    low = _millionths(least, ROUND_FLOOR) if least is not None else 0
    high = _millionths(most, ROUND_CEILING) if most is not None else WHOLE
    is_point = low == high
    return Interval(
        low, high, "exclusiveMinimum" in given and not is_point, "exclusiveMaximum" in given and not is_point
    )


_BOUNDS: Final = ("exact", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise OwnershipError("a share is no number")
    number = Decimal(value)
    if not number.is_finite() or not 0 <= number <= 100:
        raise OwnershipError(f"a share is {str(number)[:20]} per cent")
    return number


def _millionths(percentage: Decimal, rounding: str) -> int:
    return int((percentage * PER_CENT).to_integral_value(rounding))


def _first(text: Any) -> date:
    """The first day that a date can mean."""
    year, month, day = _date(text)
    return date(year, month or 1, day or 1)


def _over(text: Any) -> date:
    """The first day on which something that ended then was surely over."""
    year, month, day = _date(text)
    if day:
        return date(year, month, day)
    return date(year + 1, 1, 1) if month in (0, 12) else date(year, month + 1, 1)


def _date(text: Any) -> tuple[int, int, int]:
    found = _DATE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise OwnershipError(f"{str(text)[:20]!r} is no date")
    return int(found[1]), int(found[2] or 0), int(found[3] or 0)


# -- writing


def write(
    statements: Iterable[Statement], parties: Mapping[str, Mapping[str, Any]], *, publisher: str, published: date
) -> list[dict[str, Any]]:
    """Statements as BODS v0.4, records first; reading it back gives the same owners, interests, shares and days.

    What replaces what, and documents behind statements, are not part of it: give what counts (`statements.known`).

    Args:
        parties: node -> what is known of it.
        publisher: who says so.
    """
    statements = list(statements)
    made: list[dict[str, Any]] = []
    for node in dict.fromkeys(node for each in statements for node in (each.owned, each.owner)):
        kind, details = _record(node, parties.get(node, {}))
        made.append(_statement(kind, node, details, publisher, published))
    for each in statements:
        interest: dict[str, Any] = {
            "type": each.interest,
            "directOrIndirect": {True: "direct", False: "indirect", None: "unknown"}[each.is_direct],
            "share": _told_share(each.share) if each.share else None,
            "startDate": each.valid_from.isoformat() if each.valid_from else None,
            "endDate": each.valid_to.isoformat() if each.valid_to else None,
            "details": f"{_JOINT}{each.joint}" if each.joint else None,
        }
        details = {
            "isComponent": False,
            "subject": _key(each.owned),
            "interestedParty": _key(each.owner),
            "interests": [{name: value for name, value in interest.items() if value is not None}],
        }
        made.append(_statement("relationship", f"{each.source}\n{each.id}", details, publisher, published))
    return made


def _statement(kind: str, record: str, details: Mapping[str, Any], publisher: str, published: date) -> dict[str, Any]:
    said = {
        "declarationSubject": details["subject"] if kind == "relationship" else _key(record),
        "statementDate": published.isoformat(),
        "publicationDetails": {
            "publicationDate": published.isoformat(),
            "bodsVersion": VERSION,
            "publisher": {"name": publisher},
        },
        "recordId": _key(record),
        "recordStatus": "new",
        "recordType": kind,
        "recordDetails": details,
    }
    content = json.dumps(said, sort_keys=True, ensure_ascii=False, default=str)
    return {"statementId": hashlib.sha256(content.encode()).hexdigest(), **said}


def _key(record: str) -> str:
    """A recordId that is the same for the same record, whatever is said of it."""
    return hashlib.sha256(record.encode()).hexdigest()[:32]


def _record(node: str, known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    found = _ID.fullmatch(node)
    scheme, value = (found[1], found[2]) if found else ("name", node)
    name = str(known.get("name") or (value if scheme != "unknown" else ""))
    is_person = bool(known.get("is_person"))
    if scheme == "unknown":
        if is_person:
            return "person", {"isComponent": False, "personType": "unknownPerson"}
        return "entity", {"isComponent": False, "entityType": {"type": "unknownEntity"}}
    if is_person:
        return "person", {
            "isComponent": False,
            "personType": "knownPerson",
            "names": [{"type": "legal", "fullName": name}],
        }
    details: dict[str, Any] = {"isComponent": False, "entityType": {"type": "registeredEntity"}, "name": name}
    if scheme == "lei":
        details["identifiers"] = [{"scheme": LEI_SCHEME, "id": value}]
    elif scheme == "reg":
        register, _, number = value.partition(":")
        details["identifiers"] = [{"scheme": register, "id": number}]
    if country := str(known.get("jurisdiction") or ""):
        details["jurisdiction"] = {"name": country, "code": country}
    return "entity", details


def _told_share(share: Interval) -> dict[str, Any]:
    low, high = (_told(end) for end in (share.low, share.high))
    if share.low == share.high:
        return {"exact": low}
    return {
        "exclusiveMinimum" if share.low_open else "minimum": low,
        "exclusiveMaximum" if share.high_open else "maximum": high,
    }


def _told(millionths: int) -> int | float:
    whole, rest = divmod(millionths, PER_CENT)
    return whole if not rest else millionths / PER_CENT
