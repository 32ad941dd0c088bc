"""Whether the log is what its own leaves say: every leaf, opening, tile and checkpoint looked at once.

Knows the formats and the rows; repairs nothing. What an operator who forges all of it together could hide is for
witnesses and auditors to find; this finds damage, half restores and edits by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from countenance_audit.checkpoint import Checkpoint
from countenance_audit.errors import AuditError
from countenance_audit.leaf import Opaque, Opening, Public, check_opening, parse
from countenance_audit.merkle import Frontier, leaf_hash
from countenance_audit.note import SignedNote, VerifierKey

from countenance.errors import Error
from countenance.ledger.acts import REPLAYED, Replay, Things
from countenance.ledger.entry import account_of_act
from countenance.ledger.expiry import ACCOUNTING
from countenance.ledger.keys import CLOSING, LOST, RETIRED, SIGNING, Keys, LogKey, states
from countenance.ledger.log import Log
from countenance.ledger.storage import ClosedLog, Storage
from countenance.ledger.tree import HEIGHT, WIDTH, Tree

PORTION: Final = 16 * WIDTH
"""Leaves read at a time: a few megabytes with their openings."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was looked at and found."""

    leaves: int
    openings: int
    references: int
    """References that the galleries should hold by the log: enrolled minus deleted."""
    samples: int
    """Samples that should be kept by the log: kept minus erased."""
    problems: list[str]
    lost: int = 0
    """Openings that a recovery could not bring back, as its entry says."""
    things: Things = field(default_factory=dict)
    """What there should be by the entries: see `acts`."""
    was_recovered: bool = False
    """Entries of this log or of one that ended here were lost, as leaves say."""


def examine(log: Log, size: int | None = None) -> Examined:
    """Look at everything, logs that ended here first. Others may go on writing behind what it looks at.

    Args:
        size: how many leaves of the present log to look at; None: those there are.
    """
    size = log.size if size is None else size
    found = _Examination()
    for ended in log.storage.closed():
        rows = log.storage.of_closed(ended)
        told = found.within(f"log {ended.origin}: ")
        tree = told.walk(rows, rows.last_size())
        if tree is not None:
            told.compare_end(rows, tree, ended)
            told.compare_checkpoint(rows, tree, log.keys)
            told.compare_keys(log.keys.of(rows).known)
        found.expired_by_leaves += told.expired()
        found.endings.append(ended)
    told = found.within("")
    tree = told.walk(log.storage, size)
    if tree is None:
        return found.result(size)
    since = log.storage.since(size)
    for leaf in since.public:
        told.take_public(tree.size, leaf)
    found.expired_by_leaves += told.expired()
    told.compare_checkpoint(log.storage, tree, log.keys, log)
    told.compare_keys(log.keys.of(log.storage, since.keys).known)
    told.compare_endings(found.endings)
    if since.expired != found.expired_by_leaves:
        by_leaves = found.expired_by_leaves
        found.problems.append(f"{since.expired} openings were erased after their floor; entries tell of {by_leaves}")
    if not found.was_recovered:  # or an act that explains it may be among those lost
        found.problems += found.contradictions
    return found.result(size)


class _Examination:
    """What was found so far, of all logs here."""

    def __init__(self) -> None:
        self.replay = Replay()
        self.problems: list[str] = []
        self.contradictions: list[str] = []
        self.endings: list[ClosedLog] = []
        self.opened = self.references = self.samples = self.lost = 0
        self.expired_by_leaves = 0
        self.was_recovered = False
        self.public_of_others: list[Mapping[str, Any]] = []

    def within(self, name: str) -> _OfLog:
        return _OfLog(self, name)

    def result(self, size: int) -> Examined:
        return Examined(
            size,
            self.opened,
            self.references,
            self.samples,
            self.problems,
            self.lost,
            self.replay.things,
            self.was_recovered,
        )


class _OfLog:
    """What was found of one log."""

    def __init__(self, whole: _Examination, name: str) -> None:
        self._whole = whole
        self._name = name
        self._missing: list[tuple[int, int]] = []
        """Runs of opaque leaves without an opening: first, and the index after the last."""
        self._recoveries: list[Mapping[str, Any]] = []
        self._public: list[tuple[int, Mapping[str, Any]]] = []
        """Indices and contents of the leaves about keys and about logs that ended."""
        self._expiries: list[tuple[int, int]] = []
        """Indices of the entries that tell of openings erased after their floor, and of how many."""
        self._last_time = 0

    def walk(self, rows: Storage, size: int) -> Tree | None:
        """Look at each leaf and its opening; None when leaves are missing, so that there is no tree."""
        frontier, tree = Frontier(), Tree()
        for start in range(0, size, PORTION):
            end = min(start + PORTION, size)
            try:
                leaves = rows.leaves(start, end)
            except Error as error:
                self._say(error.message)
                return None
            openings: dict[int, Opening] = {}
            try:
                openings = dict(rows.openings(start, end))
            except AuditError as error:
                self._say(f"openings from {start} to {end - 1}: {error}")
            expired = rows.expired(start, end)  # after the openings: what is erased meanwhile was seen with them
            acts = rows.acts(start, end)
            for index, opening in openings.items():
                if account_of_act(opening.accounting) is not None and index not in acts:
                    self._say(f"leaf {index}: it is an act, and the index of acts lacks it")
            hashes = [leaf_hash(leaf) for leaf in leaves]
            for hashed in hashes:
                frontier.append(hashed)
            tree, tiles = tree.extended(hashes)
            for problem in _other_tiles(rows, tiles):
                self._say(problem)
            for index, leaf in enumerate(leaves, start):
                self._look(index, leaf, openings.pop(index, None), is_expired=index in expired)
            for index in openings:
                self._say(f"opening {index}: there is no such opaque leaf")
        self._count_missing()
        if size and tree.root(size, rows.tile) != frontier.root():
            self._say("the tiles have another root than the leaves")
        return tree

    def _look(self, index: int, leaf: bytes, opening: Opening | None, *, is_expired: bool) -> None:
        whole = self._whole
        try:
            found = parse(leaf)
            if isinstance(found, Opaque):
                if opening is None:
                    if not is_expired:
                        self._miss(index)
                    return
                check_opening(opening, leaf)
                whole.opened += 1
                whole.references += _change(opening.accounting)
                for each in whole.replay.take(opening.accounting):
                    whole.contradictions.append(f"{self._name}leaf {index}: {each}")
                whole.samples += opening.accounting["details"].get("sample") == "kept"
                if opening.accounting["kind"] == "act" and opening.accounting["operation"] == REPLAYED:
                    self._expiries.append((index, int(opening.accounting["details"].get(ACCOUNTING, 0))))
                moment = int(opening.accounting["end"])
            else:
                moment = found.time
                self.take_public(index, leaf)
                if found.kind == "retention" and found.content["class"] == "sample":
                    whole.samples -= found.content["count"]
            if moment < self._last_time:
                self._say(f"leaf {index}: its time is before that of the leaf before it")
            self._last_time = max(self._last_time, moment)
        except AuditError as error:
            self._say(f"leaf {index}: {error}")

    def take_public(self, index: int, leaf: bytes) -> None:
        """Take account of what a public leaf says about the log itself."""
        found = parse(leaf)
        if not isinstance(found, Public):
            return
        if found.kind == "retention" and found.content["class"] == ACCOUNTING:
            self._expiries.append((index, int(found.content["count"])))
        elif found.kind == "recovery":
            self._recoveries.append(found.content)
            self._whole.was_recovered = True
        elif found.kind in ("key", "discontinuity"):
            self._public.append((index, found.content))

    def expired(self) -> int:
        """Openings erased after their floor by this log's entries. What an entry tells that a recovery put back was
        not done to these rows; an older database that brought openings back had them erased again, by an entry of its
        own."""
        return sum(
            count
            for index, count in self._expiries
            if not any(each["first"] <= index < each["size"] for each in self._recoveries)
        )

    def compare_checkpoint(self, rows: Storage, tree: Tree, keys: Keys, log: Log | None = None) -> None:
        """Whether the latest checkpoint is one of this log, signed by a key of it."""
        note = rows.latest_checkpoint()
        if note is None:
            return
        try:
            seen = keys.of(rows).open(note)
            if seen.size <= tree.size:
                is_same = tree.root(seen.size, rows.tile) == seen.root
            else:  # there may be more leaves by now than were looked at
                is_same = log is not None and seen.size <= log.size and log.root(seen.size) == seen.root
            if not is_same:
                self._say(f"the checkpoint over {seen.size} leaves is not one of this log")
            if seen.size <= tree.size:
                self._compare_signers(seen, note)
        except (AuditError, Error) as error:
            self._say(f"the latest checkpoint: {error}")

    def _compare_signers(self, seen: Checkpoint, note: bytes) -> None:
        """Whether just those keys signed a checkpoint that sign by the leaves under it."""
        told = states(content for index, content in self._public if index < seen.size)
        ids = {VerifierKey.parse(key).key_id: state for key, state in told.items()}
        for each in SignedNote.parse(note).signatures:
            state = ids.get(each.key_id)
            if ids and each.name == seen.origin and state not in (SIGNING, CLOSING):
                self._say(
                    f"the checkpoint over {seen.size} leaves is signed by the key {each.key_id.hex()}, "
                    f"which is {state or 'unknown'} by these leaves"
                )

    def compare_keys(self, known: Sequence[LogKey]) -> None:
        """Whether the rows of the keys have the states that leaves put them in."""
        told = states(content for _, content in self._public)
        has = {str(key.verifier): key.row_state for key in known}
        for key in told.keys() | has.keys():
            said, state = told.get(key), has.get(key)
            if state is None and said in (LOST, RETIRED):
                continue  # its seed was lost, and a recovery went on with another
            if said != state:
                self._say(f"key {key}: it is {state or 'not there'}, and by the leaves {said or 'never was'}")

    def compare_end(self, rows: Storage, tree: Tree, ended: ClosedLog) -> None:
        """Whether a log that ended is what is said of its end."""
        if ended.size > tree.size:
            self._whole.was_recovered = True  # it ended because leaves of it were lost
        elif tree.root(ended.size, rows.tile) != ended.root:
            self._say(f"its first {ended.size} leaves are not those that it ended with")
        self._whole.public_of_others += (content for _, content in self._public)

    def compare_endings(self, endings: Sequence[ClosedLog]) -> None:
        """Whether a leaf of a later log names each that ended."""
        told = [
            (each["previous_origin"], each["previous_size"], each["previous_root"])
            for each in (*self._whole.public_of_others, *(content for _, content in self._public))
            if each["kind"] == "discontinuity"
        ]
        for ended in endings:
            if (ended.origin, ended.size, ended.root.hex()) not in told:
                self._say(f"log {ended.origin}: no leaf says that it ended with {ended.size} leaves")

    def _miss(self, index: int) -> None:
        if self._missing and self._missing[-1][1] == index:
            self._missing[-1] = (self._missing[-1][0], index + 1)
        else:
            self._missing.append((index, index + 1))

    def _count_missing(self) -> None:
        """Openings that are missing, by whether a recovery tells that they were lost."""
        for number, said in enumerate(self._recoveries):
            after = self._recoveries[number + 1 :]
            lost = sum(
                _uncovered(max(first, said["first"]), min(end, said["size"]), after) for first, end in self._missing
            )
            is_latest = all(later["first"] >= said["size"] or later["size"] <= said["first"] for later in after)
            # A later recovery over the same leaves tells of them itself, and may have brought some of them back.
            if lost > said["lost"] or (is_latest and lost < said["lost"]):
                self._say(
                    f"{lost} openings from {said['first']} to {said['size'] - 1} are missing; the recovery told of "
                    f"{said['lost']}"
                )
        for first, end in self._missing:
            for index in range(first, end):
                if any(said["first"] <= index < said["size"] for said in self._recoveries):
                    self._whole.lost += 1
                else:
                    self._say(f"leaf {index}: its opening is missing")

    def _say(self, problem: str) -> None:
        self._whole.problems.append(self._name + problem)


def _uncovered(first: int, end: int, recoveries: Sequence[Mapping[str, Any]]) -> int:
    """How many indices from `first` to below `end` no recovery tells of."""
    within = [(max(first, each["first"]), min(end, each["size"])) for each in recoveries]
    count, at = 0, first
    for start, stop in sorted((start, stop) for start, stop in within if start < stop):
        count += max(0, start - at)
        at = max(at, stop)
    return count + max(0, end - at)


def _change(accounting: Mapping[str, Any]) -> int:
    details = accounting["details"]
    is_change = accounting["kind"] == "effect" or (accounting["kind"] == "act" and "collection_id" in details)
    if not is_change:
        return 0
    return int(details.get("added", 0)) - int(details.get("removed", 0))


def _other_tiles(rows: Storage, tiles: list[tuple[int, int, bytes]]) -> Iterator[str]:
    for level, n, expected in tiles:
        try:
            kept = rows.tile(level, n)
        except Error as error:
            yield error.message
            continue
        if kept != expected:
            first = n * WIDTH << (HEIGHT * level)
            yield f"tile {n} of level {level} (leaves from {first}): other hashes than its leaves"
