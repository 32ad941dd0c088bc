"""The United Nations Security Council Consolidated List, XML (un.org/sc/resources/sc-sanctions.xsd)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final
from xml.etree.ElementTree import Element

from countenance.standing.listed import Identifier, ListedEntity, Name, NameKind, Schema
from countenance.standing.lists.countries import code_of
from countenance.standing.lists.reading import ListError, Spoilt, child, children, clean, elements, iso_day, local

_PARTS: Final = ("FIRST_NAME", "SECOND_NAME", "THIRD_NAME", "FOURTH_NAME")
_KINDS: Final = {"INDIVIDUAL": Schema.PERSON, "ENTITY": Schema.ORGANIZATION}
_LOW: Final = "low"
"""Quality of an alias that the UN does not stand behind."""
_DOCUMENTS: Final = {"passport": "passportNumber", "national identification number": "idNumber"}
_ADDRESS: Final = ("STREET", "CITY", "STATE_PROVINCE", "ZIP_CODE", "COUNTRY")


def read(files: Mapping[str, bytes], list_id: str, spoilt: Spoilt) -> tuple[date | None, Iterator[ListedEntity]]:
    """From `list`."""
    found = elements(files["list"], "the list", frozenset(_KINDS))
    root = next(found)
    published = iso_day(root.get("dateGenerated", ""))
    if local(root.tag) != "CONSOLIDATED_LIST" or published is None:
        raise ListError("The XML is not the UN's CONSOLIDATED_LIST with its date.")
    return published, (_entry(each, list_id) for each in found)


def _entry(of: Element, list_id: str) -> ListedEntity:
    number = child(of, "REFERENCE_NUMBER") or child(of, "DATAID")
    primary = " ".join(text for part in _PARTS if (text := child(of, part)))
    if not number or not primary:
        raise ListError(f"The entry {number[:40]!r} has no number or no name.")
    names = [Name(primary)]
    if original := child(of, "NAME_ORIGINAL_SCRIPT"):
        names.append(Name(original, NameKind.ALIAS))
    kind = local(of.tag)
    for each in children(of, f"{kind}_ALIAS"):
        if text := child(each, "ALIAS_NAME"):
            weak = child(each, "QUALITY").lower() == _LOW
            names.append(Name(text, NameKind.WEAK if weak else NameKind.ALIAS))
    countries = {code_of(clean(each.text or "")) for nation in children(of, "NATIONALITY") for each in nation}
    places = []
    for each in children(of, f"{kind}_ADDRESS"):
        countries.add(code_of(child(each, "COUNTRY")))
        places.append(", ".join(text for part in _ADDRESS if (text := child(each, part))))
    numbers = [
        Identifier(_DOCUMENTS[what], child(each, "NUMBER"), code_of(child(each, "ISSUING_COUNTRY")))
        for each in children(of, "INDIVIDUAL_DOCUMENT")
        if (what := child(each, "TYPE_OF_DOCUMENT").lower()) in _DOCUMENTS and child(each, "NUMBER")
    ]
    born = []
    for each in children(of, "INDIVIDUAL_DATE_OF_BIRTH"):
        day = iso_day(child(each, "DATE"))
        born.append(day.isoformat() if day else child(each, "YEAR"))
    return ListedEntity(
        list_id,
        number,
        _KINDS[kind],
        tuple(dict.fromkeys(names)),
        tuple(sorted(countries - {""})),
        tuple(dict.fromkeys(numbers)),
        tuple(dict.fromkeys(each for each in places if each)),
        tuple(dict.fromkeys(each for each in born if each)),
        tuple(filter(None, [child(of, "UN_LIST_TYPE")])),
        child(of, "LISTED_ON"),
        child(of, "COMMENTS1"),
    )
