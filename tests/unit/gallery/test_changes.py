from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from countenance.gallery import changes, records
from countenance.gallery.faults import TemplateCorrupt
from countenance.gallery.shelf import Change

ROWS = unit_rows(200, 16, 5)


def enrol(opened: World, *names: int) -> None:
    opened.gallery.enrol(ACCOUNT, "c", enrolments(names, ROWS[list(names)]), entry=entry())


def erase(opened: World, *names: int) -> None:
    opened.gallery.erase(ACCOUNT, "c", [name_id(each) for each in names], entry=entry())


def since(opened: World, revision: int, of: changes.Of = changes.Of.REFERENCES) -> Change | None:
    with opened.database.reading(snapshot=True) as connection:
        found = opened.gallery.collection(ACCOUNT, "c")
        return changes.since(connection, found, opened.gallery._seal(connection, found), revision, of)


def names_of(ids: np.ndarray) -> set[str]:
    return {records.id_text(bytes(each)) for each in ids}


def change_rows(opened: World) -> list[tuple[object, ...]]:
    with opened.database.reading() as connection:
        return connection.execute("SELECT uid, of_users, revision, touched FROM collection_changes").fetchall()


def alter(opened: World, work: Callable[[sqlite3.Connection], object]) -> None:
    opened.database.maintain(work)


def test_what_was_touched_is_told_as_it_is_now(at_home: World) -> None:
    enrol(at_home, 1, 2, 3)
    enrol(at_home, 4)
    erase(at_home, 2, 4)
    at_home.gallery.enrol(ACCOUNT, "c", enrolments([3], ROWS[9:10]), entry=entry())
    change = since(at_home, 1)
    assert change is not None
    assert change.revision == at_home.gallery.collection(ACCOUNT, "c").revision == 4
    assert names_of(change.removed) == {name_id(each) for each in (2, 3, 4)}
    assert names_of(change.added) == {name_id(3)}
    assert np.array_equal(change.added_templates, ROWS[9:10].astype(np.float16))
    assert since(at_home, 4) is not None
    assert len(since(at_home, 4).removed) == 0  # type: ignore[union-attr]
    assert since(at_home, 5) is None  # of a store that was put back


def test_enrolling_the_same_again_is_noted_nowhere(at_home: World) -> None:
    enrol(at_home, 1)
    enrol(at_home, 1)
    erase(at_home, 7)
    assert len(change_rows(at_home)) == 1


def test_a_transaction_that_fails_leaves_no_note(at_home: World) -> None:
    enrol(at_home, 1)

    def work(connection: sqlite3.Connection) -> None:
        found = at_home.gallery.collection(ACCOUNT, "c")
        nothing, none = np.empty((0, 16), np.float16), records.id_rows([])
        change = Change(found.uid, 2, none, nothing, none, nothing, records.id_rows([bytes(16)]))
        changes.note(connection, found, at_home.gallery._seal(connection, found), change)
        raise LookupError

    with pytest.raises(LookupError):
        alter(at_home, work)
    assert len(change_rows(at_home)) == 1


def test_the_list_is_bounded_and_whoever_is_before_it_loads_anew(
    at_home: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "PRUNE_EVERY", 4)
    monkeypatch.setattr(changes, "KEEP_LEAST", 6)
    for name in range(17):
        enrol(at_home, name)
    assert [row[2] for row in change_rows(at_home)] == [11, 12, 13, 14, 15, 16, 17]
    assert since(at_home, 9) is None
    change = since(at_home, 10)
    assert change is not None
    assert len(change.added) == 7


def test_notes_that_name_erased_faces_go_after_a_day(at_home: World) -> None:
    for name in range(4):
        enrol(at_home, name)
    erase(at_home, 1)
    enrol(at_home, 5)
    assert since(at_home, 2) is not None
    alter(at_home, lambda connection: connection.execute("UPDATE collection_changes SET at = at - 86401000000"))
    alter(at_home, changes.forget_erased)
    assert [row[2] for row in change_rows(at_home)] == [1, 2, 3, 4, 6]
    assert since(at_home, 2) is None
    assert since(at_home, 5) is not None


def test_more_than_a_load_would_cost_is_not_caught_up(at_home: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "TOUCHED_LEAST", 10)
    enrol(at_home, *range(20))
    assert since(at_home, 0) is None
    enrol(at_home, *range(20, 30))
    assert since(at_home, 1) is not None


def test_no_face_id_is_in_the_list_in_the_clear_and_a_note_moved_to_another_revision_does_not_open(
    at_home: World,
) -> None:
    enrol(at_home, 1)
    enrol(at_home, 2)
    for row in change_rows(at_home):
        assert isinstance(row[3], bytes)
        assert records.id_bytes(name_id(1)) not in row[3]
    alter(
        at_home,
        lambda connection: connection.execute(
            "UPDATE collection_changes SET touched ="
            " (SELECT touched FROM collection_changes o WHERE o.revision = 3 - collection_changes.revision)"
        ),
    )
    with pytest.raises(TemplateCorrupt):
        since(at_home, 0)


def test_what_has_no_note_at_the_start_gets_one_that_nothing_before_it_passes(tmp_path: Path) -> None:
    """As after an older version, or a restore that erased references again."""
    with world(tmp_path) as opened:
        opened.create()
        enrol(opened, 1)
        enrol(opened, 2)
        alter(opened, lambda connection: connection.execute("DELETE FROM collection_changes WHERE revision = 2"))
    with world(tmp_path) as opened:
        assert since(opened, 1) is None
        with opened.database.reading() as connection:
            uid = opened.gallery.collection(ACCOUNT, "c").uid
            mark = changes.mark_of(connection, uid, 2)
            assert mark is not None
            assert mark != changes.mark_of(connection, uid, 1)
            assert changes.mark_of(connection, uid, 3) is None
        enrol(opened, 3)
        assert since(opened, 2) is not None


def test_a_deleted_collection_leaves_no_note(at_home: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in range(5):
        enrol(at_home, name)
    at_home.gallery.delete_collection(ACCOUNT, "c", entry=entry())
    assert change_rows(at_home) == []
    monkeypatch.setattr("countenance.gallery.erasure.ROWS_AT_ONCE", 3)
    at_home.create()
    for name in range(8):
        enrol(at_home, name)
    at_home.gallery.delete_collection(ACCOUNT, "c", entry=entry())
    at_home.gallery.finish_deletions()
    assert change_rows(at_home) == []
