"""The European Union's consolidated list of financial sanctions, XML 1.1 (webgate.ec.europa.eu/fsd/fsf, export 1.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Final
from xml.etree.ElementTree import Element

from countenance.standing.listed import Identifier, ListedEntity, Name, NameKind, Schema
from countenance.standing.lists.countries import code_of
from countenance.standing.lists.reading import ListError, Spoilt, children, clean, elements, iso_day, local

_UNKNOWN_COUNTRY: Final = "00"
_NUMBERS: Final = {
    "passport": "passportNumber",
    "id": "idNumber",
    "regnumber": "registrationNumber",
    "fiscalcode": "taxNumber",
    "imo": "imoNumber",
    "swiftbic": "swiftBic",
    "tradelic": "registrationNumber",
}
_ADDRESS: Final = ("street", "poBox", "zipCode", "city", "region", "countryDescription")


def read(files: Mapping[str, bytes], list_id: str, spoilt: Spoilt) -> tuple[date | None, Iterator[ListedEntity]]:
    """From `list`."""
    # An entry listed under two regimes is there twice, under one logicalId: both are its content.
    found = elements(files["list"], "the list", frozenset({"sanctionEntity"}))
    root = next(found)
    published = iso_day(root.get("generationDate", ""))
    if local(root.tag) != "export" or published is None:
        raise ListError("The XML is not the EU's export of sanctions with its date.")
    return published, _merged(made for each in found if (made := _entry(each, list_id)) is not None)


def _merged(found: Iterator[ListedEntity]) -> Iterator[ListedEntity]:
    entries: dict[str, ListedEntity] = {}
    for each in found:
        known = entries.get(each.entry_id)
        entries[each.entry_id] = each if known is None else _both(known, each)
    yield from entries.values()


def _both(one: ListedEntity, two: ListedEntity) -> ListedEntity:
    if one.schema != two.schema:
        raise ListError(f"The entry {one.entry_id} is {one.schema} and {two.schema}.")
    return replace(
        one,
        names=tuple(dict.fromkeys(one.names + two.names)),
        countries=tuple(sorted({*one.countries, *two.countries})),
        identifiers=tuple(dict.fromkeys(one.identifiers + two.identifiers)),
        addresses=tuple(dict.fromkeys(one.addresses + two.addresses)),
        birth_dates=tuple(dict.fromkeys(one.birth_dates + two.birth_dates)),
        programmes=tuple(dict.fromkeys(one.programmes + two.programmes)),
        listed_on=min(filter(None, (one.listed_on, two.listed_on)), default=""),
    )


def _entry(of: Element, list_id: str) -> ListedEntity | None:
    number = of.get("logicalId", "")
    if not number:
        raise ListError("An entry has no logicalId.")
    names: list[Name] = []
    for each in children(of, "nameAlias"):
        if text := clean(each.get("wholeName", "")):
            kind = NameKind.PRIMARY if not names else NameKind.ALIAS
            names.append(Name(text, kind if each.get("strong", "true") == "true" else NameKind.WEAK))
    if not names:
        return None  # the EU keeps a few entries whose names were taken out
    is_person = any(each.get("code") == "person" for each in children(of, "subjectType"))
    countries = {_country(each) for tag in ("citizenship", "address") for each in children(of, tag)}
    numbers = [
        Identifier(_NUMBERS[what], clean(each.get("number", "")), _country(each))
        for each in children(of, "identification")
        if (what := each.get("identificationTypeCode", "")) in _NUMBERS and each.get("number", "").strip()
    ]
    places = (", ".join(text for part in _ADDRESS if (text := _said(each, part))) for each in children(of, "address"))
    born = (each.get("birthdate", "") or each.get("year", "") for each in children(of, "birthdate"))
    regulations = list(children(of, "regulation"))
    return ListedEntity(
        list_id,
        number,
        Schema.PERSON if is_person else Schema.ORGANIZATION,
        tuple(dict.fromkeys(names)),
        tuple(sorted(countries - {""})),
        tuple(dict.fromkeys(numbers)),
        tuple(dict.fromkeys(each for each in places if each)),
        tuple(dict.fromkeys(each for each in born if each)),
        tuple(dict.fromkeys(each.get("programme", "") for each in regulations)),
        min((each.get("publicationDate", "") for each in regulations), default=""),
        clean(" ".join(each.text or "" for each in of if local(each.tag) == "remark")),
    )


def _country(of: Element) -> str:
    code = of.get("countryIso2Code", "").lower()
    return "" if code == _UNKNOWN_COUNTRY else code_of(code) or code_of(of.get("countryDescription", ""))


def _said(of: Element, name: str) -> str:
    text = clean(of.get(name, ""))
    return "" if text == "UNKNOWN" else text
