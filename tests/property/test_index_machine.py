"""Every index against the oracle, under any order of changes, searches and steps of the background."""

from __future__ import annotations

from unittest import mock

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from countenance.gallery import quantised
from countenance.gallery.index import FaissIndex, NumpyIndex, QuantisedIndex, TieredIndex
from countenance.gallery.segments import Segment
from tests.congruence.samples import unit_rows

DIMENSION = 8
FACES = unit_rows(40, DIMENSION, 1).astype(np.float16)  # few, so that equal faces are common
numbers = st.sets(st.integers(0, 400), min_size=1, max_size=90)


def ids(which: list[int]) -> NDArray[np.uint8]:
    """Of which the second half decides, in no order that the number has."""
    return np.array([[each % 3, 0, each * 7 % 251, each // 251] * 4 for each in which], np.uint8)


class IndexMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.background = mock.patch.object(quantised._BACKGROUND, "ask")
        self.background.start()
        self.there: set[int] = set()
        self.oracle = NumpyIndex(DIMENSION)
        self.quantised = QuantisedIndex(DIMENSION, tail_rows=40)
        self.indexes = [
            FaissIndex(DIMENSION),
            self.quantised,
            QuantisedIndex(DIMENSION, tail_rows=10, make_segment=self.make),
            TieredIndex(DIMENSION, quantise_from=120),
        ]

    def teardown(self) -> None:
        if hasattr(self, "background"):
            self.background.stop()

    def make(self, face_ids: NDArray[np.uint8], templates: object, dimension: int) -> Segment:
        made = Segment.build(face_ids, templates, dimension)  # type: ignore[arg-type]
        return Segment.from_codes(bytes(made.codes()), made.rows, dimension)

    def all(self) -> list[NumpyIndex | FaissIndex | QuantisedIndex | TieredIndex]:
        return [self.oracle, *self.indexes]

    @rule(which=numbers, seed=st.integers(0, 5))
    def add(self, which: set[int], seed: int) -> None:
        new = sorted(which - self.there)
        if new:
            templates = FACES[np.random.default_rng(seed).integers(0, len(FACES), len(new))]
            for each in self.all():
                each.add(ids(new), templates)
            self.there |= set(new)

    @rule(which=numbers, seed=st.integers(0, 5))
    def replace(self, which: set[int], seed: int) -> None:
        known = sorted(which & self.there)
        if known:
            templates = FACES[np.random.default_rng(seed).integers(0, len(FACES), len(known))]
            for each in self.all():
                each.replace(ids(known), templates)

    @rule(which=numbers)
    def remove(self, which: set[int]) -> None:
        gone = len(which & self.there)
        for each in self.all():
            assert each.remove(ids(sorted(which))) == gone
        self.there -= which

    @rule(purge=st.booleans(), which=st.integers(1, 2))
    def tidy(self, purge: bool, which: int) -> None:
        index = self.indexes[which]
        assert isinstance(index, QuantisedIndex)
        index.tidy(purge=purge)

    @rule(probes=st.lists(st.integers(0, len(FACES) - 1), min_size=1, max_size=7), count=st.sampled_from([1, 3, 30]))
    def search(self, probes: list[int], count: int) -> None:
        rows = FACES[probes].astype(np.float32)
        wanted = self.oracle.search(rows, count)
        for each in self.indexes:
            assert each.search(rows, count) == wanted

    @invariant()
    def is_as_long(self) -> None:
        if hasattr(self, "there"):
            assert [len(each) for each in self.all()] == [len(self.there)] * 5


IndexMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestIndexes = IndexMachine.TestCase
