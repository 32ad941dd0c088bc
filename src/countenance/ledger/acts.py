"""What there should be by the log: acts and effects replayed, and how that differs from what there is.

Knows the operations that make, change and end things, and what their entries say of them; does not know tables. Keeps
what there is at a moment of the log and not its history, so that a log of any length is replayed in the memory that the
register and the collections take.

A thing is named by its kind and identifiers: ("account", id), ("party", account, version), ("key", id), ("bucket",
account, bucket), ("hold", account), ("collection", account, id).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from countenance.ledger.log import Log

Things = dict[tuple[str, ...], dict[str, int | str]]
"""Thing -> what entries say of it."""

RESTORED: Final = "backup.restore"
"""Entries that say what a restore lost or brought back; see `restoration`."""
REPLAYED: Final = "erasures.replay"
"""Entries that say how much an older database brought back and was erased again, by kind of erasure."""
LOST, BACK, CHANGED, CARRIED = "lost", "back", "changed", "carried over"
"""What they say of a thing: entries made it and it is gone; it is there without; it is there with other members; it
was gone and was put there again, as the entries have it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that entries and database do not agree about."""

    thing: tuple[str, ...]
    by_log: Mapping[str, int | str] | None
    """None: by the entries there is none."""
    there: Mapping[str, int | str] | None
    """None: the database has none."""
    was_carried: bool = False
    """It is there by now."""

    @property
    def state(self) -> str:
        """LOST, BACK, CHANGED or CARRIED."""
        if self.was_carried:
            return CARRIED
        return LOST if self.there is None else BACK if self.by_log is None else CHANGED

    def __str__(self) -> str:
        name = f"{self.thing[0]} {' '.join(self.thing[1:])}"
        if self.was_carried:
            return f"{name}: entries say that it is there, and it was put there again"
        if self.there is None:
            return f"{name}: entries say that it is there, and it is not"
        if self.by_log is None:
            return f"{name}: it is there, and no entry explains it"
        told = (
            f"{member} is {self.there.get(member)!r} and {value!r} by the entries"
            for member, value in sorted(self.by_log.items())
            if self.there.get(member) != value
        )
        return f"{name}: {', '.join(told)}"


class Replay:
    """Takes the accounting sections of a log in order."""

    def __init__(self) -> None:
        self.things: Things = {}
        self._party: dict[str, tuple[object, int, object]] = {}
        """Account -> its party's identifiers, since when (microseconds since 1970), and those before."""

    def take(self, said: Mapping[str, Any]) -> Iterator[str]:
        """Replays one entry; yields what is wrong with what it says of its account, for people."""
        if said["kind"] in ("act", "effect"):
            change = CHANGES.get(said["operation"])
            if change is not None:
                change(self.things, said)
            elif said["kind"] == "effect":
                _counted(self.things, said)
            if said["operation"] in ("account.create", "account.declare"):
                known = self._party.get(said["account"], ([], 0, []))
                self._party[said["account"]] = (said["party"], said["end"], known[0])
        yield from self._contradictions(said)

    def _contradictions(self, said: Mapping[str, Any]) -> Iterator[str]:
        if not said["access_key"]:
            return
        account = said["account"]
        now, since, before = self._party.get(account, ([], 0, []))
        if account in self._party and said["party"] != now and not (said["time"] <= since and said["party"] == before):
            yield f"its party is not the one that account {account} had declared"
        if said["kind"] != "call":
            return
        key = self.things.get(("key", said["access_key"]))
        named = {"account": account, "purpose": said["purpose"], "holder": said["holder"]}
        if key is not None and any(key[name] != value for name, value in named.items()):
            yield f"its account, holder or purpose is not that of the key {said['access_key']}"


def replayed(log: Log) -> Things:
    """What there should be by the entries of this log and of those that ended here."""
    replay = Replay()
    for said in log.storage.entries.changes():
        for _ in replay.take(said):
            pass  # for `fsck`, which names the leaf
    return replay.things


def differences(by_log: Things, there: Things) -> list[Difference]:
    """What entries and database do not agree about; members that entries say nothing of are not compared."""
    found = []
    for thing in sorted(by_log.keys() | there.keys()):
        said, has = by_log.get(thing), there.get(thing)
        if said is None or has is None or any(has.get(member) != value for member, value in said.items()):
            found.append(Difference(thing, said, has))
    return found


def _account(things: Things, said: Mapping[str, Any]) -> None:
    details = said["details"]
    members = {name: details[name] for name in ("name", "owner") if name in details}
    things["account", said["account"]] = members
    _party(things, said)


def _party(things: Things, said: Mapping[str, Any]) -> None:
    details = said["details"]
    if "party_sha256" in details:
        things["party", said["account"], str(details["party_version"])] = {"sha256": details["party_sha256"]}


def _key(things: Things, said: Mapping[str, Any]) -> None:
    details = said["details"]
    things["key", details["access_key_id"]] = {
        "account": said["account"],
        "purpose": details["purpose"],
        "holder": details["holder"],
        "revoked": 0,
    }


def _revoked(things: Things, said: Mapping[str, Any]) -> None:
    key = things.get(("key", said["details"]["access_key_id"]))
    if key is not None:
        key["revoked"] = 1


def _bucket(things: Things, said: Mapping[str, Any]) -> None:
    things["bucket", said["account"], said["details"]["bucket"]] = {}


def _no_bucket(things: Things, said: Mapping[str, Any]) -> None:
    things.pop(("bucket", said["account"], said["details"]["bucket"]), None)


def _hold(things: Things, said: Mapping[str, Any]) -> None:
    things.setdefault(("hold", said["account"]), {"reason": said["details"]["reason"]})


def _no_hold(things: Things, said: Mapping[str, Any]) -> None:
    things.pop(("hold", said["account"]), None)


def _collection(things: Things, said: Mapping[str, Any]) -> None:
    if "collection_id" in said["details"]:
        things["collection", said["account"], said["details"]["collection_id"]] = {"references": 0}


def _imported(things: Things, said: Mapping[str, Any]) -> None:
    details = said["details"]
    things["collection", said["account"], details["collection_id"]] = {"references": details["added"]}


def _no_collection(things: Things, said: Mapping[str, Any]) -> None:
    things.pop(("collection", said["account"], said["details"].get("collection_id", "")), None)


def _counted(things: Things, said: Mapping[str, Any]) -> None:
    details = said["details"]
    change = int(details.get("added", 0)) - int(details.get("removed", 0))
    if "collection_id" in details and change:
        counted = things.setdefault(("collection", said["account"], details["collection_id"]), {"references": 0})
        counted["references"] = int(counted["references"]) + change


def _restored(things: Things, said: Mapping[str, Any]) -> None:
    details = said["details"]
    if "thing" not in details:
        _counted(things, said)
        return
    thing = (str(details["thing"]), *str(details["id"]).split(" "))
    if details["state"] == LOST:
        things.pop(thing, None)
    else:
        things[thing] = {name[4:]: value for name, value in details.items() if name.startswith("has.")}


def of_restore(difference: Difference, reason: str) -> tuple[str, str, dict[str, int | str]]:
    """The entry that accounts for a difference after a restore: its kind, account and details."""
    kind, *identifiers = difference.thing
    has = {f"has.{name}": value for name, value in (difference.there or {}).items()}
    details: dict[str, int | str] = {"thing": kind, "id": " ".join(identifiers), "state": difference.state, **has}
    if kind == "collection":
        if difference.state == CHANGED:
            details = {}
        by_log, there = (int((each or {}).get("references", 0)) for each in (difference.by_log, difference.there))
        details |= {"collection_id": identifiers[1]}
        if there != by_log:
            details |= {"added": there - by_log} if there > by_log else {"removed": by_log - there}
        return "effect", identifiers[0], {**details, "reason": reason}
    members = difference.there or difference.by_log or {}
    account = str(members["account"]) if kind == "key" else identifiers[0]
    return "act", account, {**details, "reason": reason}


CHANGES: Final[Mapping[str, Callable[[Things, Mapping[str, Any]], None]]] = {
    "account.create": _account,
    "account.declare": _party,
    "key.create": _key,
    "key.revoke": _revoked,
    "bucket.grant": _bucket,
    "bucket.revoke": _no_bucket,
    "ledger.hold": _hold,
    "ledger.release": _no_hold,
    "CreateCollection": _collection,
    "DeleteCollection": _no_collection,
    "collection.import": _imported,
    "person.erase": _counted,
    "retention.expire": _counted,
    "collection.migrate": _counted,
    RESTORED: _restored,
}
"""What the operations do whose entries make or end things; other effects only add and remove references."""
