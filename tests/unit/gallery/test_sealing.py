from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.congruence.samples import ACCOUNT, OTHER_ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from countenance.gallery import TemplateCorrupt
from countenance.gallery.sealing import CollectionSeal
from countenance.store import Keyring, KeyringError


def everything_plain(rows: np.ndarray) -> list[bytes]:
    """Byte strings that a file would hold if a template were in it in the clear, in any of three precisions."""
    pieces = []
    for kind in ("<f2", "<f4", "<f8"):
        for row in rows.astype(np.float16).astype(kind):
            pieces.append(row[:8].tobytes())
    for row in rows:
        pieces.append(row[:8].tobytes())
    return pieces


def sealed_of(opened: World) -> dict[str, bytes]:
    rows = opened.database.read().execute("SELECT hex(face_id), template FROM enrolled_references").fetchall()
    return dict(rows)


def keys_of(opened: World) -> dict[int, bytes]:
    return dict(opened.database.read().execute("SELECT uid, wrapped FROM collection_keys").fetchall())


def pieces_of(secrets: list[bytes]) -> list[bytes]:
    """Parts long enough that finding one by chance is out of the question, from both ends."""
    return [part for secret in secrets for part in (secret[:24], secret[-24:], secret[16:40])]


def holds(opened: World, pieces: list[bytes]) -> int:
    content = opened.bytes_on_disk()
    return sum(piece in content for piece in pieces)


def test_no_file_ever_holds_a_plain_template(tmp_path: Path) -> None:
    rows = unit_rows(300, 128, 1)
    plain = everything_plain(rows)
    with world(tmp_path) as opened:
        opened.create(dimension=128)
        for start in range(0, 300, 50):
            faces = enrolments(range(start, start + 50), rows[start : start + 50])
            opened.gallery.enrol(ACCOUNT, "c", faces, entry=entry())
            assert holds(opened, plain) == 0
        opened.gallery.identify(ACCOUNT, "c", rows[:3], max_candidates=300)
        opened.gallery.erase(ACCOUNT, "c", [name_id(at) for at in range(100)], entry=entry())
        assert len(list(tmp_path.glob("countenance.db*"))) == 3  # database, log, shared memory: all were looked at
        assert holds(opened, plain) == 0
        assert holds(opened, [next(iter(sealed_of(opened).values()))[:24]]) == 1  # the search does find what is there
    assert not any(piece in (tmp_path / "countenance.db").read_bytes() for piece in plain)


def test_erased_references_leave_no_sealed_template_behind(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    with world(tmp_path) as opened:
        opened.create(dimension=128)
        gone: list[bytes] = []
        for portion in range(8):
            names = [(portion, at) for at in range(120)]
            for name, row in zip(names, unit_rows(120, 128, portion), strict=True):
                # rows of many lengths, so that pages fill, split and merge in every way
                faces = enrolments([name], row[None, :], external_image_id="x" * int(rng.integers(1, 250)))
                opened.gallery.enrol(ACCOUNT, "c", faces, entry=entry())
            stored = sealed_of(opened)
            for face_id in rng.permutation(sorted(stored))[: len(stored) // 2]:
                gone.append(stored[str(face_id)])
                text = str(face_id).lower()
                dashed = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
                assert opened.gallery.erase(ACCOUNT, "c", [dashed], entry=entry()) == [dashed]
        assert opened.database.truncate_wal()
        assert len(gone) > 800
        assert holds(opened, pieces_of(gone)) == 0
        assert holds(opened, [each[:24] for each in sealed_of(opened).values()]) == len(sealed_of(opened))


def test_a_deleted_collection_leaves_neither_key_nor_templates(tmp_path: Path) -> None:
    with world(tmp_path) as opened:
        for at in range(40):
            opened.create(f"c{at}", dimension=128)
            faces = enrolments([(at, face) for face in range(20)], unit_rows(20, 128, at))
            opened.gallery.enrol(ACCOUNT, f"c{at}", faces, entry=entry())
        keys, sealed = keys_of(opened), sealed_of(opened)
        assert holds(opened, [key[:24] for key in keys.values()]) == 40
        for at in range(0, 40, 2):
            opened.gallery.delete_collection(ACCOUNT, f"c{at}", entry=entry())
            assert (tmp_path / "countenance.db-wal").stat().st_size == 0
        left_keys, left = keys_of(opened), sealed_of(opened)
        dead = [keys[uid] for uid, wrapped in left_keys.items() if not any(wrapped)]
        assert len(dead) == 20
        assert holds(opened, pieces_of(dead)) == 0
        assert holds(opened, pieces_of([sealed[face] for face in sealed.keys() - left.keys()])) == 0
        assert holds(opened, [each[:24] for each in left.values()]) == len(left) == 400
        # what is left can still be opened
        assert len(opened.gallery.identify(ACCOUNT, "c1", unit_rows(1, 128, 1), max_candidates=50)[0]) == 20


def test_a_large_deleted_collection_is_unreadable_at_once_and_gone_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("countenance.gallery.erasure.ROWS_AT_ONCE", 50)
    with world(tmp_path) as opened:
        opened.create(dimension=128)
        opened.gallery.enrol(ACCOUNT, "c", enrolments(range(400), unit_rows(400, 128, 1)), entry=entry())
        key, sealed = keys_of(opened), list(sealed_of(opened).values())
        opened.gallery.delete_collection(ACCOUNT, "c", entry=entry())
        assert holds(opened, pieces_of(list(key.values()))) == 0
        opened.gallery.finish_deletions()
        assert holds(opened, pieces_of(sealed)) == 0


def test_another_master_key_is_refused_at_the_start(tmp_path: Path) -> None:
    with world(tmp_path) as opened:
        opened.create()
    (tmp_path / "master.key").unlink()
    with pytest.raises(KeyringError, match="does not open"), world(tmp_path):
        pass


def tampered(opened: World, statement: str, values: tuple[Any, ...]) -> None:
    def change(connection: sqlite3.Connection) -> int:
        return connection.execute(statement, values).rowcount

    assert opened.database.maintain(change) == 1
    opened.gallery._shelves.references.forget(opened.gallery.collection(ACCOUNT, "c").uid)


def test_a_row_moved_to_another_face_or_collection_does_not_open(at_home: World) -> None:
    rows = unit_rows(3, 16, 1)
    at_home.gallery.enrol(ACCOUNT, "c", enrolments(["a", "b"], rows[:2]), entry=entry())
    at_home.create("d")
    at_home.gallery.enrol(ACCOUNT, "d", enrolments(["a"], rows[2:]), entry=entry())
    (foreign,) = (
        at_home.database.read()
        .execute(
            "SELECT template FROM enrolled_references WHERE uid = ?", (at_home.gallery.collection(ACCOUNT, "d").uid,)
        )
        .fetchone()
    )
    mine = sealed_of(at_home)
    for wrong in (foreign, next(value for value in mine.values()), b"", foreign[:-1]):
        tampered(
            at_home,
            "UPDATE enrolled_references SET template = ? WHERE uid = 1 AND face_id = ?",
            (wrong, bytes.fromhex(name_id("b").replace("-", ""))),
        )
        if wrong == mine[name_id("b").replace("-", "").upper()]:
            continue
        with pytest.raises(TemplateCorrupt):
            at_home.gallery.features_of(ACCOUNT, "c", name_id("b"))
        with pytest.raises(TemplateCorrupt):
            at_home.gallery.identify(ACCOUNT, "c", rows[:1], max_candidates=1)


def test_a_key_moved_to_another_collection_does_not_open(at_home: World) -> None:
    at_home.create("d")
    keys = keys_of(at_home)
    tampered(at_home, "UPDATE collection_keys SET wrapped = ? WHERE uid = 1", (keys[2],))
    with pytest.raises(KeyringError):
        at_home.gallery.enrol(ACCOUNT, "c", enrolments(["a"], unit_rows(1, 16, 1)), entry=entry())
    assert at_home.gallery.collection(ACCOUNT, "c").face_count == 0


def test_the_additional_data_separate_every_field() -> None:
    keyring = Keyring(bytes(32))
    wrapped = CollectionSeal.new_wrapped_key(keyring, account_id=ACCOUNT, uid=1)
    right = {"account_id": ACCOUNT, "uid": 1, "collection_id": "ab", "model_version": "c"}
    sealed = CollectionSeal.unwrapped(keyring, wrapped, **right).seal(b"f" * 16, b"template")  # type: ignore[arg-type]
    assert CollectionSeal.unwrapped(keyring, wrapped, **right).open(b"f" * 16, sealed) == b"template"  # type: ignore[arg-type]
    for change in ({"account_id": OTHER_ACCOUNT}, {"uid": 2}):
        with pytest.raises(KeyringError):
            CollectionSeal.unwrapped(keyring, wrapped, **(right | change))  # type: ignore[arg-type]
    for change in ({"collection_id": "a", "model_version": "bc"}, {"model_version": "d"}):
        with pytest.raises(TemplateCorrupt):
            CollectionSeal.unwrapped(keyring, wrapped, **(right | change)).open(b"f" * 16, sealed)  # type: ignore[arg-type]
    with pytest.raises(TemplateCorrupt):
        CollectionSeal.unwrapped(keyring, wrapped, **right).open(b"g" * 16, sealed)  # type: ignore[arg-type]
