"""An older database was put in the place of the newest: refilled from copies, or closed and followed by another log."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical
from countenance_audit.errors import Rejected
from countenance_audit.keeping import mirror
from countenance_audit.leaf import Public as PublicLeaf
from countenance_audit.leaf import make_opening, parse
from countenance_audit.note import SignedNote
from tests.unit.ledger.logs import ACCOUNT, Opened, call

from countenance.ledger import Log, LogBehind, fsck, retention
from countenance.ledger.copies import Copies, RecoveryFailed
from countenance.ledger.recover import close, refill
from countenance.store import SqliteDatabase

WHY = "the disk failed"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "data")
    yield made
    made.database.close()


def refilled(opened: Opened, copies: Copies) -> tuple[int, int, int]:
    """Refill, and open the log again."""
    database = SqliteDatabase(opened.folder / "countenance.db")
    try:
        done = refill(database, opened.keyring, opened.folder, copies, reason=WHY)
    finally:
        database.close()
    opened.open()
    return done.first, done.size, done.lost


def public_leaves(log: Log) -> list[PublicLeaf]:
    found = [parse(leaf) for leaf in log.storage.leaves(0, log.size)]
    return [each for each in found if isinstance(each, PublicLeaf)]


def behind(opened: Opened, before: int, after: int) -> int:
    """Put a log back by `after` calls, with a mirror of all of it; how many leaves there were."""
    opened.grow(before)
    opened.keep()
    opened.grow(after)
    mirror(opened.fetch, opened.folder / "mirror", opened.policy())
    size = opened.log.size
    opened.put_back()
    with pytest.raises(LogBehind):
        opened.open()
    return size


@pytest.mark.parametrize(("before", "after"), [(0, 1), (3, 5), (250, 600), (255, 1)])
def test_a_mirror_s_leaves_come_back_and_what_is_lost_is_said(opened: Opened, before: int, after: int) -> None:
    size = behind(opened, before, after)
    assert refilled(opened, Copies(mirrors=[str(opened.folder / "mirror")])) == (before + 1, size, after)
    told = public_leaves(opened.log)[-1].content
    assert {name: told[name] for name in ("kind", "first", "size", "lost", "reason")} == {
        "kind": "recovery",
        "first": before + 1,
        "size": size,
        "lost": after,
        "reason": WHY,
    }
    found = fsck.examine(opened.log)
    assert (found.problems, found.lost, found.openings) == ([], after, before)
    opened.grow(2)
    mirror(opened.fetch, opened.folder / "mirror", opened.policy())  # it goes on where the mirror was
    assert opened.again().size == size + 3


def test_another_database_gives_back_openings_too(opened: Opened) -> None:
    opened.grow(3)
    opened.keep()
    opened.log.append(call(99, units=7))
    opened.grow(4)
    retention.erase_persons(opened.log, account=ACCOUNT, before_us=2**53 - 1, ground="Art. 17 GDPR")
    opened.grow(2)
    size = opened.log.size
    opened.put_back()
    assert refilled(opened, Copies(databases=[opened.folder / "newer.db"])) == (4, size, 0)
    found = fsck.examine(opened.log)
    assert (found.problems, found.lost) == ([], 0)
    assert [units for *_, units in opened.log.storage.usage()] == [7]
    erased = opened.log.opening(5)
    assert erased is not None
    assert erased.person is None


@pytest.mark.parametrize("told", [False, True])
def test_openings_that_leaves_of_the_database_lack_come_back_from_another(opened: Opened, told: bool) -> None:
    """Somebody took them away, or an earlier recovery could not find them."""
    opened.grow(3)
    if told:
        opened.keep()
    opened.log.append(call(99, units=7))
    opened.grow(2)
    size = opened.log.size
    if told:
        mirror(opened.fetch, opened.folder / "mirror", opened.policy())
        opened.put_back()
        assert refilled(opened, Copies(mirrors=[str(opened.folder / "mirror")])) == (4, size, 3)
        assert opened.log.storage.usage() == []
    else:
        opened.keep()
        (opened.folder / "older.db").rename(opened.folder / "newer.db")
        opened.database.maintain(
            lambda connection: connection.execute("DELETE FROM log_openings WHERE idx IN (2, 4)").close()
        )
        opened.database.maintain(
            lambda connection: connection.execute("DELETE FROM log_acts WHERE idx IN (2, 4)").close()
        )
        assert len(fsck.examine(opened.log).problems) == 2
    opened.database.close()
    database = SqliteDatabase(opened.folder / "countenance.db")
    size = opened.log.size
    copies = Copies(databases=[opened.folder / "newer.db"])
    done = refill(database, opened.keyring, opened.folder, copies, reason=WHY)
    database.close()
    assert (done.first, done.size, done.filled) == (size, size, 3 if told else 2)
    opened.open()
    found = fsck.examine(opened.log)
    assert (found.problems, found.lost) == ([], 0)
    assert [units for *_, units in opened.log.storage.usage()] == [7]
    brought = opened.log.opening(4)
    assert brought is not None
    assert brought.person is None  # it may have been erased since


def test_kept_receipts_give_back_openings_and_go_on_where_the_mirror_ends(opened: Opened) -> None:
    opened.grow(3)
    opened.keep()
    opened.grow(3)
    mirror(opened.fetch, opened.folder / "mirror", opened.policy())
    opened.grow(2)
    size = opened.log.size
    answers = [kept(opened, 4), kept(opened, size - 1, size - 2)]
    opened.put_back()
    copies = Copies(mirrors=[str(opened.folder / "mirror")], answers=answers)
    assert refilled(opened, copies) == (4, size, 2)
    assert fsck.examine(opened.log).problems == []


def test_a_kept_answer_that_the_log_never_gave_takes_no_part(opened: Opened) -> None:
    opened.grow(3)
    opened.keep()
    opened.grow(4)
    size = opened.log.size
    mine = json.loads(kept(opened, size - 1))
    forged = make_opening(mine["opening"]["accounting"] | {"account": "999999999999"}, {})
    wrong = [
        mine | {"opening": forged.to_json()},  # another content
        mine | {"index": size},  # another place
        mine | {"checkpoint": mine["checkpoint"].replace(f"\n{size}\n", f"\n{size + 1}\n")},  # nobody signed that
        {"index": size, "opening": forged.to_json(), "effects": []},  # no proof at all
        mine | {"effects": [{"index": size - 2, "opening": forged.to_json(), "proof": mine["proof"]}]},
    ]
    opened.put_back()
    for each in wrong:
        copies = Copies(databases=[opened.folder / "newer.db"], answers=[canonical.encode(each)])
        with pytest.raises(RecoveryFailed, match=r"The 1\. of the kept answers is not one of this log"):
            refilled(opened, copies)
    older = mine | {"effects": [{"index": size, "opening": forged.to_json()}]}  # as they were before effects had proofs
    copies = Copies(databases=[opened.folder / "newer.db"], answers=[canonical.encode(older)])
    assert refilled(opened, copies) == (4, size, 0)


def test_a_person_erased_since_the_answer_was_kept_does_not_come_back(opened: Opened) -> None:
    opened.grow(3)
    opened.keep()
    opened.grow(4)
    answer = kept(opened, 6)
    retention.erase_persons(opened.log, account=ACCOUNT, before_us=2**53 - 1, ground="Art. 17 GDPR")
    opened.log.publish()
    opened.put_back()
    refilled(opened, Copies(databases=[opened.folder / "newer.db"], answers=[answer]))
    found = opened.log.opening(6)
    assert found is not None
    assert found.person is None


def kept(opened: Opened, index: int, *effects: int) -> bytes:
    """As `GET /receipts/ID` answers."""
    size, note = opened.log.publish()

    def shown(at: int) -> dict[str, Any]:
        opening = opened.log.opening(at)
        assert opening is not None
        proof = [each.hex() for each in opened.log.inclusion(at, size)]
        return {"index": at, "opening": opening.to_json(), "proof": proof}

    return canonical.encode(shown(index) | {"checkpoint": note.decode(), "effects": [shown(each) for each in effects]})


def test_without_enough_copies_nothing_changes(opened: Opened) -> None:
    opened.grow(3)
    opened.keep()
    opened.grow(3)
    mirror(opened.fetch, opened.folder / "mirror", opened.policy())
    opened.grow(2)
    opened.put_back()
    database = SqliteDatabase(opened.folder / "countenance.db")
    try:
        with pytest.raises(RecoveryFailed, match="over 9 leaves; with the copies there are 7"):
            refill(database, opened.keyring, opened.folder, Copies(mirrors=[str(opened.folder / "mirror")]), reason=WHY)
    finally:
        database.close()
    with pytest.raises(LogBehind):
        opened.open()


def test_a_copy_that_was_tampered_with_is_not_taken(opened: Opened) -> None:
    behind(opened, 3, 300)
    bundle = opened.folder / "mirror" / "tile" / "entries" / "000"
    content = bytearray(bundle.read_bytes())
    content[-1] ^= 1
    bundle.write_bytes(content)
    with pytest.raises(RecoveryFailed, match="cannot be used"):
        refilled(opened, Copies(mirrors=[str(opened.folder / "mirror")]))


def test_another_history_s_copy_is_not_taken(opened: Opened, tmp_path: Path) -> None:
    opened.grow(3)
    opened.keep()
    opened.grow(4)
    size = opened.log.size
    opened.put_back(unseen=True)  # its newer.db has the first history
    opened.open()
    opened.grow(size - 4)
    assert opened.log.size == size
    opened.database.close()
    (opened.folder / "countenance.db").unlink()
    (opened.folder / "older.db").rename(opened.folder / "countenance.db")
    with pytest.raises(RecoveryFailed, match="are not those of the checkpoint"):
        refilled(opened, Copies(databases=[opened.folder / "newer.db"]))


def test_a_refill_of_a_sound_log_changes_nothing(opened: Opened) -> None:
    opened.grow(3)
    opened.database.close()
    assert refilled(opened, Copies()) == (4, 4, 0)
    assert opened.log.size == 4


def test_a_key_made_after_the_copy_is_lost_and_the_log_goes_on_with_another(opened: Opened) -> None:
    opened.grow(1)
    opened.keep()
    old = opened.log.signer.verifier
    gone = opened.log.rotate()
    mirror(opened.fetch, opened.folder / "mirror", opened.policy())
    opened.put_back()
    refilled(opened, Copies(mirrors=[str(opened.folder / "mirror")]))
    new = opened.log.signer.verifier
    assert [each.content for each in public_leaves(opened.log) if each.kind == "key"][-1]["reason"] == "loss"
    assert [(each.verifier, each.state) for each in opened.log.keys.known] == [(old, "lost"), (new, "signing")]
    assert new not in (old, gone)
    opened.grow(1)
    parsed = SignedNote.parse(opened.log.checkpoint()[1])
    assert (bool(parsed.by(old)), bool(parsed.by(new))) == (False, True)
    assert fsck.examine(opened.log).problems == []


def test_a_key_that_was_retired_since_stays_retired(opened: Opened) -> None:
    opened.grow(3)
    old = opened.log.signer.verifier
    new = opened.log.rotate()
    opened.keep()
    opened.log.retire(old.key_id.hex())
    opened.grow(1)
    mirror(opened.fetch, opened.folder / "mirror", opened.policy())
    opened.put_back()
    refilled(opened, Copies(mirrors=[str(opened.folder / "mirror")]))
    assert [(each.verifier, each.state) for each in opened.log.keys.known] == [(old, "retired"), (new, "signing")]
    opened.grow(1)
    assert not SignedNote.parse(opened.log.checkpoint()[1]).by(old)
    assert fsck.examine(opened.log).problems == []


def test_the_states_of_keys_are_those_of_the_leaves_whatever_copy_comes_first(opened: Opened) -> None:
    opened.grow(1)
    opened.keep()
    old = opened.log.signer.verifier
    new = opened.log.rotate()
    opened.database.close()
    shutil.copy(opened.folder / "countenance.db", opened.folder / "middle.db")
    opened.open()
    opened.log.retire(old.key_id.hex())
    opened.grow(1)
    opened.put_back()
    refilled(opened, Copies(databases=[opened.folder / "middle.db", opened.folder / "newer.db"]))
    assert [(each.verifier, each.state) for each in opened.log.keys.known] == [(old, "retired"), (new, "signing")]
    assert fsck.examine(opened.log).problems == []


def test_a_successor_that_was_named_has_its_name_whenever_it_is_opened(opened: Opened) -> None:
    opened.grow(2)
    opened.database.close()
    database = SqliteDatabase(opened.folder / "countenance.db")
    close(database, opened.keyring, opened.folder, Copies(), reason=WHY, successor="log.example/second")
    database.close()  # killed here
    opened.origin = None
    opened.open()
    assert opened.log.origin == "log.example/second"
    assert [each.kind for each in public_leaves(opened.log)] == ["key", "discontinuity"]


def test_a_name_that_no_log_can_have_changes_nothing(opened: Opened) -> None:
    opened.grow(2)
    opened.database.close()
    with pytest.raises(RecoveryFailed, match="cannot be the name of a log"):
        closed(opened, "a b")
    opened.open()
    assert opened.log.origin == "log.example/unit"


def test_another_database_gives_back_the_keys_made_since(opened: Opened) -> None:
    opened.grow(1)
    opened.keep()
    old = opened.log.signer.verifier
    new = opened.log.rotate()
    opened.log.retire(old.key_id.hex())
    size = opened.log.size
    opened.put_back()
    assert refilled(opened, Copies(databases=[opened.folder / "newer.db"])) == (2, size, 0)
    assert opened.log.signer.verifier == new
    assert [each.state for each in opened.log.keys.known] == ["retired", "signing"]


# -- giving a log up


def closed(opened: Opened, origin: str | None = "log.example/second") -> tuple[str, int]:
    database = SqliteDatabase(opened.folder / "countenance.db")
    try:
        last = close(database, opened.keyring, opened.folder, Copies(), reason=WHY, successor=origin)
    finally:
        database.close()
    opened.origin = origin
    opened.open()
    return last.origin, last.size


def test_the_next_log_names_the_one_that_ended_and_what_was_signed_of_it(opened: Opened) -> None:
    old_key = opened.log.signer.verifier
    size = behind(opened, 3, 5)
    assert closed(opened) == ("log.example/unit", size)
    assert opened.log.origin == "log.example/second"
    assert opened.log.signer.verifier.public != old_key.public
    kinds = [each.content for each in public_leaves(opened.log)]
    assert [each["kind"] for each in kinds] == ["key", "discontinuity"]
    assert (kinds[1]["previous_origin"], kinds[1]["previous_size"]) == ("log.example/unit", size)
    opened.grow(300)
    assert fsck.examine(opened.log).problems == []
    assert opened.again().size == 302
    assert opened.log.storage.closed()[0].size == size
    # What the ended log had is kept aside.
    with opened.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM closed1_log_leaves").fetchone() == (4,)
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT 1 FROM closed1_log_openings WHERE request_id = 'x'")
        assert "closed1_log_openings_by_request" in str(plan.fetchall())


def test_a_log_can_be_given_up_more_than_once_but_no_name_is_used_twice(opened: Opened) -> None:
    opened.grow(2)
    opened.database.close()
    closed(opened)
    opened.grow(2)
    opened.database.close()
    for name in ("log.example/unit", "log.example/second"):
        with pytest.raises(RecoveryFailed, match="is the name of a log that ended"):
            closed(opened, name)
    assert closed(opened, "log.example/third") == ("log.example/second", 4)
    assert [each.origin for each in opened.log.storage.closed()] == ["log.example/unit", "log.example/second"]


def test_a_mirror_of_the_old_log_does_not_take_the_new_one_for_it(opened: Opened) -> None:
    behind(opened, 3, 5)
    closed(opened)
    with pytest.raises(Rejected):
        mirror(opened.fetch, opened.folder / "mirror", opened.policy())


@pytest.mark.parametrize("reason", ["", " ", "x" * 201, "a\nb"])
def test_a_reason_is_needed(opened: Opened, reason: str) -> None:
    with pytest.raises(RecoveryFailed, match="reason"):
        refill(opened.database, opened.keyring, opened.folder, Copies(), reason=reason)


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"index":1,"opening":{}}', b'{"index":-1,"opening":null}', b"\xff"]
)
def test_what_is_no_kept_answer_is_told(opened: Opened, answer: bytes) -> None:
    with pytest.raises(RecoveryFailed, match=r"The 1\. of the kept answers is not one of this log to GET"):
        refill(opened.database, opened.keyring, opened.folder, Copies(answers=[answer]), reason=WHY)


STRIPPED = "CREATE TABLE x AS SELECT * FROM {0}; DROP TABLE {0}; ALTER TABLE x RENAME TO {0};"


@pytest.mark.parametrize(
    "damage",
    [
        STRIPPED.format("log_leaves") + "UPDATE log_leaves SET leaf = NULL WHERE idx = 5",
        STRIPPED.format("log_leaves") + "UPDATE log_leaves SET leaf = 'text' WHERE idx = 5",
        STRIPPED.format("log_leaves") + "UPDATE log_leaves SET idx = 'five' WHERE idx = 5",
        "UPDATE log_leaves SET leaf = x'' WHERE idx = 5",
        "UPDATE log_openings SET accounting = '{' WHERE idx = 5",
        "UPDATE log_openings SET accounting = '[]' WHERE idx = 5",
        STRIPPED.format("log_openings") + "UPDATE log_openings SET accounting_salt = 'abc' WHERE idx = 5",
        STRIPPED.format("log_keys") + "UPDATE log_keys SET origin = 7",
        STRIPPED.format("log_keys") + "UPDATE log_keys SET wrapped = NULL",
        STRIPPED.format("log_checkpoints") + "UPDATE log_checkpoints SET note = 'text'",
        "DROP TABLE log_leaves",
    ],
)
def test_a_damaged_copy_is_told_or_takes_no_part(opened: Opened, damage: str) -> None:
    opened.grow(3)
    opened.keep()
    opened.grow(4)
    size = opened.log.size
    mirror(opened.fetch, opened.folder / "mirror", opened.policy())
    opened.put_back()
    connection = sqlite3.connect(opened.folder / "newer.db")
    connection.executescript(damage)
    connection.commit()
    connection.close()
    copies = Copies(mirrors=[str(opened.folder / "mirror")], databases=[opened.folder / "newer.db"])
    try:
        done = refilled(opened, copies)
    except RecoveryFailed as error:
        assert "newer.db" in error.message  # noqa: PT017 -- some of this damage takes no part
        done = refilled(opened, Copies(mirrors=copies.mirrors))
    assert done[:2] == (4, size)
    assert fsck.examine(opened.log).problems == []


def test_a_mirror_of_the_settings_takes_part_when_it_can_be_read(opened: Opened) -> None:
    size = behind(opened, 3, 5)
    standing = [str(opened.folder / "away"), str(opened.folder / "mirror")]
    assert refilled(opened, Copies(standing=standing)) == (4, size, 5)


def test_the_checkpoint_of_another_log_is_not_the_end_of_this_one(opened: Opened) -> None:
    """A copy from before the log was given up is put in its place: what is outside is of the log that followed."""
    opened.grow(3)
    opened.keep()
    opened.database.close()
    closed(opened)
    opened.grow(20)
    opened.put_back()
    opened.origin = "log.example/unit"
    with pytest.raises(LogBehind):
        opened.open()
    assert closed(opened, "log.example/third") == ("log.example/unit", 4)
    named = [each.content for each in public_leaves(opened.log) if each.kind == "discontinuity"]
    assert [(each["previous_origin"], each["previous_size"]) for each in named] == [
        ("log.example/unit", 4),
        ("log.example/second", 22),
    ]
    opened.again()
    assert fsck.examine(opened.log).problems == []
