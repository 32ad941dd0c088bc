"""Denied calls that two operators can approve: what such a call is, to the last parameter.

An approval is for one call: of an account, with a key of a purpose, an operation and all of its parameters, images by
their hashes. Whatever differs is another call. An image in a bucket counts only by its version: under its name somebody
can put another one.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from countenance.policy.waiting import Waiting as Rows

AWAITED: Final = 1_000
"""Calls that wait, of all accounts: who is denied and was pushed out asks again."""
OF_ACCOUNT: Final = 50
"""Of one account: it pushes out its own before it can push out others'."""
_DIGITS: Final = 32
"""Of the id: 128 bits."""
_IMAGES: Final = ("Image", "SourceImage", "TargetImage")


@dataclass(frozen=True, slots=True)
class Awaited:
    """A call that was denied and that two operators can approve.

    Attributes:
        image: SHA-256 in hexadecimal, where it lies, or the face that is searched with; for people.
        asked: SHA-256 of all of the call's parameters, and of headers that change what it does.
    """

    account: str
    operation: str
    collection: str
    image: str
    purpose: str
    asked: str

    def details(self) -> dict[str, int | str]:
        """What two operators approve."""
        said = {"operation": self.operation, "collection": self.collection, "image": self.image}
        return {"approval": self.id, **said, "purpose": self.purpose, "asked": self.asked}

    @property
    def id(self) -> str:
        """What the caller is told."""
        whole = [self.account, self.operation, self.collection, self.image, self.purpose, self.asked]
        return sha256(b"countenance/approval/v2\n" + json.dumps(whole).encode()).hexdigest()[:_DIGITS]

    @classmethod
    def of_act(cls, account: str, said: Mapping[str, int | str]) -> Awaited:
        """What an act approves, as it says."""
        names = ("operation", "collection", "image", "purpose", "asked")
        return cls(account, *(str(said.get(name, "")) for name in names))


def awaited_of(
    account: str, purpose: str, operation: str, collection: str, params: Mapping[str, Any], headers: Mapping[str, str]
) -> Awaited | None:
    """The call, as it can be approved; None for one whose image can be another by then."""
    images = [params[name] for name in _IMAGES if isinstance(params.get(name), Mapping)]
    if any("Bytes" not in each and not (each.get("S3Object") or {}).get("Version") for each in images):
        return None
    said = json.dumps([_plain(params), dict(sorted(headers.items()))], sort_keys=True, ensure_ascii=True)
    return Awaited(account, operation, collection, _shown(images, params), purpose, sha256(said.encode()).hexdigest())


class Waiting:
    """The calls that wait, the latest last. One thread at a time.

    Args:
        rows: where they are kept when other processes answer calls, too; None keeps them in memory.
    """

    def __init__(self, rows: Rows | None = None) -> None:
        self._calls: OrderedDict[str, Awaited] = OrderedDict()
        self._rows = rows

    def add(self, call: Awaited) -> None:
        """Remember one."""
        if self._rows is not None:
            self._rows.keep(call.id, call.account, json.dumps(call.details(), sort_keys=True))
            return
        self._calls[call.id] = call
        self._calls.move_to_end(call.id)
        own = [each.id for each in self._calls.values() if each.account == call.account]
        for id_ in own[: max(0, len(own) - OF_ACCOUNT)]:
            del self._calls[id_]
        while len(self._calls) > AWAITED:
            self._calls.popitem(last=False)

    def all(self) -> list[Awaited]:
        """All of them."""
        if self._rows is not None:
            return [Awaited.of_act(account, json.loads(told)) for account, told in self._rows.all()]
        return list(self._calls.values())


def _shown(images: list[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    found = []
    for each in images:
        if "Bytes" in each:
            found.append(sha256(each["Bytes"]).hexdigest())
        else:
            lies = each["S3Object"]
            found.append("s3://" + "/".join(str(lies.get(name, "")) for name in ("Bucket", "Name", "Version")))
    return " ".join(found) or str(params.get("FaceId", ""))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return {"sha256": sha256(value).hexdigest()} if isinstance(value, bytes) else value
