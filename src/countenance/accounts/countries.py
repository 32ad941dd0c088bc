"""The countries and territories of ISO 3166-1, by their alpha-2 codes.

Knows which codes are assigned; no names, and nothing of subdivisions but their form.
"""

from __future__ import annotations

import re
from typing import Final

_CODES: Final = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA
CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA
GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS
MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS
RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW
TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
ASSIGNED: Final = frozenset(_CODES.split())
"""Officially assigned code elements, https://www.iso.org/obp/ui/#search/code/ (249)."""
USER_ASSIGNED: Final = frozenset({"XK"})
"""Kosovo, as the European Commission and GLEIF write it."""

_SUBDIVISION: Final = re.compile(r"[A-Z0-9]{1,3}")  # ISO 3166-2, after the hyphen


def jurisdiction(raw: str) -> str | None:
    """`NL` or `US-DE` in upper case; None for what is no code."""
    country, hyphen, subdivision = raw.strip().upper().partition("-")
    if country not in ASSIGNED | USER_ASSIGNED or (hyphen and not _SUBDIVISION.fullmatch(subdivision)):
        return None
    return country + hyphen + subdivision
