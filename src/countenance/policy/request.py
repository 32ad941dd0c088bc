"""What a policy is told about one call: who asks, what for, and what it acts on.

Values only, each of one type and all of them required: what is not known has a value that says so ("" or -1), since a
member that is left out would make a policy that needs it fall away (docs/concepts/policy.md, "The trap"). The same
members are in `schema.cedarschema`; that they agree is tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, Final

import orjson

SERVICE_ID: Final = "service"
"""The one resource of calls that act on no collection."""
UNKNOWN: Final = -1
"""Of a number that is not known or does not apply."""
THOUSANDTHS: Final = 1_000
"""Similarities are told as whole numbers of thousandths: Cedar has no fractions that compare."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks.

    Attributes:
        id: 12 digits.
        owner: the operator's own account.
        standing: "cleared", or "pending" for everything else: entries keep what is told here, and whoever may fetch
            their own must not learn from them that they were found on a list.
        sector: as an operator verified it; "" while nobody has.
        jurisdiction: ISO 3166-1 alpha-2 of its party; "" while undeclared.
        end_user_sectors: verified sectors of those whom it serves as a reseller.
    """

    id: str
    owner: bool
    standing: str
    sector: str
    jurisdiction: str
    end_user_sectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Collection:
    """What is acted on.

    Attributes:
        id: account and collection, "/" between them.
        tags: "name=value" of each.
        sensitivity, legal_basis, dpia: as its tags say; "" when they do not.
        retention_days: UNKNOWN when none is set.
    """

    id: str
    tags: tuple[str, ...] = ()
    sensitivity: str = ""
    legal_basis: str = ""
    dpia: str = ""
    retention_days: int = UNKNOWN


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked for.

    Attributes:
        purpose: of the access key.
        approvals: distinct operators who approved this very call.
        authorisation: reference of an authority's authorisation in force; "" without one.
        consent: a release is on record for whom the call enrols.
        references: enrolled in the collection, before the call; 0 without one.
        threshold: similarity asked for, in thousandths; UNKNOWN when the operation has none.
        emotions: the call asks for emotions.
        real_time: the purpose is identification as people pass by.
        time: seconds since 1970.
    """

    purpose: str
    time: int
    approvals: int = 0
    authorisation: str = ""
    consent: bool = False
    references: int = 0
    threshold: int = UNKNOWN
    emotions: bool = False
    real_time: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One question.

    Attributes:
        action: the operation's name.
        collection: None for what acts on none.
    """

    account: Account
    action: str
    collection: Collection | None
    call: Call

    def question(self) -> dict[str, Any]:
        """As Cedar takes it."""
        kind, resource = ("Service", SERVICE_ID) if self.collection is None else ("Collection", self.collection.id)
        return {
            "principal": {"type": "Account", "id": self.account.id},
            "action": {"type": "Action", "id": self.action},
            "resource": {"type": kind, "id": resource},
            "context": members(self.call),
        }

    def entities(self) -> list[dict[str, Any]]:
        """Account and resource with their attributes, as Cedar takes them."""
        resource: dict[str, Any] = {"uid": {"type": "Service", "id": SERVICE_ID}, "attrs": {}, "parents": []}
        if self.collection is not None:
            resource = _entity("Collection", self.collection)
        return [_entity("Account", self.account), resource]

    def digest(self) -> str:
        """SHA-256 of the question and of the entities, in hexadecimal: what the log keeps of them."""
        return sha256(orjson.dumps([self.question(), self.entities()], option=orjson.OPT_SORT_KEYS)).hexdigest()


def _entity(kind: str, of: Account | Collection) -> dict[str, Any]:
    return {"uid": {"type": kind, "id": of.id}, "attrs": members(of), "parents": []}


def members(of: Account | Collection | Call) -> dict[str, Any]:
    """The attributes of one of them."""
    found = {name: getattr(of, name) for name in _NAMES[type(of)]}
    return {name: list(value) if type(value) is tuple else value for name, value in found.items()}


_NAMES: Final = {
    kind: tuple(each.name for each in fields(kind) if each.name != "id") for kind in (Account, Collection, Call)
}


def from_json(said: Mapping[str, Any]) -> Request:
    """A request from what `to_json` makes, or a person wrote as a test case.

    Raises:
        ValueError: a member is missing, unknown or of another type.
    """
    account, call, collection = said.get("account"), said.get("call"), said.get("collection")
    if set(said) - {"account", "action", "call", "collection"} or not isinstance(said.get("action"), str):
        raise ValueError("a request has account, action, call, and collection or none")
    return Request(
        _built(Account, account),
        said["action"],
        None if collection is None else _built(Collection, collection),
        _built(Call, call),
    )


def to_json(request: Request) -> dict[str, Any]:
    """A request as canonical JSON takes it; what goes without saying is left out, and `from_json` puts it back."""
    said: dict[str, Any] = {
        "account": {"id": request.account.id, **_said(request.account)},
        "action": request.action,
        "call": _said(request.call),
    }
    if request.collection is not None:
        said["collection"] = {"id": request.collection.id, **_said(request.collection)}
    return said


def _said(of: Account | Collection | Call) -> dict[str, Any]:
    defaults = {each.name: each.default for each in fields(of)}
    return {name: value for name, value in members(of).items() if getattr(of, name) != defaults[name]}


_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {"bool": bool, "int": int, "str": str}


def _built(kind: Any, said: object) -> Any:
    if not isinstance(said, Mapping):
        raise ValueError(f"there is no {kind.__name__.lower()}")
    known = {each.name: each for each in fields(kind)}
    if unknown := set(said) - set(known):
        raise ValueError(f"{kind.__name__.lower()} has no member {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {}
    for name, value in said.items():
        wanted = str(known[name].type)
        if wanted.startswith("tuple"):
            if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
                raise ValueError(f"{name} is a list of texts")
            values[name] = tuple(value)
        else:
            if type(value) is not _TYPES[wanted]:
                raise ValueError(f"{name} is of type {wanted}")
            values[name] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


__all__ = ["THOUSANDTHS", "UNKNOWN", "Account", "Call", "Collection", "Request", "from_json", "to_json"]
