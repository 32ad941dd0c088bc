"""The lists that screening is measured on: OFAC's SDN list with its aliases, the UN's and the EU's.

The least that makes listed entities of the three files: `standing/lists` reads lists in earnest.
"""

from __future__ import annotations

import csv
import lzma
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from countenance.standing.listed import Identifier, ListedEntity, Name, NameKind, Schema

OFAC_TYPES = {"individual": Schema.PERSON, "vessel": Schema.VESSEL, "aircraft": Schema.AIRPLANE}
OFAC_NUMBER = re.compile(r"(Tax ID No\.|Registration (?:Number|ID)|IMO) ([0-9A-Z-]+)(?: \(([A-Za-z ]+)\))?")
OFAC_SCHEMES = {"Tax ID No.": "taxNumber", "IMO": "imoNumber"}
OFAC_WEAK = re.compile(r"weak (?:a\.k\.a\.|alias) ['\"]([^'\"]+)['\"]", re.IGNORECASE)
EU = "{http://eu.europa.ec/fpi/fsd/export}"


def load(folder: Path) -> list[ListedEntity]:
    """Every entry of the three lists under `folder`, the data's `sanctions_lists`."""
    return [*_ofac(folder), *_un(folder / "un_consolidated_2026-02.xml"), *_eu(folder / "eu_fsf_2021-03-02.xml.xz")]


def _ofac(folder: Path) -> Iterator[ListedEntity]:
    aliases: dict[str, list[str]] = defaultdict(list)
    for row in _rows(folder / "ofac_alt_2025-12.csv"):
        if len(row) >= 4:
            aliases[row[0]].append(row[3])
    countries: dict[str, set[str]] = defaultdict(set)
    for row in _rows(folder / "ofac_add_2025-12.csv"):
        if len(row) >= 5:
            countries[row[0]].update(_codes(row[4]))
    for row in _rows(folder / "ofac_sdn_2023-11.csv"):
        if not row[0].isdigit() or not row[1]:
            continue
        weak = OFAC_WEAK.findall(row[11])
        others = dict.fromkeys([*aliases[row[0]], *weak])
        names = [Name(row[1]), *(Name(text, NameKind.WEAK if text in weak else NameKind.ALIAS) for text in others)]
        schema = OFAC_TYPES.get(row[2].strip(), Schema.ORGANIZATION)
        numbers = [
            Identifier(OFAC_SCHEMES.get(what, "registrationNumber"), value, "".join(_codes(where)[:1]))
            for what, value, where in OFAC_NUMBER.findall(row[11])
        ]
        yield ListedEntity(
            "ofac-sdn", row[0], schema, tuple(names), tuple(sorted(countries[row[0]])), tuple(numbers),
            programmes=(row[3],), remarks=row[11],
        )  # fmt: skip


def _un(path: Path) -> Iterator[ListedEntity]:
    parts = ("FIRST_NAME", "SECOND_NAME", "THIRD_NAME", "FOURTH_NAME")
    for entry in ElementTree.parse(path).getroot().iter():
        if entry.tag not in ("INDIVIDUAL", "ENTITY"):
            continue
        names = [Name(" ".join(text for part in parts if (text := entry.findtext(part, "").strip())))]
        if original := entry.findtext("NAME_ORIGINAL_SCRIPT", "").strip():
            names.append(Name(original, NameKind.ALIAS))
        for alias in entry.iter(f"{entry.tag}_ALIAS"):
            if text := alias.findtext("ALIAS_NAME", "").strip():
                names.append(Name(text, NameKind.WEAK if alias.findtext("QUALITY") == "Low" else NameKind.ALIAS))
        where = {code for value in entry.findall("NATIONALITY/VALUE") for code in _codes(value.text or "")}
        born = {year.strip() for year in (date.text or "" for date in entry.findall(".//YEAR")) if year.strip()}
        schema = Schema.PERSON if entry.tag == "INDIVIDUAL" else Schema.ORGANIZATION
        reference = entry.findtext("REFERENCE_NUMBER", "").strip()
        yield ListedEntity(
            "un", reference, schema, tuple(names), tuple(sorted(where)), birth_dates=tuple(sorted(born)),
        )  # fmt: skip


def _eu(path: Path) -> Iterator[ListedEntity]:
    with lzma.open(path) as file:
        root = ElementTree.parse(file).getroot()
    for entry in root.iter(f"{EU}sanctionEntity"):
        subject = entry.find(f"{EU}subjectType")
        is_person = subject is not None and subject.get("code") == "person"
        texts = [alias.get("wholeName", "").strip() for alias in entry.iter(f"{EU}nameAlias")]
        names = [Name(text, NameKind.ALIAS if at else NameKind.PRIMARY) for at, text in enumerate(filter(None, texts))]
        if not names:
            continue
        where = {place.get("countryIso2Code", "00").lower() for place in entry.iter(f"{EU}citizenship")}
        where |= {place.get("countryIso2Code", "00").lower() for place in entry.iter(f"{EU}address")}
        born = {value for date in entry.iter(f"{EU}birthdate") if (value := date.get("birthdate") or date.get("year"))}
        yield ListedEntity(
            "eu-fsf", entry.get("logicalId", ""), Schema.PERSON if is_person else Schema.ORGANIZATION, tuple(names),
            tuple(sorted(where - {"00"})), birth_dates=tuple(sorted(born)),
        )  # fmt: skip


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return list(csv.reader(file))


def _codes(name: str) -> list[str]:
    """A country's name -> its code in small letters; nothing for none, and without the extra, which has the names."""
    if not name.strip() or name.strip() == "-0-":
        return []
    try:
        from rigour.territories import get_territory, lookup_territory
    except ImportError:
        return []
    found = lookup_territory(name.strip()) or get_territory(name.strip())
    return [found.code] if found is not None else []
