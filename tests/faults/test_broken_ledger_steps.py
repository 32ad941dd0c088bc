"""Every step of a leaf broken once, before it was done and after it, for a call and for a change: no answer and no
effect without a leaf, no acknowledged leaf lost, and one tree that every published checkpoint is of."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from countenance_audit.merkle import leaf_hash

from countenance.gallery import CollectionNotFound
from countenance.ledger import Log, fsck
from countenance.store import DatabaseError
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from .enrolling import ORIGIN, call
from .test_broken_steps import Faulty

STEPS = [
    "BEGIN",
    "SAVEPOINT",
    "RELEASE",
    "INSERT INTO log_leaves",
    "INSERT INTO log_openings",
    "INSERT INTO log_tiles",
    "INSERT INTO log_usage",
    "COMMIT",
]
SAVEPOINTS = ("SAVEPOINT", "RELEASE")
"""Steps of what does work of its own, and not of an entry alone."""
ROWS = unit_rows(4, 16, 1)


def enrol(opened: World, image: int) -> None:
    opened.gallery.enrol(
        ACCOUNT,
        "c",
        enrolments([image], ROWS[image : image + 1], image_id=name_id(f"i{image}"), external_image_id=str(image)),
        entry=entry("IndexFaces", request_id=f"enrol {image}"),
    )


def stored(opened: World) -> int:
    try:
        return len(opened.gallery.references(ACCOUNT, "c", after_seq=None, limit=100, face_ids=None))
    except CollectionNotFound:
        return 0


def sound(opened: World, log: Log) -> None:
    found = fsck.examine(log)
    assert found.problems == []
    assert found.references == stored(opened)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_READONLY])
@pytest.mark.parametrize("moment", ["undone", "done"])
@pytest.mark.parametrize("step", STEPS)
def test_a_broken_step_leaves_leaf_and_effect_or_neither(tmp_path: Path, step: str, moment: str, code: int) -> None:
    acknowledged: dict[int, bytes] = {}
    with world(tmp_path) as opened:
        log = Log(opened.database, opened.keyring, tmp_path, origin=ORIGIN)
        opened.create()
        enrol(opened, 0)
        for number in range(3):
            place = log.append(call(number))
            acknowledged[place.index] = place.leaf_hash
        size, _ = log.publish()
        published = (size, log.root(size))
        acts = [lambda: log.write(lambda _: 10, call), lambda: enrol(opened, 1)]
        if step not in SAVEPOINTS:
            acts.insert(0, lambda: log.append(call(10)))
        for act in acts:
            before, held = log.size, stored(opened)
            real = opened.database._writer._session.connection
            faulty: Any = Faulty(real, step, moment, code)
            opened.database._writer._session.connection = faulty
            with pytest.raises(DatabaseError):
                act()
            assert faulty.has_failed
            opened.database._writer._session.connection = real
            took_effect = (step, moment) == ("COMMIT", "done")
            assert log.size == before + took_effect
            assert stored(opened) in (held, held + took_effect)
            sound(opened, log)
            if opened.database._writer._broken is not None:
                # After a failed sync nothing is written until a restart (fsync may lie from then on).
                with pytest.raises(DatabaseError, match="no more changes"):
                    log.append(call(11))
                break
            place = log.append(call(12))
            acknowledged[place.index] = place.leaf_hash
    with world(tmp_path) as opened:
        log = Log(opened.database, opened.keyring, tmp_path, origin=ORIGIN)
        sound(opened, log)
        assert log.root(published[0]) == published[1]
        for index, expected in acknowledged.items():
            opening = log.opening(index)
            assert opening is not None
            assert leaf_hash(opening.leaf()) == expected
        assert log.append(call(13)).index == log.size - 1


def test_a_tile_that_cannot_be_written_takes_its_leaves_back(tmp_path: Path) -> None:
    with world(tmp_path) as opened:
        log = Log(opened.database, opened.keyring, tmp_path, origin=ORIGIN)
        for number in range(254):
            log.append(call(number))
        assert log.size == 255
        real = opened.database._writer._session.connection
        opened.database._writer._session.connection = Faulty(real, "INSERT INTO log_tiles", "done", sqlite3.SQLITE_FULL)  # type: ignore[assignment]
        with pytest.raises(DatabaseError):
            log.append(call(255))
        opened.database._writer._session.connection = real
        assert log.size == 255
        threads = [threading.Thread(target=log.append, args=(call(300 + number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log.size == 263
        assert fsck.examine(log).problems == []
