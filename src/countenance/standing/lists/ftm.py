"""Any list in the FollowTheMoney model, as JSON lines (followthemoney.tech; entities.ftm.json of OpenSanctions).

An entity is listed when it has the topic `sanction`; others (`sanction.linked`, say) are kept as related, and never
block. Entities of other schemata (sanctions themselves, ownership, addresses) name nobody, and are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

from countenance.standing.listed import Identifier, ListedEntity, Name, NameKind, Schema
from countenance.standing.lists.countries import code_of
from countenance.standing.lists.reading import ListError, Spoilt, clean, text_of

_KINDS: Final = {str(each): each for each in Schema} | {"PublicBody": Schema.ORGANIZATION}
_NUMBERS: Final = (
    "leiCode",
    "registrationNumber",
    "innCode",
    "ogrnCode",
    "taxNumber",
    "vatCode",
    "uscCode",
    "idNumber",
    "passportNumber",
    "imoNumber",
    "swiftBic",
)
_PROPERTIES: Final = {
    "name": NameKind.PRIMARY,
    "alias": NameKind.ALIAS,
    "previousName": NameKind.ALIAS,
    "weakAlias": NameKind.WEAK,
    "abbreviation": NameKind.WEAK,
}
LISTED: Final = "sanction"


def read(files: Mapping[str, bytes], list_id: str, spoilt: Spoilt) -> tuple[date | None, Iterator[ListedEntity]]:
    """From `list`. The form has no date."""
    return None, _entries(text_of(files["list"], "the list"), list_id)


def _entries(text: str, list_id: str) -> Iterator[ListedEntity]:
    for at, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            kind, number, has = str(said["schema"]), said["id"], said["properties"]
            if not isinstance(number, str) or not number or not isinstance(has, Mapping):
                raise TypeError("an id or properties")
            if kind in _KINDS:
                yield _entry(_KINDS[kind], number, has, list_id)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ListError(f"Line {at} is no entity: {type(error).__name__} ({str(error)[:80]}).") from None


def _entry(schema: Schema, number: str, has: Mapping[str, Any], list_id: str) -> ListedEntity:
    names = [Name(text, kind) for name, kind in _PROPERTIES.items() for text in _texts(has, name)]
    if not names:
        raise ListError(f"The entity {number[:80]} has no name.")
    where = ("jurisdiction", "country", "mainCountry", "nationality", "citizenship", "flag")
    countries = {code_of(text) for name in where for text in _texts(has, name)}
    born = [*_texts(has, "birthDate"), *_texts(has, "buildDate")]
    return ListedEntity(
        list_id,
        number,
        schema,
        tuple(dict.fromkeys(names)),
        tuple(sorted(countries - {""})),
        tuple(Identifier(name, text) for name in _NUMBERS for text in _texts(has, name)),
        tuple(_texts(has, "address")),
        tuple(born),
        tuple(_texts(has, "programId") or _texts(has, "program")),
        min(_texts(has, "createdAt"), default=""),
        " ".join(_texts(has, "notes"))[:1_000],
        sanctioned=LISTED in _texts(has, "topics"),
    )


def _texts(has: Mapping[str, Any], name: str) -> list[str]:
    values = has.get(name, [])
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise TypeError(f"{name} is not a list of texts")
    return [text for each in values if (text := clean(each))]
