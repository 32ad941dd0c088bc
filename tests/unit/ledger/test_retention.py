"""Erasing persons from entries: the log stays sound, and nothing comes back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from countenance_audit.leaf import Public as PublicLeaf
from countenance_audit.leaf import check_opening, parse
from tests.unit.ledger.test_log import Opened, call

from countenance.errors import Error
from countenance.ledger import fsck
from countenance.ledger.retention import HoldInForce, NoSuchHold, erase_persons, held, hold, release

ACCOUNT = "123456789012"
IMAGE = hashlib.sha256(b"x").hexdigest().encode()


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    made = Opened(tmp_path)
    for number in range(5):
        made.now += 1_000_000
        made.log.append(call(number))
    return made


def test_persons_go_and_the_log_stays_sound(opened: Opened) -> None:
    log = opened.log
    root, size = log.root(log.size), log.size
    boundary = opened.now - 1_500_000  # three of five lie before it
    assert erase_persons(log, account=ACCOUNT, before_us=boundary, ground="Art. 17 GDPR") == 3
    assert erase_persons(log, account=ACCOUNT, before_us=boundary, ground="Art. 17 GDPR") == 0
    assert log.root(size) == root
    kept = [opening for _, opening in log.storage.openings(0, size)]
    assert [opening.person is None for opening in kept] == [True] * 3 + [False] * 2
    for index, opening in log.storage.openings(0, size):
        check_opening(opening, log.storage.leaves(index, index + 1)[0])
    (leaf,) = [parse(each) for each in log.storage.leaves(size, log.size)]
    assert isinstance(leaf, PublicLeaf)
    assert {name: leaf.content[name] for name in ("kind", "class", "ground", "count")} == {
        "kind": "retention",
        "class": "person",
        "ground": "Art. 17 GDPR",
        "count": 3,
    }
    assert fsck.examine(log).problems == []
    assert erase_persons(log, account=ACCOUNT, before_us=opened.now + 1, ground="contract ended") == 2
    opened.database.truncate_wal()
    opened.database.close()
    for file in opened.folder.iterdir():
        assert IMAGE not in file.read_bytes(), file
    opened.open()
    assert fsck.examine(opened.log).problems == []
    opened.database.close()


def test_who_takes_the_row_of_a_hold_away_has_not_ended_it(opened: Opened) -> None:
    log = opened.log
    for again in range(2):
        hold(log, account=ACCOUNT, reason="case 17/26")
        opened.database.maintain(lambda connection: connection.execute("DELETE FROM log_holds").close())
        with pytest.raises(HoldInForce, match="case 17/26"):
            erase_persons(log, account=ACCOUNT, before_us=2**53 - 1, ground="x")
        with opened.database.reading() as connection:
            assert held(connection) == [ACCOUNT]
        release(log, account=ACCOUNT)
        with opened.database.reading() as connection:
            assert held(connection) == []
        with pytest.raises(NoSuchHold):
            release(log, account=ACCOUNT)
        assert again < 2
    assert erase_persons(log, account=ACCOUNT, before_us=2**53 - 1, ground="x") == 5
    opened.database.close()


def test_a_hold_forbids_it_until_it_is_released(opened: Opened) -> None:
    log = opened.log
    hold(log, account=ACCOUNT, reason="case 17/26")
    hold(log, account=ACCOUNT, reason="another")
    size = log.size
    with pytest.raises(HoldInForce, match="case 17/26"):
        erase_persons(log, account=ACCOUNT, before_us=opened.now + 1, ground="Art. 17 GDPR")
    assert log.size == size
    assert erase_persons(log, account="999999999999", before_us=opened.now + 1, ground="Art. 17 GDPR") == 0
    release(log, account=ACCOUNT)
    with pytest.raises(NoSuchHold):
        release(log, account=ACCOUNT)
    assert erase_persons(log, account=ACCOUNT, before_us=opened.now + 1, ground="Art. 17 GDPR") == 5
    opened.database.close()


def test_a_ground_is_named(opened: Opened) -> None:
    for ground in ("", "  ", "x" * 201):
        with pytest.raises(Error, match="legal ground"):
            erase_persons(opened.log, account=ACCOUNT, before_us=1, ground=ground)
    opened.database.close()
