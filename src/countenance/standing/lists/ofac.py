"""OFAC's lists: the legacy CSV files (primary names, aliases, addresses, joined on ent_num) and the SDN list's XML.

Sources: ofac.treasury.gov, "SDN List data formats" (dat_spec.txt) and sdn.xsd. Weak aliases come from the XML's
category and, in the CSV, from quotation marks in the remarks: the file of aliases says no more than a.k.a. and f.k.a.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Final
from xml.etree.ElementTree import Element

from countenance.standing.listed import Identifier, ListedEntity, Name, NameKind, Schema
from countenance.standing.lists.countries import code_of
from countenance.standing.lists.reading import ListError, Spoilt, child, children, clean, elements, local, rows, year_of

NULL: Final = "-0-"
PRIMARY_COLUMNS, ALIAS_COLUMNS, ADDRESS_COLUMNS = 12, 5, 6
_KINDS: Final = {
    "individual": Schema.PERSON,
    "vessel": Schema.VESSEL,
    "aircraft": Schema.AIRPLANE,
    "entity": Schema.ORGANIZATION,
    NULL: Schema.ORGANIZATION,
    "": Schema.ORGANIZATION,
}
_NUMBERS: Final[Mapping[str, str]] = {
    "tax id no.": "taxNumber",
    "registration number": "registrationNumber",
    "registration id": "registrationNumber",
    "company number": "registrationNumber",
    "commercial registry number": "registrationNumber",
    "business registration number": "registrationNumber",
    "public registration number": "registrationNumber",
    "c.r. no.": "registrationNumber",
    "trade license no.": "registrationNumber",
    "v.a.t. number": "vatCode",
    "swift/bic": "swiftBic",
    "passport": "passportNumber",
    "national id no.": "idNumber",
    "identification number": "idNumber",
    "legal entity number": "leiCode",
    "vessel registration identification": "imoNumber",
    "unified social credit code (uscc)": "uscCode",
}
"""What OFAC calls a number, and the FollowTheMoney model's property of it."""
_WEAK: Final = re.compile(
    r"(?:^|;\s*)(?:alt\. |Alternate )?(?:a\.k\.a\.|weak alias)\s+'([^;]+?)'(?=\s*(?:[;.]|$))", re.IGNORECASE
)
_BORN: Final = re.compile(r"\bDOB (?:circa )?([^;.(]+)")
_NUMBER: Final = re.compile(
    "(" + "|".join(re.escape(each) for each in sorted(_NUMBERS, key=len, reverse=True)) + r"|IMO)"
    r"\s+#?\s*(?:IMO )?([A-Z0-9][A-Z0-9./-]*)(?: \(([^);]+)\))?",
    re.IGNORECASE,
)
_NATIONAL: Final = re.compile(r"\b(?:nationality|citizen) ([^;.(]+)")


def read_csv(files: Mapping[str, bytes], list_id: str, spoilt: Spoilt) -> tuple[date | None, Iterator[ListedEntity]]:
    """From `primary`, and `aliases` and `addresses` where they are there. The files have no date."""
    return None, _joined(files, list_id)


def _joined(files: Mapping[str, bytes], list_id: str) -> Iterator[ListedEntity]:
    aliases: dict[str, list[str]] = defaultdict(list)
    for row in _table(files.get("aliases"), "the aliases", ALIAS_COLUMNS):
        if row[3]:
            aliases[row[0]].append(row[3])
    addresses: dict[str, list[list[str]]] = defaultdict(list)
    for row in _table(files.get("addresses"), "the addresses", ADDRESS_COLUMNS):
        addresses[row[0]].append([each for each in row[2:5] if each])
    for row in _table(files["primary"], "the primary names", PRIMARY_COLUMNS):
        number, name, kind, programmes, remarks = row[0], row[1], row[2].lower(), row[3], row[11]
        if not name or kind not in _KINDS:
            raise ListError(f"The entry {number} has {'no name' if not name else f'the type {kind[:40]!r}'}.")
        schema = _KINDS[kind]
        weak = {clean(each) for each in _WEAK.findall(remarks)}
        names = [Name(_ordered(name, schema))]
        for text in dict.fromkeys([*aliases[number], *sorted(weak)]):
            names.append(Name(_ordered(text, schema), NameKind.WEAK if text in weak else NameKind.ALIAS))
        places = addresses[number]
        countries = {code_of(each) for place in places for each in place[-1:]}
        countries |= {code_of(each) for each in _NATIONAL.findall(remarks)}
        numbers = [_identifier(what, value, code_of(where)) for what, value, where in _NUMBER.findall(remarks)]
        yield ListedEntity(
            list_id,
            number,
            schema,
            tuple(names),
            tuple(sorted(countries - {""})),
            tuple(dict.fromkeys(numbers)),
            tuple(dict.fromkeys(", ".join(place) for place in places if place)),
            tuple(dict.fromkeys(born for each in _BORN.findall(remarks) if (born := year_of(each)))),
            tuple(each.strip(" []") for each in re.split(r"\]\s*\[", programmes) if each.strip(" []")),
            remarks=remarks,
        )


def _table(data: bytes | None, what: str, columns: int) -> Iterator[list[str]]:
    if data is None:
        return
    for at, row in enumerate(rows(data, what)):
        if row[0].strip() == "\x1a" or (not row[0].strip().isdigit() and at == 0):
            continue  # the mark of the end, and a header, which copies of the files have
        if len(row) != columns or not row[0].strip().isdigit():
            raise ListError(
                f"Row {at + 1} of {what} has {len(row)} columns and begins with {row[0][:20]!r}; there should be "
                f"{columns}, the first a number.",
                hint="was it cut off, or is it another file?",
            )
        yield ["" if each.strip() == NULL else clean(each) for each in row]


def _ordered(name: str, schema: Schema) -> str:
    """Persons' names are "LAST, First": what comes first is said first."""
    last, comma, first = name.partition(", ")
    return f"{first} {last}" if comma and schema is Schema.PERSON else name


def _identifier(what: str, value: str, country: str) -> Identifier:
    scheme = "imoNumber" if what.upper() == "IMO" else _NUMBERS[what.lower()]
    return Identifier(scheme, value.rstrip(".-/"), country)


# -- XML


def read_xml(files: Mapping[str, bytes], list_id: str, spoilt: Spoilt) -> tuple[date | None, Iterator[ListedEntity]]:
    """From `list`; refuses one whose entries are not as many as it says."""
    tags = frozenset({"publshInformation", "sdnEntry"})
    found = elements(files["list"], "the list", tags)
    root = next(found)
    if local(root.tag) != "sdnList":
        raise ListError(f"The XML is {local(root.tag)[:40]!r}, not OFAC's sdnList.")
    head = next(found, None)
    if head is None or local(head.tag) != "publshInformation":
        raise ListError("The list does not begin with what OFAC says of its publication.")
    try:
        published = datetime.strptime(child(head, "Publish_Date"), "%m/%d/%Y").date()  # noqa: DTZ007 -- a day
        count = int(child(head, "Record_Count"))
    except ValueError:
        raise ListError(
            f"The list says {child(head, 'Publish_Date')[:20]!r} and {child(head, 'Record_Count')[:20]!r} where its "
            "date (month first) and its number of entries should be."
        ) from None
    return published, _counted(found, count, list_id)


def _counted(found: Iterable[Element], count: int, list_id: str) -> Iterator[ListedEntity]:
    number = 0
    for element in found:
        number += 1
        yield _entry(element, list_id)
    if number != count:
        raise ListError(f"The list says that it has {count} entries, and has {number}.", hint="fetch it again")


def _entry(of: Element, list_id: str) -> ListedEntity:
    number, kind = child(of, "uid"), child(of, "sdnType").lower()
    if not number.isdigit() or kind not in _KINDS or not child(of, "lastName"):
        raise ListError(f"The entry {number[:20]!r} of type {kind[:40]!r} lacks its number, type or name.")
    names = [Name(_whole(of))]
    for each in children(of, "aka"):
        if _whole(each):
            weak = child(each, "category").lower() == "weak"
            names.append(Name(_whole(each), NameKind.WEAK if weak else NameKind.ALIAS))
    countries = {code_of(child(each, "country")) for each in children(of, "address")}
    for name in ("nationality", "citizenship"):
        countries |= {code_of(child(each, "country")) for each in children(of, name)}
    numbers = [
        Identifier(
            _NUMBERS[what], child(each, "idNumber").removeprefix("IMO ").strip(), code_of(child(each, "idCountry"))
        )
        for each in children(of, "id")
        if (what := child(each, "idType").lower()) in _NUMBERS and child(each, "idNumber")
    ]
    parts = ("address1", "address2", "address3", "city", "stateOrProvince", "postalCode", "country")
    places = (", ".join(text for part in parts if (text := child(each, part))) for each in children(of, "address"))
    born = (year_of(child(each, "dateOfBirth")) for each in children(of, "dateOfBirthItem"))
    return ListedEntity(
        list_id,
        number,
        _KINDS[kind],
        tuple(dict.fromkeys(names)),
        tuple(sorted(countries - {""})),
        tuple(dict.fromkeys(numbers)),
        tuple(dict.fromkeys(each for each in places if each)),
        tuple(dict.fromkeys(each for each in born if each)),
        tuple(clean(each.text or "") for each in children(of, "program")),
        remarks=child(of, "remarks"),
    )


def _whole(of: Element) -> str:
    return " ".join(text for text in (child(of, "firstName"), child(of, "lastName")) if text)
