"""The leaves of the log and what opens them: two classes of leaf, two salted sections of an entry.

Knows the layout and the commitments; which members an entry has is in `members`. Does not know the tree, keys or
where openings are kept. An opaque leaf says nothing about its entry, not even whether it concerns a person; the
person section can be erased, salt and all, and what is left still opens the leaf.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from countenance_audit import canonical
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.members import check_accounting, check_person, check_public, image_commitment, octets

__all__ = [
    "Opaque",
    "Opening",
    "Public",
    "check_opening",
    "commitment",
    "image_commitment",
    "make_opening",
    "opaque",
    "parse",
    "public",
    "section_hash",
]

OPAQUE_BYTES: Final = 33
"""A version byte and a SHA-256 hash."""

MAX_LEAF_BYTES: Final = 65_535
"""Longest leaf: what the two-byte length in an entry bundle can say (C2SP tlog-tiles, "Log entries")."""

SALT_BYTES: Final = 32

_OPAQUE_V1: Final = 0x01
_OBJECT: Final = ord("{")
_HASH_BYTES: Final = 32
_ACCOUNTING: Final = "accounting"
_PERSON: Final = "person"


@dataclass(frozen=True, slots=True)
class Opaque:
    """A leaf that commits to an entry; `commitment` has 32 bytes."""

    commitment: bytes


@dataclass(frozen=True, slots=True)
class Public:
    """A leaf in clear; `content` has at least `v`, `kind` and `time` (microseconds since 1970)."""

    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.content["kind"])

    @property
    def time(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        return int(self.content["time"])


def opaque(commitment: bytes) -> bytes:
    """The leaf with this commitment: 33 bytes."""
    if len(commitment) != _HASH_BYTES:
        raise Malformed(f"A commitment has {_HASH_BYTES} bytes, this one has {len(commitment)}.")
    return bytes([_OPAQUE_V1]) + commitment


def public(content: Mapping[str, Any]) -> bytes:
    """The leaf with this object in clear.

    Raises:
        Malformed: unknown kind, wrong members, or longer than `MAX_LEAF_BYTES`.
    """
    check_public(content)
    leaf = canonical.encode(dict(content))
    if len(leaf) > MAX_LEAF_BYTES:
        raise Malformed(f"A public leaf has {len(leaf)} bytes; {MAX_LEAF_BYTES} are the most.")
    return leaf


def parse(leaf: bytes) -> Opaque | Public:
    """What a leaf is.

    Raises:
        Malformed: it is of neither class.
    """
    if not leaf or len(leaf) > MAX_LEAF_BYTES:
        raise Malformed(f"A leaf has {len(leaf)} bytes.")
    if leaf[0] == _OPAQUE_V1:
        if len(leaf) != OPAQUE_BYTES:
            raise Malformed(f"An opaque leaf has {len(leaf)} bytes instead of {OPAQUE_BYTES}.")
        return Opaque(leaf[1:])
    if leaf[0] != _OBJECT:
        raise Malformed(f"A leaf begins with 0x{leaf[0]:02x}, which is no class of version 1.")
    content = canonical.decode(leaf)
    check_public(content)
    return Public(content)


def section_hash(name: str, salt: bytes, content: Mapping[str, Any]) -> bytes:
    """SHA-256("countenance/section/v1" || newline || name || newline || salt || canonical(content))."""
    if len(salt) != SALT_BYTES:
        raise Malformed(f"A salt has {SALT_BYTES} bytes, this one has {len(salt)}.")
    return sha256(b"countenance/section/v1\n" + name.encode() + b"\n" + salt + canonical.encode(dict(content))).digest()


def commitment(
    accounting: Mapping[str, Any], accounting_salt: bytes, person: Mapping[str, Any], person_salt: bytes
) -> bytes:
    """What an opaque leaf holds about an entry of these two sections: 32 bytes."""
    return _combined(section_hash(_ACCOUNTING, accounting_salt, accounting), section_hash(_PERSON, person_salt, person))


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens an opaque leaf. Treat its members as frozen, too.

    Attributes:
        accounting: what was done, for whom, at what price.
        person: what concerns persons; empty when nothing did, None when it was erased.
        person_salt: None when it was erased.
        person_hash: the hash of the erased section; None while it is there.

    Raises:
        Malformed: a section has wrong members, or salts and hash do not fit together.
    """

    accounting: Mapping[str, Any]
    accounting_salt: bytes
    person: Mapping[str, Any] | None
    person_salt: bytes | None
    person_hash: bytes | None = None

    def __post_init__(self) -> None:
        check_accounting(self.accounting)
        if len(self.accounting_salt) != SALT_BYTES:
            raise Malformed(f"The accounting section's salt does not have {SALT_BYTES} bytes.")
        if self.person is not None:
            check_person(self.person)
            if self.person_salt is None or len(self.person_salt) != SALT_BYTES or self.person_hash is not None:
                raise Malformed("A person section that is there needs its salt of 32 bytes, and no hash.")
        elif self.person_salt is not None or self.person_hash is None or len(self.person_hash) != _HASH_BYTES:
            raise Malformed("An erased person section needs its hash of 32 bytes, and no salt.")

    @classmethod
    def from_json(cls, value: bytes | str | Mapping[str, Any]) -> Opening:
        """Reads an opening: canonical JSON, or the object it encodes.

        Raises:
            Malformed: it is not one.
        """
        content = canonical.decode(value) if isinstance(value, (bytes, str)) else value
        if not isinstance(content, Mapping):
            raise Malformed("An opening is a JSON object.")
        whole = {"v", "accounting", "accounting_salt", "person", "person_salt"}
        erased = {"v", "accounting", "accounting_salt", "person_hash"}
        names = set(content)
        if names not in (whole, erased) or type(content["v"]) is not int or content["v"] != 1:
            raise Malformed(
                "An opening has v (1), accounting, accounting_salt, and person with person_salt or else person_hash."
            )
        salt = octets(content["accounting_salt"], "accounting_salt")
        if names == erased:
            return cls(content["accounting"], salt, None, None, octets(content["person_hash"], "person_hash"))
        if content["person"] is None:
            raise Malformed("An erased person section is left out; it is not null.")
        return cls(content["accounting"], salt, content["person"], octets(content["person_salt"], "person_salt"))

    def to_json(self) -> dict[str, Any]:
        """The object that `canonical.encode` takes."""
        content: dict[str, Any] = {
            "v": 1,
            "accounting": dict(self.accounting),
            "accounting_salt": self.accounting_salt.hex(),
        }
        if self.person is not None and self.person_salt is not None:
            content |= {"person": dict(self.person), "person_salt": self.person_salt.hex()}
        else:
            content["person_hash"] = self._person_section_hash().hex()
        return content

    def leaf(self) -> bytes:
        """The opaque leaf that this opens."""
        accounting = section_hash(_ACCOUNTING, self.accounting_salt, self.accounting)
        return opaque(_combined(accounting, self._person_section_hash()))

    def without_person(self) -> Opening:
        """The same entry with its person section erased; the leaf stays the same."""
        return Opening(self.accounting, self.accounting_salt, None, None, self._person_section_hash())

    def _person_section_hash(self) -> bytes:
        if self.person is not None and self.person_salt is not None:
            return section_hash(_PERSON, self.person_salt, self.person)
        if self.person_hash is None:  # __post_init__ saw to it
            raise Malformed("An opening has neither a person section nor its hash.")
        return self.person_hash


def make_opening(
    accounting: Mapping[str, Any],
    person: Mapping[str, Any] | None = None,
    *,
    random: Callable[[int], bytes] = os.urandom,
) -> Opening:
    """An entry's opening with fresh salts; without `person`, nothing in it concerns a person.

    Args:
        random: number of bytes -> that many random bytes.

    Raises:
        Malformed: a section has wrong members.
    """
    return Opening(accounting, random(SALT_BYTES), {} if person is None else person, random(SALT_BYTES))


def check_opening(opening: Opening, leaf: bytes) -> None:
    """Checks that this opening belongs to this leaf.

    Raises:
        Malformed: the leaf is none.
        Rejected: the leaf is public or commits to something else.
    """
    if isinstance(parse(leaf), Public):
        raise Rejected("The leaf is public; nothing opens it.")
    if opening.leaf() != leaf:
        raise Rejected("The opening does not belong to the leaf: the leaf commits to something else.")


def _combined(accounting_hash: bytes, person_hash: bytes) -> bytes:
    return sha256(b"countenance/leaf/v1\n" + accounting_hash + person_hash).digest()
