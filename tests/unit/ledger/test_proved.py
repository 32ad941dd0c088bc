"""What answers rest on is what leaves commit to, whatever rows say."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical
from countenance_audit.leaf import make_opening
from countenance_audit.merkle import leaf_hash
from tests.unit.ledger.logs import Opened, call

from countenance.ledger.history import LedgerError
from countenance.ledger.log import Log
from countenance.ledger.proved import MAX_TOLD, Proved

LEAVES = 600


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "data")
    while made.log.size < LEAVES:
        made.log.append(call(made.log.size))
    yield made
    made.database.close()


def change(opened: Opened, *statements: tuple[str, tuple[Any, ...]]) -> None:
    with sqlite3.connect(opened.database.path) as connection:
        for statement, values in statements:
            assert connection.execute(statement, values).rowcount == 1
    connection.close()


def read(opened: Opened, since_us: int = 0) -> tuple[list[int], dict[str, Any]]:
    proved = Proved(opened.log)
    return [index for index, _ in proved.accountings(since_us)], proved.told()


def public(opened: Opened) -> set[int]:
    return {index for index in range(opened.log.size) if opened.log.opening(index) is None}


def test_everything_that_leaves_commit_to_is_told(opened: Opened) -> None:
    found, told = read(opened)
    assert found == sorted(set(range(opened.log.size)) - public(opened))
    assert told == {"unopened": 0, "unopened_leaves": []}


@pytest.mark.parametrize("is_read_again", [False, True])
@pytest.mark.parametrize("index", [200, LEAVES - 2])  # of a complete tile, and of the edge
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_openings SET accounting = replace(accounting, 'DetectFaces', 'ListFaces') WHERE idx = ?",
        "UPDATE log_openings SET accounting = json_set(accounting, '$.end', 0) WHERE idx = ?",
        "UPDATE log_openings SET accounting = 7 WHERE idx = ?",
        "UPDATE log_openings SET accounting = '[]' WHERE idx = ?",
        "UPDATE log_openings SET accounting_salt = x'00' WHERE idx = ?",
        "DELETE FROM log_openings WHERE idx = ?",
    ],
)
def test_a_row_that_was_changed_or_taken_away_is_told_as_a_leaf_that_nothing_opens(
    opened: Opened, statement: str, index: int, *, is_read_again: bool
) -> None:
    change(opened, (statement, (index,)))
    if is_read_again:
        opened.again()
    found, told = read(opened)
    assert index not in found
    assert told == {"unopened": 1, "unopened_leaves": [index]}


def test_a_leaf_that_was_changed_with_its_opening_is_none_of_the_tree(opened: Opened) -> None:
    opened.log.publish()
    said = opened.log.opening(200)
    assert said is not None
    forged = make_opening({**said.accounting, "operation": "ListFaces"})
    row = canonical.encode(dict(forged.accounting)).decode(), forged.accounting_salt, forged.person_salt
    rows = "UPDATE log_openings SET accounting = ?, accounting_salt = ?, person = '{}', person_salt = ? WHERE idx = 200"
    change(opened, (rows, row), ("UPDATE log_leaves SET leaf = ? WHERE idx = 200", (forged.leaf(),)))
    found, told = read(opened)
    assert (200 in found, told["unopened_leaves"]) == (False, [200])
    # Nor is it with a tile that says so: the hash above it is another, and so is the root at the next start.
    hashes = bytearray(opened.log.storage.tile(0, 0))
    hashes[200 * 32 : 201 * 32] = leaf_hash(forged.leaf())
    change(opened, ("UPDATE log_tiles SET hashes = ? WHERE level = 0 AND n = 0", (bytes(hashes),)))
    opened.log.storage.tile.cache_clear()
    found, told = read(opened)
    assert min(found) >= 256
    with pytest.raises(LedgerError):
        Log(opened.database, opened.keyring, opened.folder)
    assert (told["unopened"], len(told["unopened_leaves"])) == (256, MAX_TOLD)
    change(opened, ("DELETE FROM log_tiles WHERE level = 0 AND n = 0", ()))
    opened.log.storage.tile.cache_clear()
    assert read(opened)[1]["unopened"] == 256


def test_it_begins_where_the_time_does_and_no_row_says_where_that_is(opened: Opened) -> None:
    whole = Proved(opened.log)
    ends = {index: said["end"] for index, said in whole.accountings(0)}
    for wanted in (0, 100, 300, LEAVES - 2):
        since = ends.get(wanted, 0)
        assert read(opened, since)[0] == [index for index, end in ends.items() if end >= since]
    assert read(opened, max(ends.values()) + 1) == ([], {"unopened": 0, "unopened_leaves": []})
    with sqlite3.connect(opened.database.path) as connection:
        connection.execute("UPDATE log_openings SET accounting = json_set(accounting, '$.end', 0) WHERE idx > 255")
    connection.close()
    found, told = read(opened, ends[100])
    assert found == [index for index, end in ends.items() if end >= ends[100] and index <= 255]
    assert told["unopened"] >= LEAVES - 256 - len(public(opened))
