"""Screening everybody again: after an update the result is that of screening anew, and less is scored."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from countenance.standing.listed import ListedEntity, Name, Schema, ScreenedParty
from countenance.standing.matching import Scorer, Screened, Screener, screen_all

WORDS = ("Vostok", "Zapad", "Neva", "Tevian", "Synesis", "Ural", "Baltik", "Kama", "Orbita", "Zarya", "Polyus", "Volga")


def drawn(rng: random.Random) -> str:
    return " ".join(rng.sample(WORDS, rng.choice((1, 2, 3))))


def entries(rng: random.Random, count: int, first: int = 0) -> list[ListedEntity]:
    return [
        ListedEntity("test", str(first + number), Schema.ORGANIZATION, (Name(drawn(rng)), Name(drawn(rng))), ("ru",))
        for number in range(count)
    ]


def parties(rng: random.Random, count: int) -> list[ScreenedParty]:
    return [
        ScreenedParty(str(number), Schema.COMPANY, (f"{drawn(rng)} Europe {number} B.V.", drawn(rng)), ("nl",))
        for number in range(count)
    ]


def outcomes(done: list[Screened]) -> list[tuple[str, list[tuple[str, ...]]]]:
    return [(one.party_id, [hit.outcome for hit in one.hits]) for one in done]


def test_after_an_update_nothing_differs_from_screening_anew(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    everybody, old = parties(rng, 40), entries(rng, 200)
    before = screen_all(Screener(old), everybody)
    # Entries gone, changed, moved to another id, and new ones: weights of trigrams and who is a candidate change, too.
    changed = [replace(entity, names=(*entity.names, Name(drawn(rng)))) for entity in old[:10]]
    moved = [replace(entity, entry_id=f"moved-{entity.entry_id}") for entity in old[10:20]]
    updated = Screener([*changed, *moved, *old[40:], *entries(rng, 20, first=1000)])
    anew = screen_all(updated, everybody)
    scored = 0
    score = Screener._score

    def counted(self: Screener, *of: Any) -> object:
        nonlocal scored
        scored += 1
        return score(self, *of)

    monkeypatch.setattr(Screener, "_score", counted)
    again = screen_all(updated, everybody, {one.party_hash: one for one in before})
    assert outcomes(again) == outcomes(anew)
    assert [one.compared for one in again] == [one.compared for one in anew]
    assert outcomes(anew) != outcomes(before)
    assert 0 < scored < sum(len(one.compared) for one in anew) / 2


def test_what_another_scorer_or_other_content_found_is_not_taken(scorer: Scorer) -> None:
    rng = random.Random(4)
    everybody, screener = parties(rng, 3), Screener(entries(rng, 30))
    before = screen_all(screener, everybody)
    assert any(one.hits for one in before)
    emptied = [replace(one, hits=()) for one in before]
    as_before = screen_all(screener, everybody, {one.party_hash: one for one in emptied})
    assert not any(one.hits for one in as_before)  # taken at their word: nothing was scored
    others = {one.party_hash: replace(one, scorer_key="logic-v3") for one in emptied}
    assert outcomes(screen_all(screener, everybody, others)) == outcomes(before)
    mixed = {one.party_hash: replace(one, party_hash="0") for one in emptied}
    assert outcomes(screen_all(screener, everybody, mixed)) == outcomes(before)


def test_processes_find_the_same_in_the_same_order_and_say_how_far_they_are(scorer: Scorer) -> None:
    rng = random.Random(5)
    everybody, screener = parties(rng, 120), Screener(entries(rng, 60))
    steps: list[tuple[int, int]] = []
    done = screen_all(screener, everybody, processes=2, progress=lambda *step: steps.append(step))
    assert steps == [(50, 120), (100, 120), (120, 120)]
    assert outcomes(done) == outcomes(screen_all(screener, everybody))
    assert [one.party_id for one in done] == [one.party_id for one in everybody]


def test_nobody_to_screen_is_no_work(scorer: Scorer) -> None:
    assert screen_all(Screener([]), [], processes=2) == []
