"""Which members public leaves and the sections of an entry have, and of what type: the tables.

Knows types; does not know hashes of leaves or where entries come from. Unknown and missing members are refused, so
that nothing can be hidden in an entry beside what its readers look at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from hashlib import sha256
from typing import Any, Final

from countenance_audit import identifiers, vrf
from countenance_audit.canonical import MAX_INTEGER
from countenance_audit.errors import Malformed
from countenance_audit.note import ED25519, VerifierKey

Check = Callable[[Any, str], None]
"""(value, where it stands) -> None, or Malformed."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_DIGITS: Final = frozenset("0123456789abcdef")
_ACCOUNT: Final = re.compile(r"(?:[0-9]{12})?")
_IMAGE_PREFIX: Final = b"countenance/image/v1\n"


def text(value: Any, where: str) -> None:
    if type(value) is not str:
        raise Malformed(f"{where} is not a string.")


def flag(value: Any, where: str) -> None:
    if type(value) is not bool:
        raise Malformed(f"{where} is not true or false.")


def anything(value: Any, where: str) -> None:
    """Whatever canonical JSON allows."""


def absent(value: Any, where: str) -> None:
    if value is not None:
        raise Malformed(f"{where} is not null.")


def json_object(value: Any, where: str) -> None:
    if not isinstance(value, Mapping):
        raise Malformed(f"{where} is not an object.")


def hexadecimal(value: Any, where: str) -> None:
    """A SHA-256 hash, or 32 other bytes, in lower-case hexadecimal."""
    if type(value) is not str or not _HASH.fullmatch(value):
        raise Malformed(f"{where} is not 64 lower-case hexadecimal digits.")


def hexadecimal_of(count: int) -> Check:
    """So many bytes in lower-case hexadecimal."""

    def check(value: Any, where: str) -> None:
        if type(value) is not str or len(value) != 2 * count or not set(value) <= _DIGITS:
            raise Malformed(f"{where} is not {2 * count} lower-case hexadecimal digits.")

    return check


def octets(value: Any, where: str) -> bytes:
    """The 32 bytes of a member in hexadecimal."""
    hexadecimal(value, where)
    return bytes.fromhex(value)


def integer(least: int = -MAX_INTEGER, most: int = MAX_INTEGER) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not int or not least <= value <= most:
            raise Malformed(f"{where} is not an integer from {least} to {most}.")

    return check


def day(value: Any, where: str) -> None:
    """A day of the Gregorian calendar in UTC, `YYYY-MM-DD`."""
    try:
        if type(value) is not str or date.fromisoformat(value).isoformat() != value:
            raise ValueError
    except ValueError:
        raise Malformed(f"{where} is not a day written as 2026-10-05.") from None


def one_of(*choices: str) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not str or value not in choices:
            raise Malformed(f"{where} is not one of {', '.join(choices)}.")

    return check


def matching(pattern: re.Pattern[str], what: str) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not str or not pattern.fullmatch(value):
            raise Malformed(f"{where} is not {what}.")

    return check


def nullable(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check


def array(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, (list, tuple)):
            raise Malformed(f"{where} is not an array.")
        for position, item in enumerate(value):
            inner(item, f"{where}[{position}]")

    return check


def members(table: Mapping[str, Check]) -> Check:
    """An object with exactly these members."""

    def check(value: Any, where: str) -> None:
        json_object(value, where)
        if value.keys() != table.keys():
            wrong = sorted(map(repr, value.keys() ^ table.keys()))
            raise Malformed(f"{where} has unknown members or lacks some: {', '.join(wrong)[:200]}.")
        for name, inner in table.items():
            inner(value[name], f"{where}.{name}")

    return check


def _structure(value: Any, where: str) -> None:
    if not isinstance(value, (Mapping, list, tuple)):
        raise Malformed(f"{where} is neither an object nor an array.")


def _log_key(value: Any, where: str) -> None:
    text(value, where)
    if VerifierKey.parse(value).algorithm != ED25519:
        raise Malformed(f"{where} is not a log's verifier key.")


def _vrf_key(value: Any, where: str) -> None:
    try:
        vrf.check_key(octets(value, where))
    except Malformed as failure:
        raise Malformed(f"{where}: {failure.message}") from None


def _party(value: Any, where: str) -> None:
    _identified(value, where)
    identifiers.check(value["scheme"], value["value"], where)


_natural: Final = integer(0)
_identified: Final = members({"role": text, "scheme": text, "value": text})

ACCOUNTING: Final[Mapping[str, Check]] = {
    "kind": one_of("call", "effect", "act", "unauthenticated", "throttled"),
    "time": _natural,
    "end": _natural,
    "account": matching(_ACCOUNT, "12 digits or empty"),
    "access_key": text,
    "holder": text,
    "party": array(_party),
    "purpose": text,
    "operation": text,
    "request_id": text,
    "code": text,
    "status": integer(0, 999),
    "units": _natural,
    "amount": integer(),
    "currency": text,
    "price": text,
    "request": nullable(hexadecimal),
    "response": nullable(hexadecimal),
    "reference_database": nullable(members({"collection": text, "model": text, "references": _natural})),
    "verified_by": absent,
    "decision": nullable(
        members(
            {
                "allowed": flag,
                "policies": array(text),
                "policy_set": text,
                "request": json_object,
                "entities": _structure,
            }
        )
    ),
    "details": json_object,
    "count": integer(1),
}
"""The accounting section; times in microseconds since 1970, amounts in micro-units of `currency`. `request`,
`response` and `decision` are null for what has none."""

_image: Final = members({"sha256": hexadecimal, "salt": hexadecimal, "commitment": hexadecimal})

PERSON: Final[Mapping[str, Check]] = {
    "images": array(_image),
    "face_ids": array(text),
    "external_image_ids": array(text),
    "names": array(text),
}
"""The person section when it is not the empty object."""

_COMMON: Final[Mapping[str, Check]] = {"v": integer(1, 1), "kind": text, "time": _natural}

PUBLIC: Final[Mapping[str, Mapping[str, Check] | None]] = {
    "start": {
        "origin": text,
        "software": text,
        "build": hexadecimal,
        "settings": hexadecimal,
        "models": array(members({"name": text, "sha256": hexadecimal})),
        "clock": members({"monotonic_us": _natural, "synchronised": nullable(flag)}),
    },
    "stop": {"reason": text},
    "heartbeat": {"cosigned": nullable(hexadecimal)},
    "clock": {"step_us": integer()},
    "key": {"purpose": one_of("log"), "key": _log_key, "reason": one_of("first", "rotation", "loss", "retirement")},
    "policy": None,
    "list": None,
    "retention": {"class": one_of("person", "sample", "accounting"), "ground": text, "count": _natural},
    "discontinuity": {
        "previous_origin": text,
        "previous_size": _natural,
        "previous_root": hexadecimal,
        "reason": text,
    },
    "vrf-key": {"day": day, "key": _vrf_key, "reason": one_of("first", "rotation", "loss")},
    "period-root": {
        "day": day,
        "revision": _natural,
        "reason": one_of("day-end", "late-knowledge"),
        "size": integer(2),
        "root": hexadecimal,
        "vrf_key": _vrf_key,
        "previous": nullable(_natural),
        "first": _natural,
        "end": _natural,
        "known": _natural,
        "calls": _natural,
        "units": _natural,
        "amount": integer(),
        "currency": text,
        "heads": members({"first": day, "count": integer(1), "root": hexadecimal}),
    },
    "recovery": {"first": _natural, "size": _natural, "lost": _natural, "reason": text},
}
"""Further members of public leaves by kind; None: version 1 does not fix them."""

_accounting: Final = members(ACCOUNTING)
_person: Final = members(PERSON)
_public: Final = {kind: None if table is None else members({**_COMMON, **table}) for kind, table in PUBLIC.items()}


def check_accounting(content: Any) -> None:
    """Refuses (Malformed) what is no accounting section."""
    _accounting(content, "accounting")


def check_person(content: Any) -> None:
    """Refuses (Malformed) what is no person section; each image's commitment must be that of its hash and salt."""
    json_object(content, "person")
    if not content:
        return
    _person(content, "person")
    for position, image in enumerate(content["images"]):
        expected = image_commitment(bytes.fromhex(image["salt"]), bytes.fromhex(image["sha256"]))
        if image["commitment"] != expected.hex():
            raise Malformed(f"person.images[{position}].commitment is not that of its salt and hash.")


def check_public(content: Any) -> None:
    """Refuses (Malformed) what is no public leaf of version 1."""
    json_object(content, "A public leaf")
    missing = sorted(_COMMON.keys() - content.keys())
    if missing:
        raise Malformed(f"A public leaf lacks {', '.join(missing)}.")
    for name, check in _COMMON.items():
        check(content[name], f"A public leaf's {name}")
    kind = content["kind"]
    if kind not in _public:
        raise Malformed(
            f"A public leaf has the unknown kind {kind[:40]!r}.",
            hint="If the log is newer than this program, update the program.",
        )
    exact = _public[kind]
    if exact is not None:
        exact(content, kind)


def image_commitment(salt: bytes, sha256_of_image: bytes) -> bytes:
    """What an entry says about an image: SHA-256("countenance/image/v1" || newline || salt || SHA-256(image))."""
    if len(salt) != 32 or len(sha256_of_image) != 32:
        raise Malformed("An image's salt and hash have 32 bytes each.")
    return sha256(_IMAGE_PREFIX + salt + sha256_of_image).digest()
