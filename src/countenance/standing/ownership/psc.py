"""Companies House's register of people with significant control, the daily snapshot as JSON lines.

Bands become intervals: "25 to 50 per cent" is more than 25 and not more than 50; "50 to 75" is more than 50 and less
than 75; "75 to 100" is 75 or more (Companies Act 2006, schedule 1A; The Register of People with Significant Control
Regulations 2016, schedule 2). One record has several natures of control: each is a statement of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

from countenance.standing.ownership.interval import UNKNOWN, Interval
from countenance.standing.ownership.statements import OwnershipError, Statement

SOURCE: Final = "UK register of people with significant control"
REGISTER: Final = "GB-COH"
BANDS: Final = {
    "25-to-50-percent": Interval(250_000, 500_000, low_open=True),
    "50-to-75-percent": Interval(500_000, 750_000, low_open=True, high_open=True),
    "75-to-100-percent": Interval(750_000, 1_000_000),
    "more-than-25-percent": Interval(250_000, 1_000_000, low_open=True),
}
_NATURES: Final = {
    "ownership-of-shares": "shareholding",
    "voting-rights": "votingRights",
    "right-to-appoint-and-remove": "appointmentOfBoard",
    "significant-influence-or-control": "otherInfluenceOrControl",
    "right-to-share-surplus-assets": "rightsToSurplusAssetsOnDissolution",
}
_BAND: Final = re.compile("|".join(map(re.escape, BANDS)))
_PROTECTED: Final = "super-secure"
_NOBODY: Final = "persons-with-significant-control-statement"

Parties = dict[str, dict[str, Any]]


def read(lines: Iterable[str]) -> tuple[list[Statement], Parties]:
    """Statements, and what is said of the parties they name; records of other kinds (totals) are passed over.

    Raises:
        OwnershipError: a line is no record of the register.
    """
    statements: list[Statement] = []
    parties: Parties = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            statements += _record(said, parties)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OwnershipError(f"Line {number} is no record of the register: {str(error)[:120]}") from None
    return statements, parties


def _record(said: Mapping[str, Any], parties: Parties) -> list[Statement]:
    data = said["data"]
    kind, number = str(data.get("kind", "")), str(said.get("company_number", "")).upper()
    if not number or kind.startswith("totals"):
        return []
    owned = f"reg:{REGISTER}:{number}"
    start, end = _day(data.get("notified_on")), _day(data.get("ceased_on"))
    etag = str(data.get("etag") or f"{number}/{kind}/{data.get('name', '')}/{data.get('notified_on', '')}")
    if kind == _NOBODY:
        what = str(data.get("statement", "no statement"))
        return [_unknown(f"{etag}/{what}", owned, start, end)]
    if kind.startswith(_PROTECTED):
        return [_unknown(etag, owned, start, end)]
    owner = _owner(data, kind, parties)
    natures = list(data.get("natures_of_control", ()))
    if not natures:
        return [Statement(etag, owner, owned, "unknownInterest", UNKNOWN, None, start, end, SOURCE)]
    made = []
    for nature in natures:
        interest = next((each for prefix, each in _NATURES.items() if nature.startswith(prefix)), "unknownInterest")
        band = _BAND.search(nature)
        made.append(
            Statement(
                f"{etag}/{nature}", owner, owned, interest, BANDS[band[0]] if band else None, None, start, end, SOURCE
            )
        )
    return made


def _unknown(name: str, owned: str, start: date | None, end: date | None) -> Statement:
    return Statement(name, f"unknown:{name}", owned, "unknownInterest", UNKNOWN, None, start, end, SOURCE)


def _owner(data: Mapping[str, Any], kind: str, parties: Parties) -> str:
    name, said = " ".join(str(data["name"]).split()), data.get("identification") or {}
    if not name:
        raise ValueError("it has no name")
    is_person = kind.startswith("individual")
    number, country = str(said.get("registration_number") or ""), str(said.get("country_registered") or "")
    in_uk = bool(re.search(r"england|wales|scotland|northern ireland|united kingdom|companies house", country.lower()))
    node = f"reg:{REGISTER}:{number.upper().zfill(8)}" if number and in_uk else f"name:{name.casefold()}"
    identifiers = [["registrationNumber", number, "gb" if in_uk else ""]] if number else []
    parties[node] = {"name": name, "is_person": is_person, "jurisdiction": "", "identifiers": identifiers}
    return node


def _day(text: object) -> date | None:
    return None if text in (None, "") else date.fromisoformat(str(text))
