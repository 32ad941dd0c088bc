"""What `ledger fsck` finds of what was written past the log, and what it does not take for that."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical
from countenance_audit.checkpoint import Checkpoint, parse
from countenance_audit.keeping import mirror
from countenance_audit.leaf import make_opening
from countenance_audit.merkle import leaf_hash, verify_inclusion
from countenance_audit.note import SignedNote, Signer
from tests.unit.ledger.logs import ACCOUNT, NOW_S, Opened, call

from countenance.ledger import accounting, expiry, fsck
from countenance.ledger.copies import Copies
from countenance.ledger.history import HIGH_WATER
from countenance.ledger.recover import close
from countenance.ledger.showing import shown
from countenance.restoration import Successor, mend, replay_erasures
from countenance.store import SqliteDatabase

NOW = datetime.fromtimestamp(NOW_S + 11 * 366 * 86_400, UTC)
LONG_AGO = datetime.fromtimestamp(NOW_S + 86_400, UTC)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "data")
    yield made
    made.database.close()


def by_hand(opened: Opened, *statements: str) -> None:
    def work(connection: sqlite3.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    opened.database.maintain(work)
    opened.again()


def closed(opened: Opened) -> None:
    opened.database.close()
    database = SqliteDatabase(opened.folder / "countenance.db")
    try:
        close(database, opened.keyring, opened.folder, Copies(), reason="moved", successor="log.example/second")
    finally:
        database.close()
    opened.origin = None
    opened.open()


def problems(opened: Opened) -> list[str]:
    return fsck.examine(opened.log).problems


def test_openings_that_were_deleted_are_missing_whatever_is_written_beside_it(opened: Opened) -> None:
    opened.grow(6)
    by_hand(
        opened,
        "CREATE TABLE log_recoveries (first, size, lost)",
        "INSERT INTO log_recoveries VALUES (2, 4, 2)",
        "DELETE FROM log_openings WHERE idx IN (2, 3)",
    )
    assert problems(opened) == ["leaf 2: its opening is missing", "leaf 3: its opening is missing"]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE log_keys SET state = 'closing' WHERE number = 1", "it is closing, and by the leaves lost"),
        ("UPDATE log_keys SET state = 'retired' WHERE number = 1", "it is retired, and by the leaves lost"),
        ("INSERT INTO log_keys SELECT 3, origin, wrapped, 'closing' FROM other", "by the leaves never was"),
    ],
)
def test_a_key_in_another_state_than_leaves_put_it_in_is_told(
    opened: Opened, tmp_path: Path, statement: str, said: str
) -> None:
    opened.grow(2)
    opened.log.rotate(lost=True)
    assert problems(opened) == []
    other = opened.keyring.wrap(b"s" * 32, aad=b"log-key/log.example/unit")
    opened.database.maintain(
        lambda connection: connection.execute(
            "CREATE TABLE other AS SELECT origin, ? AS wrapped FROM log_keys", (other,)
        )
    )
    opened.database.maintain(lambda connection: connection.execute("DELETE FROM other WHERE rowid > 1").close())
    by_hand(opened, statement)
    found = problems(opened)
    assert [each for each in found if each.startswith("key ") and said in each], found


def test_a_log_that_ended_is_looked_at(opened: Opened) -> None:
    opened.grow(600)
    closed(opened)
    opened.grow(3)
    assert problems(opened) == []
    said = accounting(
        kind="act", time=1, operation="bucket.grant", request_id="forged", account=ACCOUNT, details={"bucket": "b"}
    ) | {"end": 2}
    forged = make_opening(said, {})

    def forge(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE closed1_log_leaves SET leaf = ? WHERE idx = 2", (forged.leaf(),))
        connection.execute(
            "UPDATE closed1_log_openings SET accounting = ?, accounting_salt = ?, person = '{}', person_salt = ?"
            " WHERE idx = 2",
            (canonical.encode(said).decode(), forged.accounting_salt, forged.person_salt),
        )

    opened.database.maintain(forge)
    found = problems(opened)
    assert "log log.example/unit: tile 0 of level 0 (leaves from 0): other hashes than its leaves" in found


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE log_closed SET size = 3", "no leaf says that it ended with 3 leaves"),
        ("UPDATE log_closed SET root = zeroblob(32)", "are not those that it ended with"),
        ("UPDATE closed1_log_keys SET state = 'retired'", "it is retired, and by the leaves signing"),
        ("DELETE FROM closed1_log_leaves WHERE idx = 1", "leaves are missing"),
        ("DELETE FROM closed1_log_openings WHERE idx = 1", "leaf 1: its opening is missing"),
        ("UPDATE closed1_log_checkpoints SET note = x'00'", "the latest checkpoint"),
    ],
)
def test_what_was_changed_in_a_log_that_ended_is_told(opened: Opened, statement: str, said: str) -> None:
    opened.grow(3)
    closed(opened)
    by_hand(opened, statement)
    found = problems(opened)
    assert [each for each in found if each.startswith("log log.example/unit: ") and said in each], found


def test_a_receipt_of_a_log_that_ended_is_still_served(opened: Opened) -> None:
    for number in range(300):
        opened.log.append(call(number))
    _, note = opened.log.publish()
    opened.log.append(call(301))
    opened.database.close()
    (opened.folder / "high-water").unlink()
    opened.open()
    closed(opened)
    opened.grow(3)
    found = shown(opened.log, "r7", ACCOUNT)
    assert found is not None
    kept, (leaf,) = found
    assert kept == note
    seen = parse(SignedNote.parse(note).text)
    assert leaf.proof is not None
    verify_inclusion(leaf.index, seen.size, leaf_hash(leaf.opening.leaf()), leaf.proof, seen.root)
    late = shown(opened.log, "r301", ACCOUNT)
    assert late is not None
    assert late[1][0].proof is None
    assert shown(opened.log, "r7", "999999999999") is None
    assert shown(opened.log, "nobody's", ACCOUNT) is None


def test_an_expiry_reaches_into_logs_that_ended(opened: Opened) -> None:
    opened.grow(4)
    closed(opened)
    opened.grow(2)
    assert expiry.expire(opened.log, account=ACCOUNT, before=LONG_AGO, now=NOW, years=10) == 6
    assert problems(opened) == []
    by_hand(opened, "DELETE FROM closed1_log_expired WHERE idx = 1")
    assert problems(opened) == [
        "log log.example/unit: leaf 1: its opening is missing",
        "5 openings were erased after their floor; entries tell of 6",
    ]


@pytest.mark.parametrize("moment", ["leaves", "openings", "expired"])
def test_an_expiry_meanwhile_is_no_damage(opened: Opened, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    opened.grow(5)
    monkeypatch.setattr(expiry, "PORTION", 2)
    real: Callable[..., Any] = getattr(opened.log.storage, moment)

    def meanwhile(*span: int) -> Any:
        monkeypatch.setattr(opened.log.storage, moment, real)
        found = real(*span)
        expiry.expire(opened.log, account=ACCOUNT, before=LONG_AGO, now=NOW, years=10)
        opened.log.rotate()
        return found

    monkeypatch.setattr(opened.log.storage, moment, meanwhile)
    assert problems(opened) == []
    assert opened.log.size == 6 + 3 + 1
    assert problems(opened) == []


@pytest.mark.parametrize("way", ["mirror", "database", "successor", "unnoticed"])
def test_openings_that_a_backup_brought_back_and_that_were_erased_again_are_no_damage(opened: Opened, way: str) -> None:
    opened.grow(4)
    opened.keep()
    opened.grow(3)
    assert expiry.expire(opened.log, account=ACCOUNT, before=LONG_AGO, now=NOW, years=10) == 7
    opened.log.publish()
    mirror(opened.fetch, opened.folder / "mirror", opened.policy())
    opened.put_back(unseen=way == "unnoticed")
    copies = {
        "mirror": Copies(mirrors=[str(opened.folder / "mirror")]),
        "database": Copies(databases=[opened.folder / "newer.db"]),
    }
    if way == "unnoticed":
        opened.open()
        assert replay_erasures(opened.database, opened.log) == {"accounting": 4}
    else:
        successor = Successor("log.example/second") if way == "successor" else None
        mended = mend(opened.folder, copies.get(way, Copies()), reason="disk failed", successor=successor)
        assert mended.replayed == {"accounting": 4}
        opened.origin = None
        opened.open()
    assert problems(opened) == []
    table = "closed1_log_expired" if way == "successor" else "log_expired"
    by_hand(opened, f"INSERT INTO {table} VALUES (999)")
    assert any("openings were erased after their floor; entries tell of" in each for each in problems(opened))


@pytest.mark.parametrize("of", ["this log", "a log that ended"])
def test_a_checkpoint_under_a_key_that_signed_nothing_more_by_then_is_told(opened: Opened, of: str) -> None:
    opened.grow(2)
    by_the_old = signer_of(opened)
    opened.log.rotate(lost=True)
    opened.grow(1)
    size = opened.log.size
    note = by_the_old.sign(Checkpoint(opened.log.origin, size, opened.log.root(size)).text())
    told = f"the checkpoint over {size} leaves is signed by the key {by_the_old.verifier.key_id.hex()}, which is lost"
    if of == "this log":
        opened.log.storage.keep_checkpoint(size, note)
        assert [each for each in problems(opened) if each.startswith(told)]
        (opened.folder / HIGH_WATER).write_bytes(note)
        opened.again().publish()  # it is signed again by who signs now
        assert problems(opened) == []
    else:
        closed(opened)
        assert problems(opened) == []
        opened.database.maintain(
            lambda connection: connection.execute("UPDATE closed1_log_checkpoints SET note = ?", (note,)).close()
        )
        found = problems(opened)
        assert [each for each in found if each.startswith(f"log log.example/unit: {told}")], found


def test_a_checkpoint_with_a_line_of_the_log_by_an_unknown_key_is_told(opened: Opened) -> None:
    opened.grow(2)
    size, note = opened.log.checkpoint()
    other = Signer(opened.log.origin, b"s" * 32)
    line = other.sign(Checkpoint(opened.log.origin, size, opened.log.root(size)).text()).rpartition(b"\n\n")[2]
    opened.log.storage.keep_checkpoint(size, note + line)
    assert [each for each in problems(opened) if "which is unknown by these leaves" in each]


def signer_of(opened: Opened) -> Signer:
    """Who signs now, as somebody with the master key has it."""
    row = opened.log.storage.key_rows()[-1]
    return Signer(row.origin, opened.keyring.unwrap(row.wrapped, aad=b"log-key/" + row.origin.encode()))
