"""What becomes a leaf: entries on their way into the log.

Knows the members of an entry's two sections (docs/reference/leaf.md) and how an effect's record in the store becomes
one. Does not know the tree, where openings are kept, or what a face is. An entry is finished (time, leaf) in the
writer thread, in the transaction that gives it its place, so that the order of times is the order of leaves. All that
needs no time is done before, in the thread that asks: every change of the server waits for the writer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson
from countenance_audit.canonical import MAX_INTEGER
from countenance_audit.errors import Malformed
from countenance_audit.leaf import SALT_BYTES, image_commitment, opaque, public

from countenance.errors import Error
from countenance.store import Entry

SALTS_BYTES: Final = 2 * SALT_BYTES
"""Of an opaque entry: one salt for each section."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class NotRecordable(Error):
    """Something in an entry cannot be in a leaf, so that what it is about is not done."""

    def __init__(self, why: object) -> None:
        super().__init__(
            f"This cannot be recorded in the log, and was not done: {why}",
            hint="texts are valid Unicode, numbers whole and below 2^53, a public leaf has at most 65,535 bytes",
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry came to lie."""

    index: int
    leaf_hash: bytes
    time: int
    """Microseconds since 1970: the entry's `end`, or a public leaf's `time`."""


class OpeningRow(NamedTuple):
    """What opens a leaf, as it is stored."""

    request_id: str
    accounting: str
    accounting_salt: bytes
    person: str
    person_salt: bytes
    account_of_act: str | None
    """The account when it is of an act, which is looked for by it; else None."""


@dataclass(slots=True)
class Opaque:
    """An entry whose leaf is a commitment.

    Attributes:
        accounting: every member of the accounting section but `end`.
        person: the person section; empty when nothing in it concerns a person.
        place: set when it was sequenced.
    """

    accounting: dict[str, Any]
    person: Mapping[str, Any] = field(default_factory=dict)
    usage: tuple[str, str, str, int] | None = None
    """Account, price group, UTC month and units, for a call that was charged."""
    price: Callable[[int], int] | None = None
    """What its units cost after so many of the same month, where other processes charge, too."""
    already: int | None = None
    """How many units of the month came before it, once it was sequenced where others charge, too."""
    place: Place | None = None
    _draft: _Draft | None = field(default=None, init=False, repr=False, compare=False)

    def prepare(self) -> None:
        """Encode what will be said, before it has a time. The sections must not change from then on.

        Raises:
            NotRecordable: a section has no canonical encoding.
        """
        if self._draft is None:
            try:
                self._draft = _drafted(self.accounting, self.person)
            except orjson.JSONEncodeError as error:
                raise NotRecordable(error) from None

    def charge(self, already: int) -> None:
        """Say what it costs after so many units of the month."""
        assert self.price is not None
        self.already, amount = already, self.price(already)
        if amount != self.accounting["amount"]:
            self.accounting["amount"], self._draft = amount, None
            self.prepare()

    def finish(self, time: int, salts: bytes | None = None) -> tuple[bytes, OpeningRow]:
        """The leaf and its opening, made at `time` (microseconds since 1970).

        Args:
            salts: `SALTS_BYTES` random bytes for this entry alone; None: they are drawn here.
        """
        draft = self._draft or _drafted(self.accounting, self.person)
        drawn = os.urandom(SALTS_BYTES) if salts is None else salts
        said_salt, person_salt = drawn[:SALT_BYTES], drawn[SALT_BYTES:]
        said = b"%b%d%b" % (draft.before, time, draft.after)
        combined = _section(b"accounting", said_salt, said) + _section(b"person", person_salt, draft.person)
        leaf = opaque(sha256(b"countenance/leaf/v1\n" + combined).digest())
        return leaf, OpeningRow(
            draft.request_id, said.decode(), said_salt, draft.person.decode(), person_salt, draft.account_of_act
        )


class _Draft(NamedTuple):
    """An entry but for its time: the encoded accounting section up to the value of `end`, and what follows it."""

    request_id: str
    before: bytes
    after: bytes
    person: bytes
    account_of_act: str | None


def _drafted(accounting: Mapping[str, Any], person: Mapping[str, Any]) -> _Draft:
    # Not `make_opening`: it checks every member and encodes in pure Python, 0.2 ms against 0.02. That the bytes are
    # the same is tested; `ledger fsck` checks them again.
    first = canonical_bytes({name: value for name, value in accounting.items() if name < "end"})[:-1]
    rest = canonical_bytes({name: value for name, value in accounting.items() if name > "end"})[1:]
    return _Draft(
        request_id=accounting["request_id"],
        before=first + (b',"end":' if len(first) > 1 else b'"end":'),
        after=b"," + rest if len(rest) > 1 else rest,
        person=canonical_bytes(person),
        account_of_act=account_of_act(accounting),
    )


@dataclass(slots=True)
class Public:
    """An entry that is a leaf in clear: every member but `v` and `time`."""

    content: dict[str, Any]
    place: Place | None = None

    def prepare(self) -> None:
        """Look whether it can be a leaf, whatever its time. Raises NotRecordable when it cannot."""
        try:
            public({"v": 1, **self.content, "time": MAX_INTEGER})
        except Malformed as error:
            raise NotRecordable(error) from None

    def finish(self, time: int, salts: bytes | None = None) -> tuple[bytes, None]:
        """The leaf, made at `time`; nothing in it is salted."""
        return public({"v": 1, **self.content, "time": time}), None


def account_of_act(accounting: Mapping[str, Any]) -> str | None:
    """The account that an act is about; None for what is no act."""
    return str(accounting["account"]) if accounting.get("kind") == "act" else None


def canonical_bytes(section: Mapping[str, Any]) -> bytes:
    """The canonical encoding of a section of ours: the members' names are ASCII and there are no floats in it, so that
    orjson's order and escapes are those of RFC 8785."""
    return orjson.dumps(section, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)


def _section(name: bytes, salt: bytes, encoded: bytes) -> bytes:
    return sha256(b"countenance/section/v1\n" + name + b"\n" + salt + encoded).digest()


def microseconds(moment: datetime) -> int:
    """An aware time as leaves have it."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def accounting(
    *,
    kind: str,
    time: int,
    operation: str,
    request_id: str,
    account: str = "",
    access_key: str = "",
    holder: str = "",
    party: Sequence[tuple[str, str, str]] = (),
    purpose: str = "",
    code: str = "OK",
    status: int = 200,
    units: int = 0,
    amount: int = 0,
    currency: str = "USD",
    price: str = "",
    request: str | None = None,
    response: str | None = None,
    reference_database: Mapping[str, Any] | None = None,
    decision: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
    count: int = 1,
) -> dict[str, Any]:
    """The accounting section of an entry, without `end`; the members are those of docs/reference/leaf.md.

    Args:
        party: role, scheme and identifier of each.
    """
    return {
        "kind": kind,
        "time": time,
        "account": account,
        "access_key": access_key,
        "holder": holder,
        "party": [{"role": role, "scheme": scheme, "value": value} for role, scheme, value in party],
        "purpose": purpose,
        "operation": operation,
        "request_id": request_id,
        "code": code,
        "status": status,
        "units": units,
        "amount": amount,
        "currency": currency,
        "price": price,
        "request": request,
        "response": response,
        "reference_database": dict(reference_database) if reference_database is not None else None,
        "verified_by": None,
        "decision": dict(decision) if decision is not None else None,
        "details": dict(details or {}),
        "count": count,
    }


def person(
    *,
    images: Sequence[bytes] = (),
    face_ids: Sequence[str] = (),
    external_image_ids: Sequence[str] = (),
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """The person section; empty when there is nothing to say.

    Args:
        images: SHA-256 of each image.
    """
    if not (images or face_ids or external_image_ids or names):
        return {}
    committed = []
    for digest in images:
        salt = os.urandom(SALT_BYTES)
        commitment = image_commitment(salt, digest)
        committed.append({"sha256": digest.hex(), "salt": salt.hex(), "commitment": commitment.hex()})
    return {
        "images": committed,
        "face_ids": list(face_ids),
        "external_image_ids": list(external_image_ids),
        "names": list(names),
    }


def of_effect(record: Entry) -> Opaque:
    """The entry of a change, from what its operation committed with it."""
    return Opaque(
        accounting(
            kind="effect" if record.access_key_id else "act",
            time=microseconds(record.at),
            operation=record.operation,
            request_id=record.request_id,
            account=record.account_id,
            access_key=record.access_key_id,
            holder=record.holder,
            party=record.party,
            purpose=record.purpose,
            details=record.details,
        ),
        person(names=record.names),
    )
