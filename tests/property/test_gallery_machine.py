"""The gallery against a plain dictionary, under any order of operations that hypothesis can think of."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from countenance.biometrics import BoundingBox, Reference
from countenance.gallery import CollectionExists, CollectionNotFound, Enrolment, ReferenceNotFound
from countenance.gallery.comparison import comparison_scores
from tests.congruence.samples import (
    ACCOUNT,
    MODEL,
    OTHER_ACCOUNT,
    World,
    entry,
    name_id,
    reference,
    unit_rows,
    world,
)

DIMENSION = 8
ROWS = unit_rows(12, DIMENSION, 1)  # few, so that equal faces are common
accounts = st.sampled_from([ACCOUNT, OTHER_ACCOUNT])
collection_ids = st.sampled_from(["c", "d"])
faces = st.tuples(
    st.integers(0, 3),  # image
    st.sampled_from([None, "x"]),  # external image id
    st.integers(0, 3),  # place in the image
    st.sampled_from([0.0, 0.02, 0.2]),  # how far the box has moved
    st.integers(0, len(ROWS) - 1),
)


@dataclass
class Model:
    """A collection as a dictionary in the order of enrolment."""

    references: dict[str, tuple[Reference, np.ndarray]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def enrol(self, given: list[tuple[Reference, np.ndarray]]) -> list[str]:
        before = dict(self.references)
        claimed = {each.face_id for each, _ in given if each.face_id in before}
        answer = []
        for each, row in given:
            kept = each.face_id
            if kept not in before and kept not in answer:
                near = [
                    (-each.box.iou(stored.box), face_id)
                    for face_id, (stored, _) in before.items()
                    if face_id not in claimed
                    and (stored.image_id, stored.external_image_id) == (each.image_id, each.external_image_id)
                    and each.box.iou(stored.box) >= 0.7
                ]
                if near:
                    kept = min(near)[1]
                    claimed.add(kept)
            answer.append(kept)
            if kept in before or kept not in self.references:
                stored = self.references.get(kept, (each, row))[0]
                self.references[kept] = (
                    Reference(
                        face_id=kept,
                        image_id=stored.image_id,
                        external_image_id=stored.external_image_id,
                        box=each.box,
                        detection_confidence=each.detection_confidence,
                        model_version=MODEL,
                        enrolled_at=stored.enrolled_at,
                    ),
                    row,
                )
        return answer

    def identify(self, probe: np.ndarray, count: int, excluded: str | None) -> list[tuple[str, float]]:
        scored = [
            (-float(comparison_scores(row[None, :].astype(np.float16), probe)[0]), face_id)
            for face_id, (_, row) in self.references.items()
            if face_id != excluded
        ]
        return [(face_id, -score) for score, face_id in sorted(scored)[:count]]


class GalleryMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gallery-machine-"))
        self.model: dict[tuple[str, str], Model] = {}
        self.writes = 0
        self._open()

    def _open(self) -> None:
        self.stack = ExitStack()
        self.opened: World = self.stack.enter_context(world(self.folder, keep_small=2))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()
            shutil.rmtree(self.folder)

    def _entry(self, account: str) -> Any:
        return entry(account_id=account)

    @rule()
    def restart(self) -> None:
        self.stack.close()
        self._open()

    @rule(account=accounts, collection=collection_ids)
    def create(self, account: str, collection: str) -> None:
        if (account, collection) in self.model:
            with pytest.raises(CollectionExists):
                self.opened.create(collection, dimension=DIMENSION, account_id=account)
        else:
            self.opened.create(collection, dimension=DIMENSION, account_id=account)
            self.model[account, collection] = Model()
            self.writes += 1

    @rule(account=accounts, collection=collection_ids)
    def delete(self, account: str, collection: str) -> None:
        gone = self.model.pop((account, collection), None)
        if gone is None:
            with pytest.raises(CollectionNotFound):
                self.opened.gallery.delete_collection(account, collection, entry=self._entry(account))
        else:
            count = self.opened.gallery.delete_collection(account, collection, entry=self._entry(account))
            assert count == len(gone.references)
            self.writes += 1

    @rule(account=accounts, collection=collection_ids, given=st.lists(faces, max_size=4))
    def enrol(self, account: str, collection: str, given: list[tuple[Any, ...]]) -> None:
        enrolled = []
        for image, external, place, moved, row in given:
            # the identity of a face moves with its box, as the server computes it from the box's pixels
            enrolled.append(
                (
                    reference(
                        (image, external, place, moved),
                        image_id=name_id(("image", image)),
                        external_image_id=external,
                        box=BoundingBox(0.25 * place + moved * 0.25, 0.0, 0.25, 0.25),
                        detection_confidence=90.0 + row,
                    ),
                    ROWS[row],
                )
            )
        model = self.model.get((account, collection))
        requests = [Enrolment(each, row) for each, row in enrolled]
        if model is None:
            with pytest.raises(CollectionNotFound):
                self.opened.gallery.enrol(account, collection, requests, entry=self._entry(account))
            return
        answer = self.opened.gallery.enrol(account, collection, requests, entry=self._entry(account))
        assert [each.face_id for each in answer] == model.enrol(enrolled)
        self.writes += 1

    @rule(account=accounts, collection=collection_ids, data=st.data())
    def erase(self, account: str, collection: str, data: st.DataObject) -> None:
        model = self.model.get((account, collection))
        if model is None:
            return
        known = sorted(model.references)
        chosen = data.draw(st.lists(st.sampled_from([*known, name_id("absent")]), max_size=4))
        erased = self.opened.gallery.erase(account, collection, chosen, entry=self._entry(account))
        assert erased == [each for each in dict.fromkeys(chosen) if each in model.references]
        for face_id in erased:
            del model.references[face_id]
        self.writes += 1

    @rule(
        account=accounts, collection=collection_ids, tags=st.dictionaries(st.sampled_from("abc"), st.text(max_size=3))
    )
    def tag_and_untag(self, account: str, collection: str, tags: dict[str, str]) -> None:
        model = self.model.get((account, collection))
        if model is None:
            return
        model.tags |= tags
        assert self.opened.gallery.tag(account, collection, tags, entry=self._entry(account)) == model.tags
        gone = sorted(tags)[:1]
        for name in gone:
            del model.tags[name]
        assert self.opened.gallery.untag(account, collection, gone, entry=self._entry(account)) == model.tags
        self.writes += 2

    @rule(account=accounts, collection=collection_ids, count=st.integers(0, 12), data=st.data())
    def identify(self, account: str, collection: str, count: int, data: st.DataObject) -> None:
        model = self.model.get((account, collection))
        if model is None:
            return
        excluded = data.draw(st.sampled_from([None, *sorted(model.references)]))
        answer = self.opened.gallery.identify(
            account, collection, ROWS[:4], max_candidates=count, exclude_face_id=excluded
        )
        for probe, ranking in zip(ROWS[:4], answer, strict=True):
            found = [(each.reference.face_id, each.comparison_score) for each in ranking]
            assert found == model.identify(probe, count, excluded)
            assert all(each.reference == model.references[each.reference.face_id][0] for each in ranking)

    @invariant()
    def the_records_agree(self) -> None:
        if not hasattr(self, "opened"):
            return
        gallery = self.opened.gallery
        for account in (ACCOUNT, OTHER_ACCOUNT):
            listed = {each.collection_id: each for each in gallery.collections(account, after_uid=None, limit=10)}
            assert set(listed) == {name for owner, name in self.model if owner == account}
            for name, found in listed.items():
                model = self.model[account, name]
                assert found.face_count == len(model.references)
                stored = gallery.references(account, name, after_seq=None, limit=1000, face_ids=None)
                assert [each for _, each in stored] == [each for each, _ in model.references.values()]
                assert gallery.tags(account, name) == model.tags
                with pytest.raises(ReferenceNotFound):
                    gallery.reference(account, name, name_id("absent"))
        assert len(self.opened.database.pending_outbox(10_000)) == self.writes


TestGallery = GalleryMachine.TestCase
TestGallery.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
