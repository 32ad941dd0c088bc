"""The chain of period roots: each way in which it can be none is found, under the id of its cheat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from countenance_audit import vrf
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.leaf import Public, parse, public
from countenance_audit.periodmap import PeriodMap
from countenance_audit.periods import Chain, Head, Root, check_head, head_proof, heads_tree
from countenance_audit.usage import DAY_US, next_day, start_of

DAYS = ["2026-10-05", "2026-10-06", "2026-10-07", "2026-10-08"]
KEYS = [vrf.Secret(bytes([number]) * 32).public.hex() for number in (1, 2)]
EMPTY = PeriodMap.of({})

Content = dict[str, Any]


class Books:
    """The public leaves of a log that closes three days, and opaque ones; `change` spoils some of it."""

    def __init__(self, change: Callable[[Content], None] = lambda content: None) -> None:
        self.leaves: list[Public | None] = []
        self.change = change
        self.heads: dict[str, Head] = {}
        self.previous: int | None = None
        self.first = 0
        self.say(start_of(DAYS[0]), kind="vrf-key", day=DAYS[0], key=KEYS[0], reason="first")
        for number, day in enumerate(DAYS[:3]):
            self.leaves += [None, None]
            self.say(start_of(DAYS[number + 1]) + 1, kind="heartbeat", cosigned=None)
            self.root(day, end=len(self.leaves) - 1)

    def say(self, time: int, **content: Any) -> None:
        said = {"v": 1, "time": time, **content}
        self.change(said)
        found = parse(public(said))
        assert isinstance(found, Public)
        self.leaves.append(found)

    def root(self, day: str, *, end: int, revision: int = 0, first: int | None = None, calls: int = 2) -> None:
        index, begin = len(self.leaves), self.first if first is None else first
        said = {"day": day, "revision": revision, "size": 2, "root": EMPTY.root.hex(), "vrf_key": KEYS[0]}
        said |= {"first": begin, "end": end, "known": index, "calls": calls, "units": 0, "amount": 0, "currency": ""}
        self.heads[day] = Head.of(index, said)
        heads = [self.heads[each] for each in sorted(self.heads)]
        self.say(
            start_of(next_day(max(self.heads))) + 2,
            kind="period-root",
            **said,
            reason="late-knowledge" if revision else "day-end",
            previous=self.previous,
            heads={"first": heads[0].day, "count": len(heads), "root": heads_tree(heads).hex()},
        )
        self.previous = index
        if not revision:
            self.first = end

    def chain(self) -> Chain:
        found = Chain()
        for index, content in enumerate(self.leaves):
            found.add(index, content)
        found.end()
        return found


def spoil(kind: str, **change: Any) -> Callable[[Content], None]:
    """Changes what the leaf of the second day says."""

    def apply(content: Content) -> None:
        if content["kind"] == kind and content.get("day") == DAYS[1]:
            content.update(change)

    return apply


def cheats(books: Books) -> set[str]:
    return {cheat for _, cheat, _ in books.chain().wrong}


def test_an_honest_chain_is_one() -> None:
    books = Books()
    books.root(DAYS[0], end=3, revision=1, first=0)
    chain = books.chain()
    assert chain.wrong == []
    assert [(each.day, each.revision) for each in chain.heads] == [(DAYS[0], 1), (DAYS[1], 0), (DAYS[2], 0)]


@pytest.mark.parametrize(
    "change",
    [
        {"first": 2},
        {"previous": None},
        {"previous": 1},
        {"day": DAYS[2]},
        {"day": DAYS[0]},
        {"revision": 1},
        {"known": 0},
        {"heads": {"first": DAYS[0], "count": 2, "root": "00" * 32}},
        {"heads": {"first": DAYS[1], "count": 2, "root": "00" * 32}},
    ],
    ids=lambda change: str(next(iter(change.items())))[:40],
)
def test_a_root_that_does_not_follow_is_found(change: Content) -> None:
    assert "two-roots" in cheats(Books(spoil("period-root", **change)))


def test_two_roots_of_a_day_are_found() -> None:
    books = Books()
    books.root(DAYS[2], end=len(books.leaves), first=books.first)
    assert "two-roots" in cheats(books)


def test_a_revision_with_other_sums_or_leaves_is_found() -> None:
    for more in ({"calls": 3}, {"end": 4}, {"revision": 2}):
        books = Books()
        books.root(**{"day": DAYS[0], "end": 3, "revision": 1, "first": 0, **more})  # type: ignore[arg-type]
        assert "two-roots" in cheats(books)


def test_a_public_leaf_outside_its_day_is_found() -> None:
    def move(content: Content) -> None:
        if content["kind"] == "heartbeat" and content["time"] == start_of(DAYS[1]) + 1:
            content["time"] -= 2

    assert "two-roots" in cheats(Books(move))


def test_a_day_without_a_root_is_found_when_the_log_goes_on() -> None:
    books = Books()
    books.say(start_of(DAYS[3]) + DAY_US, kind="heartbeat", cosigned=None)
    assert cheats(books) == set()
    books.say(start_of(DAYS[3]) + 2 * DAY_US, kind="heartbeat", cosigned=None)
    assert cheats(books) == {"two-roots"}


def test_another_key_for_a_day_is_found() -> None:
    assert "two-vrf-keys" in cheats(Books(spoil("period-root", vrf_key=KEYS[1])))
    books = Books()
    books.say(start_of(DAYS[3]), kind="vrf-key", day=DAYS[2], key=KEYS[1], reason="rotation")
    assert "two-vrf-keys" in cheats(books)  # the day it is for has begun
    books = Books()
    books.say(start_of(DAYS[3]), kind="vrf-key", day=DAYS[0], key=KEYS[1], reason="rotation")
    assert "two-vrf-keys" in cheats(books)


def test_a_rotation_at_a_day_boundary_is_none() -> None:
    books = Books()
    books.say(start_of(DAYS[3]) + 3, kind="vrf-key", day=next_day(DAYS[3]), key=KEYS[1], reason="rotation")
    chain = books.chain()
    assert chain.wrong == []
    assert [found.key for day in DAYS[:2] if (found := chain.key_of(day))] == [KEYS[0]] * 2
    later = chain.key_of(next_day(DAYS[3]))
    assert later is not None
    assert later.key == KEYS[1]


def test_a_superseded_root_is_not_the_head() -> None:
    books = Books()
    books.root(DAYS[0], end=3, revision=1, first=0)
    chain = books.chain()
    newest, old = chain.roots[-1], chain.roots[0]
    check_head(newest, chain.roots[-1], head_proof(chain.heads, DAYS[0]))
    check_head(newest, chain.roots[1], head_proof(chain.heads, DAYS[1]))
    with pytest.raises(Rejected, match="supersedes"):
        check_head(newest, old, head_proof(chain.heads, DAYS[0]))
    with pytest.raises(Rejected):
        check_head(newest, chain.roots[1], head_proof(chain.heads, DAYS[2]))


def test_leaves_with_other_members_are_refused() -> None:
    leaf = Books().leaves[0]
    assert leaf is not None
    for change in ({"day": "2026-13-01"}, {"day": "2026-1-1"}, {"key": "00" * 32}, {"key": KEYS[0][:-2]}, {"x": 1}):
        with pytest.raises(Malformed):
            public({**leaf.content, **change})
    with pytest.raises(Malformed):
        Root.of(0, leaf.content)
