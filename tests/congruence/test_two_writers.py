"""Two galleries that are open on one file, as two workers are: each finds at once what the other acknowledged.

They are made without the lock that lets one server own a folder; SQLite itself serves several.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from countenance.gallery import collections
from countenance.store import Keyring, KeyringError
from tests.congruence.samples import ACCOUNT, AT, World, enrolments, entry, name_id, unit_rows, world

ROWS = unit_rows(400, 16, 11)
Pair = tuple[World, World]


@pytest.fixture(params=["sqlite", "postgres"])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    options: dict[str, Any] = {"synchronous": "NORMAL"}
    if request.param == "postgres":
        options["postgres_url"] = request.getfixturevalue("postgres_url")
    with world(tmp_path, **options) as one, world(tmp_path, **options) as other:
        one.create()
        yield one, other


def enrol(opened: World, name: int, row: int | None = None) -> None:
    at = name if row is None else row
    opened.gallery.enrol(ACCOUNT, "c", enrolments([name], ROWS[at : at + 1]), entry=entry())


def erase(opened: World, name: int) -> None:
    assert opened.gallery.erase(ACCOUNT, "c", [name_id(name)], entry=entry()) == [name_id(name)]


def best(opened: World, row: int) -> tuple[str, float] | None:
    (found,) = opened.gallery.identify(ACCOUNT, "c", ROWS[row : row + 1], max_candidates=1)
    return (found[0].reference.face_id, found[0].comparison_score) if found else None


def users_found(opened: World, row: int) -> list[str]:
    (found,) = opened.gallery.identify_users(ACCOUNT, "c", ROWS[row : row + 1], max_candidates=5, minimum_score=0.6)
    return [each.user.user_id for each in found]


def loads(opened: World) -> list[int]:
    """Counts how often an index of this gallery is loaded from now on."""
    count = [0]
    books = opened.gallery._shelves.references
    load = books._load

    def counted(uid: int) -> object:
        count[0] += 1
        return load(uid)

    books._load = counted  # type: ignore[method-assign, assignment]
    return count


def test_what_one_writes_the_other_finds_next_and_loads_nothing_for_it(pair: Pair) -> None:
    one, other = pair
    for name in range(30):
        enrol(one, name)
    assert best(other, 3) is not None
    count = loads(other)
    for name in range(30, 60):
        writer, reader = (one, other) if name % 2 else (other, one)
        enrol(writer, name)
        found = best(reader, name)
        assert found is not None
        assert found[0] == name_id(name)
        erase(writer, name - 30)
        found = best(reader, name - 30)
        assert found is not None
        assert found[0] != name_id(name - 30)
        enrol(writer, name, row=name + 100)  # another picture of the same face
        found = best(reader, name + 100)
        assert found is not None
        assert found[0] == name_id(name)
    assert count == [0]


def test_users_too(pair: Pair) -> None:
    one, other = pair
    for name in range(6):
        enrol(one, name)

    def associate(opened: World, user: str, name: int) -> None:
        opened.gallery.associate(
            ACCOUNT, "c", user, [name_id(name)], is_same=lambda _: True, entry=entry("AssociateFaces"), once=None
        )

    one.gallery.create_user(ACCOUNT, "c", "ann", at=AT, entry=entry("CreateUser"), once=None)
    assert users_found(other, 1) == []
    associate(one, "ann", 1)
    assert users_found(other, 1) == ["ann"]
    associate(other, "ann", 2)
    assert users_found(one, 2) == ["ann"]
    erase(one, 1)
    assert users_found(other, 1) == []
    other.gallery.delete_user(ACCOUNT, "c", "ann", entry=entry("DeleteUser"), once=None)
    assert users_found(one, 2) == []


def test_a_collection_that_one_deletes_is_gone_for_the_other(pair: Pair) -> None:
    one, other = pair
    enrol(one, 1)
    assert best(other, 1) is not None
    one.gallery.delete_collection(ACCOUNT, "c", entry=entry("DeleteCollection"))
    other.create()
    assert best(one, 1) is None
    assert best(other, 1) is None
    enrol(other, 2)
    found = best(one, 2)
    assert found is not None
    assert found[0] == name_id(2)


def test_threads_on_both_find_what_was_acknowledged_and_nothing_that_was_erased(pair: Pair) -> None:
    one, _ = pair
    for name in range(200):
        enrol(one, name)
    wrong: list[str] = []

    def work(mine: World, theirs: World, names: range, seed: int) -> None:
        choose = random.Random(seed)
        try:
            for name in names:
                reader = choose.choice((mine, theirs))
                enrol(mine, name)
                found = best(reader, name)
                if found is None or found[0] != name_id(name):
                    wrong.append(f"{name} was not found")
                if choose.random() < 0.6:
                    erase(mine, name)
                    found = best(choose.choice((mine, theirs)), name)
                    if found is not None and found[0] == name_id(name):
                        wrong.append(f"{name} was found after its erasure")
        except Exception as failure:  # noqa: BLE001 -- a thread that fails fails the test
            wrong.append(repr(failure))

    threads = [
        threading.Thread(target=work, args=(*pair[:: 1 if at % 2 else -1], range(200 + 50 * at, 250 + 50 * at), at))
        for at in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    for opened in pair:
        best(opened, 0)
    uid = one.gallery.collection(ACCOUNT, "c").uid
    held = []
    for opened in pair:
        with opened.gallery._shelves.references.lent(uid) as index:
            (ranking,) = index.search(ROWS[:1], 400)
            held.append((ranking.face_ids, ranking.scores))
    assert held[0] == held[1]
    assert len(held[0][0]) == one.gallery.collection(ACCOUNT, "c").face_count
    assert np.isfinite(held[0][1]).all()


def test_two_that_start_at_once_check_one_master_key(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    one.database.maintain(lambda connection: connection.execute("DELETE FROM gallery_master_check"))
    wrap, has_begun = one.keyring.wrap, []

    def meanwhile(key: bytes, *, aad: bytes) -> bytes:
        if not has_begun:
            has_begun.append(True)
            collections.check_master_key(other.database, other.keyring)
        return wrap(key, aad=aad)

    monkeypatch.setattr(one.keyring, "wrap", meanwhile)
    collections.check_master_key(one.database, one.keyring)
    stranger = Keyring(bytes(32))
    with pytest.raises(KeyringError):
        collections.check_master_key(one.database, stranger)
