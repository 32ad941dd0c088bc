"""The UK Sanctions List, CSV: the FCDO's single list since 28 January 2026 (the OFSI Consolidated List is closed).

One row for each name and address of an entry; rows of one entry have one Unique ID. The first line has the date.
Columns are found by their headings, since the publisher has moved them before; gov.uk, "The UK Sanctions List: format
guide".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Final

from countenance.standing.listed import Identifier, ListedEntity, Name, NameKind, Schema
from countenance.standing.lists.countries import code_of
from countenance.standing.lists.reading import ListError, Spoilt, clean, rows

_REQUIRED: Final = ("Unique ID", "Name 6", "Name 1", "Name type", "Designation Type", "Regime Name")
_KINDS: Final = {"individual": Schema.PERSON, "entity": Schema.ORGANIZATION, "ship": Schema.VESSEL}
_REPORT: Final = re.compile(r"report date:?\s*(.+)", re.IGNORECASE)
_DATES: Final = ("%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%Y-%m-%d", "%d/%m/%Y")
_PARTS: Final = ("Name 1", "Name 2", "Name 3", "Name 4", "Name 5", "Name 6")
"""Name 6 is the family name, or an entity's whole name."""
_ADDRESS: Final = (*(f"Address Line {number}" for number in range(1, 7)), "Address Postal Code", "Address Country")
_WEAK: Final = "low"
_SPLIT: Final = re.compile(r"\s*(?:\||;|\n|\(\d+\))\s*")


def read(files: Mapping[str, bytes], list_id: str, spoilt: Spoilt) -> tuple[date | None, Iterator[ListedEntity]]:
    """From `list`."""
    found = rows(files["list"], "the list")
    first = next(found, [])
    said = _REPORT.fullmatch(" ".join(each.strip() for each in first if each.strip()))
    if said is None:
        raise ListError('The first line is not "Report Date: ...".', hint="is it the UK Sanctions List's CSV?")
    published = _report_date(said[1])
    heading = [_heading(each) for each in next(found, [])]
    if missing := [each for each in _REQUIRED if _heading(each) not in heading]:
        raise ListError(f"The list has no column {missing[0]!r}.", hint="is it the UK Sanctions List's CSV?")
    return published, _entries(found, heading, list_id, spoilt)


def _report_date(text: str) -> date:
    for form in _DATES:
        try:
            return datetime.strptime(text.strip(), form).date()  # noqa: DTZ007 -- a day
        except ValueError:
            continue
    raise ListError(f"The report date {text[:40]!r} is none.", hint="spreadsheets change dates: fetch it as it is")


def _heading(text: str) -> str:
    return " ".join(text.strip().lower().split())


Row = dict[str, str]


def _entries(found: Iterator[list[str]], heading: list[str], list_id: str, spoilt: Spoilt) -> Iterator[ListedEntity]:
    entries: dict[str, list[Row]] = {}
    for at, row in enumerate(found, 3):
        if len(row) != len(heading):
            raise ListError(f"Line {at} has {len(row)} columns and not {len(heading)}.", hint="was it cut off?")
        said = {name: clean(text) for name, text in zip(heading, row, strict=True)}
        if not said["unique id"]:
            raise ListError(f"Line {at} has no Unique ID.")
        entries.setdefault(said["unique id"], []).append(said)
    for number, several in entries.items():
        kinds = {each["designation type"].lower() for each in several}
        if len(kinds) != 1 or not kinds <= _KINDS.keys():
            raise ListError(f"The entry {number[:40]} has the types {', '.join(sorted(kinds))[:80]!r}.")
        yield _entry(number, several, _KINDS[kinds.pop()], list_id, spoilt)


def _entry(number: str, several: list[Row], schema: Schema, list_id: str, spoilt: Spoilt) -> ListedEntity:
    names: dict[Name, None] = {}
    for each in several:
        whole = " ".join(text for part in _PARTS if (text := _said(each, part)))
        kind = NameKind.PRIMARY if _said(each, "Name type").lower().startswith("primary") else NameKind.ALIAS
        if _WEAK in _said(each, "Alias strength").lower():
            kind = NameKind.WEAK
        if whole:
            names[Name(whole, kind)] = None
        if original := _said(each, "Name non-latin script") or _said(each, "NonLatin"):
            names[Name(original, NameKind.ALIAS)] = None
    if not names:
        raise ListError(f"The entry {number[:40]} has no name.")
    primary = sorted(names, key=lambda name: name.kind is not NameKind.PRIMARY)
    countries = {code_of(text) for each in several for text in _parts(each, "Address Country")}
    countries |= {code_of(text) for each in several for text in _parts(each, "Nationality(/ies)")}
    countries |= {code_of(text) for each in several for text in _parts(each, "Current believed flag of ship")}
    numbers = [Identifier("registrationNumber", text) for text in _all(several, "Business registration number (s)")]
    numbers += [Identifier("imoNumber", text.removeprefix("IMO").strip()) for text in _all(several, "IMO number")]
    numbers += [Identifier("passportNumber", text) for text in _all(several, "Passport number")]
    numbers += [Identifier("idNumber", text) for text in _all(several, "National Identifier number")]
    places = (", ".join(text for part in _ADDRESS if (text := _said(each, part))) for each in several)
    return ListedEntity(
        list_id,
        number,
        schema,
        tuple(primary),
        tuple(sorted(countries - {""})),
        tuple(dict.fromkeys(numbers)),
        tuple(dict.fromkeys(each for each in places if each)),
        tuple(dict.fromkeys(born for text in _all(several, "D.O.B") if (born := spoilt.day_first(text)))),
        tuple(dict.fromkeys(_said(each, "Regime Name") for each in several)),
        next((day for text in _all(several, "Date Designated") if (day := spoilt.day_first(text))), ""),
        _said(several[0], "Other Information") or _said(several[0], "UK Statement of Reasons"),
        parents=tuple(_all(several, "Parent company")),
        subsidiaries=tuple(_all(several, "Subsidiaries")),
    )


def _said(row: Row, name: str) -> str:
    return row.get(_heading(name), "")


def _parts(row: Row, name: str) -> list[str]:
    return [each for each in _SPLIT.split(_said(row, name)) if each]


def _all(several: list[Row], name: str) -> list[str]:
    return list(dict.fromkeys(text for each in several for text in _parts(each, name)))
