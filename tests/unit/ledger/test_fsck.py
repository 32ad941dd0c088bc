"""What `ledger fsck` finds of what was written past the log, and what it does not take for that."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical
from countenance_audit.checkpoint import parse
from countenance_audit.leaf import make_opening
from countenance_audit.merkle import leaf_hash, verify_inclusion
from countenance_audit.note import SignedNote
from tests.unit.ledger.logs import ACCOUNT, NOW_S, Opened, call

from countenance.ledger import accounting, expiry, fsck
from countenance.ledger.copies import Copies
from countenance.ledger.recover import close
from countenance.ledger.showing import shown
from countenance.store import Database

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
    database = Database(opened.folder / "countenance.db")
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
        "5 openings were erased after their floor; retention entries tell of 6",
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
