"""Makes the map of each day that ended, and revises those of past days when more is known of who stood behind whom.

Knows the log, its keys for maps and how a day's leaves become a map; what stands behind an account is told by `behind`.
A map holds what leaves say: identifiers of the entries themselves, and of the acts `period.attribute`, which name
whoever else was known to stand behind an account. Maps are revised, never replaced (PROOFS section 5).
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import orjson
from countenance_audit import periodmap, usage
from countenance_audit.errors import AuditError
from countenance_audit.leaf import Public as PublicLeaf
from countenance_audit.leaf import parse
from countenance_audit.members import check_accounting
from countenance_audit.periodmap import PeriodMap, Usage
from countenance_audit.periods import Head, Key, Root, heads_tree
from countenance_audit.usage import ATTRIBUTED, Attribution, Identifier, Row
from countenance_audit.vrf import KEY_BYTES, Secret

from countenance.ledger.entry import Opaque, Public, accounting
from countenance.ledger.log import Log
from countenance.ledger.periods.rows import PeriodError, Rows
from countenance.store import Database, Keyring

Behind = Callable[[str, str], Sequence[tuple[str, str, str]]]
"""(account, day) -> role, scheme and normal form of everybody who is known now to have stood behind it that day, beyond
those that its entries name. Legal entities only."""

_AAD: Final = b"countenance/period-key/v1"
_LOOKED_AT: Final = 16
"""Leaves read at once when one that says its time is looked for: most do."""
_SALT: Final = b"countenance/period-salt/v1\n"

_log = logging.getLogger(__name__)


class Periods:
    """The maps of one log. Safe to use from any thread; one of them at a time makes maps.

    Args:
        behind: None: nobody but those that entries name.
        refresh: says whether `behind` may tell more than when it was last asked.
    """

    def __init__(
        self,
        log: Log,
        database: Database,
        keyring: Keyring,
        *,
        behind: Behind | None = None,
        refresh: Callable[[], bool] = lambda: True,
    ) -> None:
        self.log = log
        self.rows = Rows(database, log.origin)
        self.behind = behind
        self._refresh = refresh
        self._keyring = keyring
        self._making = threading.RLock()
        self._secrets: dict[str, Secret] = {}
        self.roots: list[Root] = []
        """Every period root, in the order of the log."""
        self.keys: list[Key] = []
        self._heads: dict[str, Head] = {}
        self._root_at: dict[int, Root] = {}
        """By the index of its leaf."""
        self._taking = threading.Lock()
        self._read = -1
        self.follow()
        database.followers.append(self.follow)

    def follow(self) -> None:
        """Take in keys and roots that other processes wrote. Does not wait for a map that is being made."""
        size = self.log.size
        for index, leaf in self.rows.leaves_of_kind("vrf-key", self._read):
            content = _content(leaf)
            self._take_key(Key(index, content["time"], content["day"], content["key"]))
        for index, leaf in self.rows.leaves_of_kind("period-root", self._read):
            self._take(Root.of(index, _content(leaf)))
        self._read = size - 1

    def asking(self, behind: Behind, refresh: Callable[[], bool]) -> None:
        """Whom to ask from now on who stood behind accounts, for what is opened after the log."""
        with self._making:
            self.behind, self._refresh = behind, refresh

    # -- keys

    def begin(self) -> None:
        """Publish the first key, before the first entry of its first day: today in a log that has no entry yet, else
        tomorrow."""
        with self._making:
            if not self.keys:
                is_new = not any(leaf[:1] != b"{" for _, leaf, _ in self.rows.openings(0, self.log.size))
                today = usage.day_of(self.log.now_us())
                self._new_key(today if is_new else usage.next_day(today), "first")

    def rotate(self, *, lost: bool = False) -> str:
        """Have another key from tomorrow on; its public half, in hexadecimal.

        Raises:
            PeriodError: there is one already that begins tomorrow or later.
        """
        with self._making:
            tomorrow = usage.next_day(usage.day_of(max(self.log.now_us(), self.log.last_time)))
            if self.keys and self.keys[-1].day >= tomorrow:
                raise PeriodError(f"Another key begins on {self.keys[-1].day}.", hint="one key a day")
            return self._new_key(tomorrow, "loss" if lost else "rotation")

    def secret_of(self, day: str) -> Secret:
        """The secret of a day's key.

        Raises:
            PeriodError: there is none, or it is not the one whose public half the log has.
        """
        found = [each for each in self.keys if each.day <= day]
        if not found:
            raise PeriodError(f"The log had no key for maps on {day}.", hint="`countenance period list` shows its days")
        key = found[-1]
        if key.day not in self._secrets:
            wrapped = self.rows.secrets().get(key.day)
            if wrapped is None:
                raise PeriodError(f"The secret of the maps' key from {key.day} is lost.", hint="restore a newer backup")
            self._secrets[key.day] = Secret(self._keyring.unwrap(wrapped, aad=_AAD + key.day.encode()))
        secret = self._secrets[key.day]
        if secret.public.hex() != key.key:
            raise PeriodError(f"The secret of the maps' key from {key.day} is not that of the log.")
        return secret

    def salt(self, secret: Secret, key: bytes) -> bytes:
        """What hides the usage of a map's leaf: the same at every making, and nobody else's to know."""
        return hmac.digest(secret.seed, _SALT + key, "sha256")

    # -- what there is

    @property
    def newest(self) -> Root:
        """The newest root. Raises PeriodError while there is none."""
        if not self.roots:
            raise PeriodError(
                "No day of this log has ended yet, so nothing can be certified.",
                hint="the map of a day is made when the day (UTC) is over",
            )
        return self.roots[-1]

    @property
    def heads(self) -> list[Head]:
        """The latest revision of each day, in order."""
        return [self._heads[day] for day in sorted(self._heads)]

    def published(self, day: str, revision: int) -> bytes | None:
        """A map's file, once a published checkpoint covers its root."""
        size, _ = self.log.checkpoint()
        shown = any((each.day, each.revision) == (day, revision) and each.index < size for each in self.roots)
        return self.rows.file_of(day, revision) if shown else None

    def root_of(self, day: str) -> Root:
        """The latest root of a day. Raises PeriodError."""
        head = self._heads.get(day)
        if head is None:
            hint = "`countenance period list` shows the days that have one"
            if day >= usage.day_of(self.log.now_us()):
                hint = "the map of a day is made when the day (UTC) is over"
            elif self.keys and day < self.keys[0].day:
                hint = f"the maps of this log begin with {self.keys[0].day}"
            raise PeriodError(f"There is no map of {day}.", hint=hint)
        return self._root_at[head.index]

    def refresh(self) -> bool:
        """Look whether more may be known than at the last time of who stood behind accounts."""
        with self._making:
            return self._refresh()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """While no map is made: what is cut meanwhile is from one state of the maps."""
        with self._making:
            yield

    # -- making

    def close_due(self, stopping: Callable[[], bool] = lambda: False) -> list[Root]:
        """Make the map of every day that ended and has none, the oldest first.

        A day has ended when the log has a leaf of a later one: no leaf of it can come any more.
        """
        made = []
        with self._making:
            while self.keys and not stopping():
                day = usage.next_day(self.heads[-1].day) if self._heads else self.keys[0].day
                if self.log.last_time < usage.start_of(usage.next_day(day)):
                    break
                made.append(self._close(day))
        return made

    def revise(self, accounts: Iterable[str], stopping: Callable[[], bool] = lambda: False) -> list[Root]:
        """Look again who stood behind accounts on past days, and revise the maps of days on which more is known.

        A day of which openings are gone stays as it is: a revision would lose whom they are about.
        """
        made = []
        with self._making:
            days: dict[str, list[str]] = {}
            for account in sorted(set(accounts)):
                for on in self.rows.days_of(account):
                    if self.behind is not None and self.behind(account, on):
                        days.setdefault(on, []).append(account)
            for on in sorted(days):
                if stopping():
                    break
                root = self.root_of(on)
                if not self.rows.are_open(root.first, root.end):
                    _log.warning("the map of %s cannot be revised: openings of its leaves are gone", on)
                    continue
                rows, late = self.read(root.first, root.end, self.log.size)
                if self._attribute_missing(days[on], on, rows, late):
                    made.append(self._publish(on, root.revision + 1, root.first, root.end))
        return made

    def _attribute_missing(
        self, accounts: Iterable[str], on: str, rows: Sequence[Row], late: Sequence[Attribution]
    ) -> bool:
        """Writes for each account the act that says who else stood behind it that day; whether any was written."""
        if self.behind is None:
            return False
        known: dict[str, set[Identifier]] = {}
        for row in rows:
            known.setdefault(row.account, set()).update(row.keyed)
        for each in late:
            if each.first <= on <= each.last:
                known.setdefault(each.account, set()).update(each.keyed)
        wrote = False
        for account in accounts:
            named = known.get(account, set())
            more = [each for each in self.behind(account, on) if not usage.keyed(*each[1:]) <= named]
            if more:
                self._attribute(account, on, more)
                wrote = True
        return wrote

    def _attribute(self, account: str, on: str, party: Sequence[tuple[str, str, str]]) -> None:
        said = accounting(
            kind="act",
            time=self.log.now_us(),
            operation=ATTRIBUTED,
            request_id=str(uuid.uuid4()),
            account=account,
            party=party,
            details={"from": on, "until": on},
        )
        self.log.append(Opaque(said))

    def _close(self, day: str) -> Root:
        first = self._first_of(day)
        end = self._end_of(day, first)
        rows, late = self.read(first, end, self.log.size)
        self._attribute_missing(sorted({each.account for each in rows}), day, rows, late)
        return self._publish(day, 0, first, end)

    def _publish(self, day: str, revision: int, first: int, end: int) -> Root:
        known = self.log.size
        rows, late = self.read(first, end, known)
        used, totals = usage.tally(rows, late, day)
        secret = self.secret_of(day)
        made = PeriodMap.of(dict(self._leaf(secret, day, each, used[each]) for each in used))
        said = {
            "day": day,
            "revision": revision,
            "size": made.size,
            "root": made.root.hex(),
            "vrf_key": secret.public.hex(),
            "first": first,
            "end": end,
            "known": known,
            "calls": totals.calls,
            "units": totals.units,
            "amount": totals.amount,
            "currency": totals.currency,
        }
        keep = partial(self.rows.keep_map, day=day, revision=revision, made=made, usage=used)
        place = self.log.again(lambda: self.log.append(self._root(said), keep, once=True))
        (leaf,) = self.log.storage.leaves(place.index, place.index + 1)
        root = Root.of(place.index, _content(leaf))
        self._take(root)
        _log.info("the map of %s, revision %d: %d keys, %d calls", day, revision, made.size - 2, totals.calls)
        return root

    def _root(self, said: Mapping[str, Any]) -> Public:
        heads = {**self._heads, said["day"]: Head.of(-1, said)}
        ordered = [heads[each] for each in sorted(heads)]
        return Public(
            {
                "kind": "period-root",
                **said,
                "reason": "late-knowledge" if said["revision"] else "day-end",
                "previous": self.roots[-1].index if self.roots else None,
                "heads": {"first": ordered[0].day, "count": len(ordered), "root": heads_tree(ordered).hex()},
            }
        )

    def _leaf(self, secret: Secret, day: str, identifier: Identifier, used: Usage) -> tuple[bytes, bytes]:
        key = periodmap.key_of(secret.output(periodmap.alpha(self.log.origin, day, *identifier)))
        return key, used.commitment(self.salt(secret, key))

    def _first_of(self, day: str) -> int:
        """The first leaf of a day's range: where the day before ends, or the first leaf whose time is of the day."""
        if self._heads:
            return self.root_of(usage.next_day(day, -1)).end
        return self._end_of(usage.next_day(day, -1), 0)

    def _end_of(self, day: str, first: int) -> int:
        """The first leaf after a day, by times that never decrease."""
        limit = usage.start_of(usage.next_day(day))
        low, high = first, self.log.size
        while low < high:
            middle = (low + high) // 2
            at, time = self._next_timed(middle, high)
            if time < limit:
                low = at + 1
            else:
                high = middle
        return low

    def _next_timed(self, index: int, end: int) -> tuple[int, int]:
        """The first leaf from an index on that says when it was made, and when; beyond the last one, never."""
        for at, leaf, said in self.rows.openings(index, end, _LOOKED_AT):
            found = _time_of(leaf, said)
            if found is not None:
                return at, found
        return end, 1 << 62

    def read(self, first: int, end: int, known: int) -> tuple[list[Row], list[Attribution]]:
        """The counted entries of a range, and the attributions from its beginning up to what is known."""
        rows, late = [], []
        for index, leaf, said in self.rows.openings(first, known):
            if leaf[:1] == b"{":
                continue
            if said is None:
                if index < end:
                    _log.error("leaf %d has no opening: it is in no map, and an auditor will say so", index)
                continue
            if index >= end and ATTRIBUTED not in said:
                continue  # of a later day, and no late knowledge: it need not be read
            try:
                entry = orjson.loads(said)
                check_accounting(entry)
                row = usage.row(index, entry) if index < end else None
                more = usage.attribution(index, entry)
            except (AuditError, ValueError) as error:
                _log.error("the opening of leaf %d cannot be read, and is in no map: %s", index, error)
                continue
            if row is not None:
                rows.append(row)
            if more is not None:
                late.append(more)
        return rows, late

    def _new_key(self, day: str, reason: str) -> str:
        secret = Secret(secrets.token_bytes(KEY_BYTES))
        wrapped = self._keyring.wrap(secret.seed, aad=_AAD + day.encode())
        content = {"kind": "vrf-key", "day": day, "key": secret.public.hex(), "reason": reason}
        place = self.log.append(Public(content), partial(self.rows.keep_secret, day=day, wrapped=wrapped))
        self._take_key(Key(place.index, place.time, day, secret.public.hex()))
        return secret.public.hex()

    def _take_key(self, key: Key) -> None:
        with self._taking:
            if not self.keys or key.index > self.keys[-1].index:
                self.keys.append(key)

    def _take(self, root: Root) -> None:
        with self._taking:
            if root.index in self._root_at:
                return
            self.roots.append(root)
            self._root_at[root.index] = root
            self._heads[root.day] = root.head


def _content(leaf: bytes) -> dict[str, Any]:
    found = parse(leaf)
    assert isinstance(found, PublicLeaf)  # it was looked for by its kind
    return dict(found.content)


def _time_of(leaf: bytes, said: str | None) -> int | None:
    try:
        if leaf[:1] == b"{":
            return int(_content(leaf)["time"])
        return None if said is None else int(orjson.loads(said)["end"])
    except (AuditError, ValueError, KeyError, TypeError):
        return None
