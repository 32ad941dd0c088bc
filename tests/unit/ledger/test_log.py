"""The log: places in the transaction of the effect, times, tiles, and what an older or altered database gives away."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical
from countenance_audit.checkpoint import open_checkpoint
from countenance_audit.leaf import MAX_LEAF_BYTES, Opening, check_opening, parse, public
from countenance_audit.leaf import Opaque as OpaqueLeaf
from countenance_audit.leaf import Public as PublicLeaf
from countenance_audit.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from countenance_audit.tiles import parse_tile
from hypothesis import given
from hypothesis import strategies as st

from countenance.errors import Error
from countenance.ledger import Log, LogBehind, Opaque, Public, accounting, fsck, person, retention
from countenance.ledger.entry import NotRecordable, canonical_bytes
from countenance.ledger.history import HIGH_WATER, LedgerError
from countenance.ledger.tree import Tree, layers_of, rebuilt
from countenance.store import DatabaseError, Entry, Keyring, SqliteDatabase

ORIGIN = "log.example/unit"


class Opened:
    """A log in a folder, opened as often as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keyring = Keyring.open(folder / "master.key", create=True)
        self.now = 1_700_000_000_000_000
        self.open()

    def open(self, **more: Any) -> Log:
        self.database = SqliteDatabase(self.folder / "countenance.db")
        try:
            self.log = Log(
                self.database, self.keyring, self.folder, **{"origin": ORIGIN, "now_us": lambda: self.now, **more}
            )
        except BaseException:
            self.database.close()
            raise
        return self.log

    def again(self, **more: Any) -> Log:
        self.database.close()
        return self.open(**more)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path)
    yield made
    made.database.close()


def call(number: int = 0, time: int = 1_700_000_000_000_000) -> Opaque:
    said = accounting(kind="call", time=time, operation="DetectFaces", request_id=f"r{number}", account="123456789012")
    return Opaque(said | {"request": "00" * 32, "response": "11" * 32}, person(images=[sha256(b"x").digest()]))


def effect(details: dict[str, int | str]) -> Entry:
    return Entry("IndexFaces", "123456789012", "AKCNX", "r-effect", datetime(2026, 1, 1, tzinfo=UTC), details)


def leaves_of(log: Log) -> list[OpaqueLeaf | PublicLeaf]:
    return [parse(leaf) for leaf in log.storage.leaves(0, log.size)]


def test_an_entry_is_a_leaf_that_its_opening_opens_and_a_proof_includes(opened: Opened) -> None:
    places = [opened.log.append(call(number)) for number in range(5)]
    assert [place.index for place in places] == [1, 2, 3, 4, 5]  # 0 is the log's key
    size, note = opened.log.publish()
    seen = open_checkpoint(note, opened.log.signer.verifier)
    assert (seen.origin, seen.size, size) == (ORIGIN, 6, 6)
    for place in places:
        (leaf,) = opened.log.storage.leaves(place.index, place.index + 1)
        opening = opened.log.opening(place.index)
        assert opening is not None
        check_opening(opening, leaf)
        assert leaf_hash(leaf) == place.leaf_hash
        verify_inclusion(place.index, size, place.leaf_hash, opened.log.inclusion(place.index, size), seen.root)
    assert [index for index, _ in opened.log.storage.calls("r3")] == [4]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_793])
def test_the_tree_of_tiles_is_that_of_the_leaves(size: int) -> None:
    hashes = [sha256(number.to_bytes(8, "big")).digest() for number in range(size)]
    tiles: dict[tuple[int, int], bytes] = {}

    def read(level: int, n: int) -> bytes:
        return tiles[level, n]

    tree, frontier = Tree(), Frontier()
    for start in range(0, size, 1000):  # portions, as groups of calls come
        tree, complete = tree.extended(hashes[start : start + 1000])
        tiles |= {(level, n): content for level, n, content in complete}
    for each in hashes:
        frontier.append(each)
    assert tree.root(size, read) == frontier.root()
    assert rebuilt(size, iter(hashes[size // 256 * 256 :]), read) == tree
    for index in {0, size // 2, size - 1} if size else set():
        proof = tree.inclusion(index, size, read)
        assert tree.inclusion(index, size, read, lambda level, n: layers_of(read(level, n))) == proof
        verify_inclusion(index, size, hashes[index], proof, frontier.root())
    for smaller in {1, size // 3, size - 1} & set(range(1, size)):
        verify_consistency(
            smaller, size, tree.root(smaller, read), frontier.root(), tree.consistency(smaller, size, read)
        )


def test_an_effect_and_its_leaf_commit_together_or_not_at_all(opened: Opened) -> None:
    opened.database.migrate("t", ["CREATE TABLE t (n INTEGER);"])

    def write(connection: sqlite3.Connection) -> int:
        return connection.execute("INSERT INTO t VALUES (7)").rowcount

    def fail(connection: sqlite3.Connection) -> int:
        write(connection)
        raise RuntimeError("no")

    before = opened.log.size
    opened.database.write(lambda added: effect({"added": added}), write)
    assert opened.log.size == before + 1
    opening = opened.log.opening(before)
    assert opening is not None
    assert (opening.accounting["kind"], opening.accounting["details"]) == ("effect", {"added": 1})
    with pytest.raises(RuntimeError):
        opened.database.write(effect({}), fail)
    assert opened.log.size == before + 1
    with opened.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)


@pytest.mark.parametrize("is_done", [False, True])
def test_a_commit_that_fails_leaves_both_or_neither_also_when_it_took_effect(opened: Opened, is_done: bool) -> None:
    writer = opened.database._writer
    commit = writer._commit

    def failing() -> None:
        if is_done:
            commit()
        raise sqlite3.OperationalError("injected")

    writer._commit = failing  # type: ignore[method-assign]
    with pytest.raises(DatabaseError):
        opened.log.append(call(1))
    writer._commit = commit  # type: ignore[method-assign]
    assert opened.log.size == 1 + is_done
    assert opened.log.append(call(2)).index == 1 + is_done
    size, note = opened.log.publish()
    root = open_checkpoint(note, opened.log.signer.verifier).root
    frontier = Frontier()
    for leaf in opened.log.storage.leaves(0, size):
        frontier.append(leaf_hash(leaf))
    assert frontier.root() == root
    assert opened.again().root(size) == root


def test_times_never_decrease_and_a_step_of_the_clock_is_a_leaf(opened: Opened) -> None:
    first = opened.log.append(call(1))
    opened.now -= 3_600_000_000
    later = opened.log.append(call(2))
    assert later.time == first.time
    steps = [leaf for leaf in leaves_of(opened.log) if isinstance(leaf, PublicLeaf) and leaf.kind == "clock"]
    assert len(steps) == 1
    assert abs(steps[0].content["step_us"] + 3_600_000_000) < 60_000_000
    assert fsck.examine(opened.log).problems == []


def test_entries_of_many_threads_get_places_without_a_gap(opened: Opened) -> None:
    indices: list[int] = []

    def work(start: int) -> None:
        indices.extend(opened.log.append(call(start + number)).index for number in range(40))

    threads = [threading.Thread(target=work, args=(100 * each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(indices) == list(range(1, 321))
    found = fsck.examine(opened.log)
    assert (found.leaves, found.openings, found.problems) == (321, 320, [])


def test_an_older_database_is_noticed_by_the_checkpoint_outside_it(opened: Opened) -> None:
    opened.log.append(call(1))
    opened.log.publish()
    opened.database.close()
    shutil.copy(opened.folder / "countenance.db", opened.folder / "older.db")
    opened.open()
    opened.log.append(call(2))
    opened.log.publish()
    opened.database.close()
    shutil.copy(opened.folder / "older.db", opened.folder / "countenance.db")
    with pytest.raises(LogBehind, match="has 2 leaves; the checkpoint kept outside the database is over 3"):
        opened.open()


def test_another_history_is_noticed_by_the_checkpoint_outside_it(opened: Opened) -> None:
    opened.log.publish()
    opened.database.close()
    shutil.copy(opened.folder / "countenance.db", opened.folder / "older.db")
    kept = (opened.folder / HIGH_WATER).read_bytes()
    opened.open()
    opened.log.append(call(1))
    opened.log.publish()
    signed = (opened.folder / HIGH_WATER).read_bytes()
    opened.database.close()
    shutil.copy(opened.folder / "older.db", opened.folder / "countenance.db")
    (opened.folder / HIGH_WATER).write_bytes(kept)
    opened.open()
    for number in (5, 6):
        opened.log.append(call(number))
    opened.database.close()
    (opened.folder / HIGH_WATER).write_bytes(signed)
    with pytest.raises(LogBehind, match="not those that the checkpoint kept outside"):
        opened.open()


@pytest.mark.parametrize(
    ("edit", "finding"),
    [
        ("UPDATE log_leaves SET leaf = zeroblob(33) WHERE idx = 3", "leaf 3"),
        ("DELETE FROM log_leaves WHERE idx = 3", "leaves are missing"),
        ("DELETE FROM log_openings WHERE idx = 3", "leaf 3: its opening is missing"),
        (
            "UPDATE log_openings SET accounting = replace(accounting, 'DetectFaces', 'ListFaces') WHERE idx = 3",
            "leaf 3: The opening does not belong",
        ),
        ("UPDATE log_tiles SET hashes = zeroblob(8192) WHERE level = 0 AND n = 0", "tile 0 of level 0"),
        ("DELETE FROM log_tiles", "tile 0 of level 0 is missing"),
    ],
)
def test_an_edit_by_hand_is_found(opened: Opened, edit: str, finding: str) -> None:
    for number in range(300):
        opened.log.append(call(number))
    assert fsck.examine(opened.log).problems == []
    with sqlite3.connect(opened.folder / "countenance.db") as connection:
        connection.execute(edit)
    opened.log.storage.tile.cache_clear()
    assert any(finding in each for each in fsck.examine(opened.log).problems)


def test_only_what_a_checkpoint_covers_is_shown(opened: Opened) -> None:
    # Both clocks stand still: on a busy machine the true one runs away from the other, which is a step with a leaf.
    opened.log._monotonic_us, opened.log._offset = (lambda: opened.now), 0
    for number in range(299):
        opened.log.append(call(number))
    assert opened.log.tile(0, 0, 1) is None
    assert opened.log.leaves(0, 1) is None
    opened.log.publish()
    assert len(parse_tile(opened.log.tile(0, 0, 256) or b"", 256)) == 256
    assert len(parse_tile(opened.log.tile(0, 1, 44) or b"", 44)) == 44
    assert opened.log.tile(1, 0, 1) is not None
    opened.log.append(call(1000))
    assert opened.log.tile(0, 1, 45) is None
    assert opened.log.tile(1, 0, 2) is None
    assert opened.log.tile(0, 9, 1) is None
    assert opened.log.leaves(299, 301) is None


def test_an_origin_is_for_good(opened: Opened) -> None:
    with pytest.raises(LedgerError, match="The log's origin is"):
        opened.again(origin="log.example/other")
    key = opened.open(origin=None).signer.verifier
    assert key.name == ORIGIN


def test_what_an_older_version_left_in_the_outbox_becomes_leaves(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    database.write(effect({"faces": 2}), lambda connection: None)
    database.close()
    opened = Opened(tmp_path)
    assert opened.log.size == 2
    assert opened.database.pending_outbox(10) == []
    opening = opened.log.opening(1)
    assert opening is not None
    assert opening.accounting["details"] == {"faces": 2}
    opened.database.close()


def test_a_hash_of_something_else_is_no_master_key_for_the_log(opened: Opened) -> None:
    opened.database.close()
    (opened.folder / "master.key").unlink()
    opened.keyring = Keyring.open(opened.folder / "master.key", create=True)
    with pytest.raises(Exception, match="key") as caught:
        opened.open()
    assert "Traceback" not in str(caught.value)


_names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_names, _values, max_size=6))
def test_what_is_stored_is_the_canonical_encoding(section: dict[str, Any]) -> None:
    assert canonical_bytes(section) == canonical.encode(section)


def test_an_entry_s_leaf_is_the_one_that_the_audit_package_makes() -> None:
    entry = call(7)
    leaf, row = entry.finish(1_700_000_000_000_009)
    said = canonical.decode(row.accounting)
    opening = Opening(said, row.accounting_salt, canonical.decode(row.person), row.person_salt)
    assert opening.leaf() == leaf
    assert said["end"] == 1_700_000_000_000_009


@given(st.dictionaries(_names, _values, max_size=6), st.integers(0, 2**53 - 1))
def test_an_entry_prepared_before_it_has_a_time_says_the_same(section: dict[str, Any], time: int) -> None:
    entry = Opaque(section | {"request_id": "r"}, {"images": []})
    entry.prepare()
    leaf, row = entry.finish(time)
    assert row.accounting.encode() == canonical.encode(section | {"request_id": "r", "end": time})
    person_hash = sha256(b"countenance/section/v1\nperson\n" + row.person_salt + row.person.encode()).digest()
    said_hash = sha256(b"countenance/section/v1\naccounting\n" + row.accounting_salt + row.accounting.encode()).digest()
    assert leaf == b"\x01" + sha256(b"countenance/leaf/v1\n" + said_hash + person_hash).digest()
    assert row.accounting_salt != row.person_salt
    assert {len(row.accounting_salt), len(row.person_salt)} == {32}


def in_one_group(opened: Opened, entries: Sequence[Opaque], also: Callable[[], None] | None = None) -> None:
    """Append all of them while the writer thread has something else to do."""
    begun, go_on = threading.Event(), threading.Event()

    def busy(_: object) -> None:
        begun.set()
        go_on.wait(30)

    threads = [threading.Thread(target=opened.database.maintain, args=(busy,))]
    threads[0].start()
    assert begun.wait(30)
    threads += [threading.Thread(target=opened.log.append, args=(entry,)) for entry in entries]
    threads += [threading.Thread(target=also)] if also is not None else []
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + 30
    while opened.database._writer.queued < len(threads) - 1:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join()


def test_every_entry_of_a_group_has_salts_of_its_own(opened: Opened) -> None:
    in_one_group(opened, [call(number) for number in range(6)])
    openings = [opening for _, opening in opened.log.storage.openings(1, 7)]
    assert len({opening.accounting["end"] for opening in openings}) == 1  # one group
    salts = {opening.accounting_salt for opening in openings} | {opening.person_salt for opening in openings}
    assert len(salts) == 12
    assert fsck.examine(opened.log).problems == []


def test_an_entry_that_cannot_be_encoded_is_its_own_caller_s_trouble(opened: Opened) -> None:
    for details in ({"half": "\ud800"}, {"large": 2**53}, {"larger": 2**64}):
        with pytest.raises(NotRecordable, match="cannot be recorded"):
            opened.log.append(Opaque(call(1).accounting | {"details": details}))
    assert opened.log.size == 1
    assert opened.log.append(call(2)).index == 1
    assert fsck.examine(opened.log).problems == []


def test_units_of_one_group_of_calls_are_charged_each_to_its_own(opened: Opened) -> None:
    entries = [call(number) for number in range(6)]
    for number, entry in enumerate(entries):
        entry.usage = ("123456789012", ("group1", "group2")[number % 2], "2023-11", 1 + number)
    in_one_group(opened, entries)
    assert len({entry.place.time for entry in entries if entry.place is not None}) == 1  # one group
    assert sorted(opened.log.storage.usage()) == [
        ("123456789012", "group1", "2023-11", 1 + 3 + 5),
        ("123456789012", "group2", "2023-11", 2 + 4 + 6),
    ]


@pytest.mark.parametrize("is_public", [False, True])
def test_times_go_on_from_the_last_leaf_that_says_when_it_was_made(opened: Opened, is_public: bool) -> None:
    opened.now += 400_000  # less than what gets a leaf of its own
    told = opened.log.append(Public({"kind": "heartbeat", "cosigned": None}) if is_public else call(1)).time
    opened.now += 400_000
    for number in (2, 3):
        opened.log.append(call(number))
    opened.database.maintain(lambda connection: connection.execute("DELETE FROM log_openings WHERE idx > 1").close())
    opened.now -= 60_000_000
    assert opened.again().append(call(4)).time == told


LEAST = len(public({"v": 1, "kind": "stop", "reason": "", "time": 0}))


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "retention", "class": "person", "ground": "x\udcff", "count": 1},
        {"kind": "stop", "reason": "x" * (MAX_LEAF_BYTES - LEAST)},  # too long with any time but 1970's
    ],
)
def test_what_no_leaf_can_carry_fails_its_own_change_alone(opened: Opened, content: dict[str, Any]) -> None:
    failures: list[BaseException] = []
    entries = [call(number) for number in range(6)]

    def spoilt() -> None:
        try:
            opened.log.write(
                lambda connection: connection.execute("DELETE FROM log_holds").rowcount, lambda _: Public(content)
            )
        except Exception as failure:  # noqa: BLE001 -- whatever it is
            failures.append(failure)

    in_one_group(opened, entries, also=spoilt)
    assert [type(each) for each in failures] == [NotRecordable]
    assert all(entry.place is not None for entry in entries)
    assert fsck.examine(opened.log).problems == []


@pytest.mark.parametrize("ground", ["", " ", "x" * 201, "a\nb", "x\udcff"])
def test_grounds_and_reasons_that_cannot_be_recorded_are_refused(opened: Opened, ground: str) -> None:
    with pytest.raises(Error, match="printable"):
        retention.erase_persons(opened.log, account="123456789012", before_us=1, ground=ground)
    with pytest.raises(Error, match="printable"):
        retention.hold(opened.log, account="123456789012", reason=ground)
    assert opened.log.size == 1
