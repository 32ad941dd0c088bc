"""Users of a gallery against a dictionary: a random script of changes, after each of which both answer alike."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from countenance.gallery import (
    MAX_FACES_OF_A_USER,
    CollectionNotFound,
    Once,
    TokenInUse,
    TooManyFaces,
    UserExists,
    UserNotFound,
    Why,
)
from countenance.gallery.index import FaissIndex, Index, NumpyIndex

from .samples import ACCOUNT, AT, World, enrolments, entry, name_id, unit_rows, world

DIMENSION = 24
STEPS = 250
C = "c"


class Oracle:
    """What a gallery with users is: dictionaries, and the mean of what is in them."""

    def __init__(self) -> None:
        self.faces: dict[str, NDArray[np.float32]] = {}
        self.of: dict[str, str] = {}
        self.users: list[str] = []

    def vector(self, user: str) -> NDArray[np.float32] | None:
        rows = [self.faces[face].astype(np.float16).astype(np.float32) for face, one in self.of.items() if one == user]
        if not rows:
            return None
        mean = np.mean(np.stack(rows), axis=0)
        result: NDArray[np.float32] = mean / np.linalg.norm(mean)
        return result

    def search(self, probe: NDArray[np.float32]) -> dict[str, float]:
        found = {user: self.vector(user) for user in self.users}
        return {user: float(np.dot(vector, probe)) for user, vector in found.items() if vector is not None}

    def erase(self, faces: list[str], spares_users: bool) -> None:
        touched = set()
        for face in faces:
            if face in self.faces and not (spares_users and face in self.of):
                touched.add(self.of.pop(face, ""))
                del self.faces[face]
        self.users = [user for user in self.users if user not in touched or user in self.of.values()]


def compare(opened: World, oracle: Oracle, probe: NDArray[np.float32]) -> None:
    (found,) = opened.gallery.identify_users(ACCOUNT, C, probe[np.newaxis], max_candidates=500)
    expected = oracle.search(probe)
    assert {each.user.user_id for each in found} == set(expected)
    for each in found:
        assert each.comparison_score == pytest.approx(expected[each.user.user_id], abs=2e-3)  # fp16 rows
    assert [each.comparison_score for each in found] == sorted((each.comparison_score for each in found), reverse=True)
    listed = opened.gallery.users(ACCOUNT, C, after_seq=None, limit=1_000)
    assert [each.user_id for each in listed] == oracle.users
    assert [each.faces for each in listed] == [list(oracle.of.values()).count(user) for user in oracle.users]
    assert opened.gallery.collection(ACCOUNT, C).user_count == len(oracle.users)
    told = opened.gallery.references(ACCOUNT, C, after_seq=None, limit=10_000, face_ids=None)
    assert {each.face_id: each.user_id for _, each in told} == {face: oracle.of.get(face) for face in oracle.faces}


@pytest.mark.parametrize("kind", [NumpyIndex, FaissIndex])
def test_a_random_script_is_answered_as_by_a_dictionary(tmp_path: Path, kind: Callable[[int], Index]) -> None:
    rng = np.random.default_rng(5)
    oracle = Oracle()
    probes = unit_rows(STEPS, DIMENSION, 77)
    with ExitStack() as stack:
        opened = stack.enter_context(world(tmp_path, index_factory=kind))
        opened.create(dimension=DIMENSION)
        for step in range(STEPS):
            act = rng.choice(["enrol", "again", "create", "delete", "associate", "take", "erase", "spare", "reopen"])
            faces, gallery = list(oracle.faces), opened.gallery
            some = [str(each) for each in rng.choice(faces, min(4, len(faces)), replace=False)] if faces else []
            user = str(rng.choice(oracle.users)) if oracle.users else ""
            if act == "enrol" or (act == "again" and not faces):
                rows = unit_rows(5, DIMENSION, [step, 1])
                names = [f"{step} {number}" for number in range(5)]
                gallery.enrol(ACCOUNT, C, enrolments(names, rows), entry=entry())
                oracle.faces |= {name_id(name): row for name, row in zip(names, rows, strict=True)}
            elif act == "again":
                known = {name_id(f"{a} {b}"): f"{a} {b}" for a in range(step) for b in range(5)}
                rows = unit_rows(len(some), DIMENSION, [step, 2])
                gallery.enrol(ACCOUNT, C, enrolments([known[each] for each in some], rows), entry=entry())
                oracle.faces |= dict(zip(some, rows, strict=True))
            elif act == "create":
                gallery.create_user(ACCOUNT, C, f"user {step}", at=AT, entry=entry(), once=None)
                oracle.users.append(f"user {step}")
            elif act == "delete" and user and rng.random() < 0.3:
                gallery.delete_user(ACCOUNT, C, user, entry=entry(), once=None)
                oracle.users.remove(user)
                oracle.of = {face: one for face, one in oracle.of.items() if one != user}
            elif act == "associate" and user and some:
                done = gallery.associate(ACCOUNT, C, user, some, is_same=lambda _: True, entry=entry(), once=None)
                assert list(done.face_ids) == [each for each in some if each not in oracle.of]
                oracle.of |= dict.fromkeys(done.face_ids, user)
            elif act == "take" and user and some:
                done = gallery.disassociate(ACCOUNT, C, user, some, entry=entry(), once=None)
                assert list(done.face_ids) == [each for each in some if oracle.of.get(each) == user]
                for each in done.face_ids:
                    del oracle.of[each]
            elif act in ("erase", "spare") and some:
                gallery.erase(ACCOUNT, C, some, entry=entry(), spares_users=act == "spare")
                oracle.erase(some, act == "spare")
            elif act == "reopen":
                stack.close()
                opened = stack.enter_context(world(tmp_path, index_factory=kind))
            compare(opened, oracle, probes[step])
        assert len(oracle.users) > 5
        assert len(oracle.of) > 5


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    with world(tmp_path) as made:
        made.create(dimension=DIMENSION)
        yield made


def test_only_what_is_like_a_user_s_faces_becomes_one_of_them(opened: World) -> None:
    rows = unit_rows(2, DIMENSION, 1)
    near = rows[0] + 0.1 * rows[1]
    faces = np.stack([rows[0], near / np.linalg.norm(near), rows[1]])
    opened.gallery.enrol(ACCOUNT, C, enrolments("abc", faces), entry=entry())
    opened.gallery.create_user(ACCOUNT, C, "ann", at=AT, entry=entry(), once=None)
    asked: list[float] = []

    def is_same(score: float) -> bool:
        asked.append(score)
        return score > 0.8

    def put(*names: str) -> Any:
        wanted = [name_id(name) for name in names]
        return opened.gallery.associate(ACCOUNT, C, "ann", wanted, is_same=is_same, entry=entry(), once=None)

    assert put("a").face_ids == (name_id("a"),)
    assert asked == []  # a user without a face is like nobody
    done = put("b", "c")
    assert done.face_ids == (name_id("b"),)
    (refused,) = done.refused
    assert (refused.why, refused.face_id, refused.user_id) == (Why.LOW_MATCH, name_id("c"), "ann")
    assert refused.score == pytest.approx(asked[1])


def test_a_hundred_faces_at_most_and_then_nothing_changes(opened: World) -> None:
    names = list(range(MAX_FACES_OF_A_USER + 1))
    opened.gallery.enrol(ACCOUNT, C, enrolments(names, unit_rows(len(names), DIMENSION, 1)), entry=entry())
    opened.gallery.create_user(ACCOUNT, C, "ann", at=AT, entry=entry(), once=None)
    wanted = [name_id(name) for name in names]
    with pytest.raises(TooManyFaces):
        opened.gallery.associate(ACCOUNT, C, "ann", wanted, is_same=lambda _: True, entry=entry(), once=None)
    assert opened.gallery.user(ACCOUNT, C, "ann").faces == 0
    with pytest.raises(UserExists):
        opened.gallery.create_user(ACCOUNT, C, "ann", at=AT, entry=entry(), once=None)
    with pytest.raises(UserNotFound):
        opened.gallery.delete_user(ACCOUNT, C, "ben", entry=entry(), once=None)


def test_a_token_is_remembered_for_a_day_and_forgotten_with_a_person(opened: World) -> None:
    def once(hours: float, asked: bytes = b"a" * 32, account: str = ACCOUNT) -> Once:
        return Once(account, "token", asked, AT + timedelta(hours=hours))

    def create(user_id: str, token: Once) -> None:
        opened.gallery.create_user(ACCOUNT, C, user_id, at=AT, entry=entry(), once=token)

    create("ann", once(0))
    create("ann", once(23))
    with pytest.raises(TokenInUse):
        create("ben", once(23, b"b" * 32))
    create("ben", once(25, b"b" * 32))
    opened.gallery.enrol(ACCOUNT, C, enrolments("a", unit_rows(1, DIMENSION, 1)), entry=entry())
    opened.gallery.erase(ACCOUNT, C, [name_id("a")], entry=entry())
    with pytest.raises(UserExists):
        create("ben", once(25.5, b"b" * 32))  # the answer was forgotten, so it is another call


def test_users_go_with_their_collection(opened: World) -> None:
    opened.gallery.enrol(ACCOUNT, C, enrolments("a", unit_rows(1, DIMENSION, 1)), entry=entry())
    opened.gallery.create_user(ACCOUNT, C, "Ann-Secret", at=AT, entry=entry(), once=None)
    opened.gallery.associate(ACCOUNT, C, "Ann-Secret", [name_id("a")], is_same=lambda _: True, entry=entry(), once=None)
    opened.gallery.identify_users(ACCOUNT, C, unit_rows(1, DIMENSION, 2), max_candidates=5)
    opened.gallery.delete_collection(ACCOUNT, C, entry=entry("DeleteCollection"))
    with pytest.raises(CollectionNotFound):
        opened.gallery.users(ACCOUNT, C, after_seq=None, limit=5)
    assert b"Ann-Secret" not in opened.bytes_on_disk()
    opened.create(dimension=DIMENSION)
    assert opened.gallery.users(ACCOUNT, C, after_seq=None, limit=5) == []
    (nobody,) = opened.gallery.identify_users(ACCOUNT, C, unit_rows(1, DIMENSION, 2), max_candidates=5)
    assert nobody == []
