"""Period roots: what the log says about the maps of its days, and the one chain that they have to be.

Knows the public leaves `vrf-key` and `period-root`, their order and the tree of heads; does not know what a map
holds. A root commits to the latest revision of every day before it, so that whoever has the newest root can tell that
another is superseded (PROOFS section 5).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from countenance_audit import canonical
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.leaf import Public, parse, public
from countenance_audit.merkle import inclusion_proof, leaf_hash, root_of, verify_inclusion
from countenance_audit.usage import days_between, next_day, start_of

FIRST_DAY_OF_KEYS: Final = "first"
OVERDUE_US: Final = 24 * 3_600_000_000
"""How long after a day's end its root may be missing from a log that goes on."""
OF_A_HEAD: Final = (
    "day", "revision", "size", "root", "vrf_key", "first", "end", "known", "calls", "units", "amount", "currency",
)  # fmt: skip
"""Members of a period root that its head commits to: all that a proof from its map rests on."""
LATE_US: Final = 7 * 24 * 3_600_000_000
"""Within what time late knowledge has to be in the maps: 7 days (PROOFS section 5)."""


@dataclass(frozen=True, slots=True)
class Root:
    """A `period-root` leaf. Members are those of the leaf (docs/reference/leaf.md), hashes in hexadecimal."""

    index: int
    """Its own place in the log."""
    time: int
    day: str
    revision: int
    reason: str
    size: int
    root: str
    vrf_key: str
    previous: int | None
    first: int
    end: int
    known: int
    calls: int
    units: int
    amount: int
    currency: str
    heads_first: str
    heads_count: int
    heads_root: str

    @classmethod
    def of(cls, index: int, content: Mapping[str, Any]) -> Root:
        """Reads the content of a public leaf that `leaf.parse` accepted. Raises Malformed."""
        if content["kind"] != "period-root":
            raise Malformed(f"Leaf {index} is a {content['kind']}, not a period-root.")
        given = {name: value for name, value in content.items() if name not in ("v", "kind", "heads")}
        heads = content["heads"]
        return cls(index, **given, heads_first=heads["first"], heads_count=heads["count"], heads_root=heads["root"])

    @property
    def heads_last(self) -> str:
        """The last day that has a root."""
        return next_day(self.heads_first, self.heads_count - 1)

    @property
    def head(self) -> Head:
        """This root as a head."""
        return Head.of(self.index, {name: getattr(self, name) for name in OF_A_HEAD})

    def leaf(self) -> bytes:
        """The octets of its leaf."""
        said = {name: getattr(self, name) for name in (*OF_A_HEAD, "time", "reason", "previous")}
        heads = {"first": self.heads_first, "count": self.heads_count, "root": self.heads_root}
        return public({"v": 1, "kind": "period-root", **said, "heads": heads})


@dataclass(frozen=True, slots=True)
class Head:
    """The latest revision of a day: what the tree of heads has a leaf for."""

    day: str
    revision: int
    index: int
    """Of its period-root leaf; not part of the hash, as the root that commits to the tree has none yet."""
    hash: bytes
    """Of the leaf in the tree of heads."""

    @classmethod
    def of(cls, index: int, content: Mapping[str, Any]) -> Head:
        """The head that a period root with these members is.

        The hash is SHA-256(0x00 || canonical({name: member of the root, for `OF_A_HEAD`})). With the map's root alone,
        a second period root of the same map under another VRF key, where nobody is found, would be the same head.
        """
        said = {name: content[name] for name in OF_A_HEAD}
        return cls(said["day"], said["revision"], index, leaf_hash(canonical.encode(said)))


@dataclass(frozen=True, slots=True)
class Key:
    """A `vrf-key` leaf: the key of the days from `day` on, until another takes over."""

    index: int
    time: int
    day: str
    key: str


@dataclass(slots=True)
class Chain:
    """The roots of a log, in order, as far as they are one chain. Not safe to use from several threads.

    `add` looks at each leaf in turn; what is wrong is in `wrong` and does not stop it.
    """

    roots: list[Root] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    """One for each day, in order, without a gap."""
    wrong: list[tuple[int, str, str]] = field(default_factory=list)
    """(index of the leaf, id of the cheat in the threat model, what is wrong)."""
    _opaque: list[int] = field(default_factory=list)
    _public: list[tuple[int, int]] = field(default_factory=list)
    """(index, time) of public leaves."""
    _base: dict[str, Root] = field(default_factory=dict)

    def add(self, index: int, content: Public | None) -> None:
        """Look at the next leaf of the log; None: an opaque or malformed one."""
        if content is None:
            self._opaque.append(index)
            return
        self._public.append((index, content.time))
        if content.kind == "vrf-key":
            self._key(Key(index, content.time, str(content.content["day"]), str(content.content["key"])))
        elif content.kind == "period-root":
            self._root(Root.of(index, content.content))

    def end(self, overdue_us: int = OVERDUE_US) -> None:
        """Nothing comes after this: says which days lack a root."""
        if not self._public:
            return
        index, now = self._public[-1]
        wanted = self.heads[-1].day if self.heads else self.keys[0].day if self.keys else None
        if wanted is None:
            return
        missing = next_day(wanted) if self.heads else wanted
        if start_of(missing) + 86_400_000_000 + overdue_us <= now:
            self._say(index, "two-roots", f"The day {missing} has ended and has no period root.")

    def key_of(self, day: str) -> Key | None:
        """The VRF key of a day."""
        found = [each for each in self.keys if each.day <= day]
        return found[-1] if found else None

    def head_of(self, day: str) -> Head | None:
        """The latest revision of a day, or None."""
        if not self.heads:
            return None
        at = (start_of(day) - start_of(self.heads[0].day)) // 86_400_000_000
        return self.heads[at] if 0 <= at < len(self.heads) else None

    @property
    def last_time(self) -> int:
        """The time of the last public leaf; 0 without any."""
        return self._public[-1][1] if self._public else 0

    def begin_of(self, root: Root) -> int:
        """From which leaf on an auditor has to open leaves for a root.

        That of its range, but for the first day of all: where its range begins is the operator's to say, and opaque
        leaves before it show no time. So those are opened, too, back to a public leaf of an earlier day.
        """
        if not self.heads or root.day != self.heads[0].day:
            return root.first
        return first_to_open(self._public, root)

    def _key(self, key: Key) -> None:
        if self.keys and key.day <= self.keys[-1].day:
            self._say(
                key.index,
                "two-vrf-keys",
                f"There is another VRF key for {key.day} or later: leaf {self.keys[-1].index}.",
            )
            return
        if self.heads and key.day <= self.heads[-1].day:
            self._say(key.index, "two-vrf-keys", f"The VRF key is for {key.day}, which has a map already.")
            return
        self.keys.append(key)

    def _root(self, root: Root) -> None:
        before = self.roots[-1] if self.roots else None
        self.roots.append(root)
        if root.previous != (None if before is None else before.index):
            self._say(root.index, "two-roots", "The root does not name the root before it.")
        if before is not None and root.known < before.known:
            self._say(root.index, "two-roots", "The root knows less than the root before it.")
        if not root.first <= root.end <= root.known <= root.index:
            self._say(root.index, "two-roots", "The root's range of leaves is none before it.")
        if root.revision == 0:
            self._first_of_a_day(root)
        else:
            self._revision(root)
        self._check_key(root)
        tree = heads_tree(self.heads)
        if (root.heads_first, root.heads_count, root.heads_root) != (
            self.heads[0].day if self.heads else "",
            len(self.heads),
            tree.hex(),
        ):
            self._say(root.index, "two-roots", "The root commits to other heads than the roots before it give.")

    def _first_of_a_day(self, root: Root) -> None:
        if self.heads:
            last = self._base[self.heads[-1].day]
            if root.day in self._base:
                self._say(
                    root.index,
                    "two-roots",
                    f"The day {root.day} has a first root already: leaf {self._base[root.day].index}.",
                )
                return
            if root.day != next_day(last.day):
                self._say(
                    root.index,
                    "two-roots",
                    f"The root is of {root.day}, the one before it of {last.day}: days are left out.",
                )
                return
            if root.first != last.end:
                self._say(
                    root.index,
                    "two-roots",
                    f"The leaves of {root.day} begin at {root.first}; those of the day before end at {last.end}.",
                )
        elif self.keys and root.day != self.keys[0].day:
            self._say(
                root.index, "two-roots", f"The first root is of {root.day}, and the first key for {self.keys[0].day}."
            )
        self._base[root.day] = root
        self.heads.append(root.head)
        start, end = start_of(root.day), start_of(next_day(root.day))
        at = bisect_right(self._public, (root.first - 1, end))
        for index, time in self._public[at:]:
            if index >= root.end:
                if time < end:
                    self._say(index, "two-roots", f"Leaf {index} is of {root.day} or before, and not in its range.")
                break
            if time >= end or (time < start and len(self.heads) > 1):
                self._say(index, "two-roots", f"Leaf {index} is in the range of {root.day}, and its time is not.")
                break

    def _revision(self, root: Root) -> None:
        base = self._base.get(root.day)
        head = self.head_of(root.day)
        if base is None or head is None:
            self._say(root.index, "two-roots", f"A map of {root.day} is revised that there is not.")
            return
        if root.revision != head.revision + 1:
            self._say(root.index, "two-roots", f"Revision {root.revision} of {root.day} follows {head.revision}.")
        same = ("first", "end", "calls", "units", "amount", "currency", "vrf_key")
        if any(getattr(root, name) != getattr(base, name) for name in same):
            self._say(root.index, "two-roots", f"The revision of {root.day} has other leaves, sums or keys.")
        self.heads[(start_of(root.day) - start_of(self.heads[0].day)) // 86_400_000_000] = root.head

    def _check_key(self, root: Root) -> None:
        key = self.key_of(root.day)
        if key is None or key.key != root.vrf_key:
            self._say(root.index, "two-vrf-keys", f"The root of {root.day} has another VRF key than the log gives it.")
            return
        at = bisect_right(self._opaque, root.first - 1)
        if at < len(self._opaque) and self._opaque[at] < min(root.end, key.index):
            self._say(root.index, "two-vrf-keys", f"The VRF key of {root.day} came after the day's first entry.")

    def _say(self, index: int, cheat: str, text: str) -> None:
        self.wrong.append((index, cheat, text))


def first_to_open(public: Sequence[tuple[int, int]], root: Root) -> int:
    """What `Chain.begin_of` is for a root of the first day.

    Args:
        public: index and time of the public leaves before `root.first`, or of more, in order.
    """
    start = start_of(root.day)
    return next((index + 1 for index, time in reversed(public) if index < root.first and time < start), 0)


def heads_tree(heads: Sequence[Head]) -> bytes:
    """The root over heads in the order of their days."""
    return root_of([each.hash for each in heads])


def head_proof(heads: Sequence[Head], day: str) -> list[bytes]:
    """That a day's head is in the tree of heads. Raises Rejected when there is none."""
    hashes = [each.hash for each in heads]

    def subtree(level: int, index: int) -> bytes:
        return root_of(hashes[index << level : (index + 1) << level])

    at = days_between(heads[0].day, day) if heads else -1
    return inclusion_proof(at, len(heads), subtree)


def check_head(newest: Root, shown: Root, proof: Sequence[bytes]) -> None:
    """Checks that a root is the latest revision of its day by what a newer root commits to.

    Raises:
        Rejected: it is superseded, or not shown to be the latest.
    """
    if shown.day < newest.heads_first:
        raise Rejected(f"The newest root says nothing about {shown.day}.")
    at = days_between(newest.heads_first, shown.day)
    try:
        verify_inclusion(at, newest.heads_count, shown.head.hash, proof, bytes.fromhex(newest.heads_root))
    except Rejected:
        raise Rejected(
            f"Revision {shown.revision} of the map of {shown.day} is not the latest: a newer root supersedes it."
        ) from None


def read_root(index: int, leaf: bytes) -> Root:
    """A period root from the octets of its leaf. Raises Malformed."""
    content = parse(leaf)
    if not isinstance(content, Public):
        raise Malformed(f"Leaf {index} is opaque, not a period-root.")
    return Root.of(index, content.content)
