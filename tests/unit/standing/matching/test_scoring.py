"""logic-v2 in its configurations: what each of them finds, and that one is a bound of the other."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from countenance.standing.listed import ListedEntity, Name, NameKind, Schema, ScreenedParty
from countenance.standing.matching import Scorer
from countenance.standing.matching.scoring import THRESHOLD

ORG = Schema.ORGANIZATION


def party(name: str, country: str = "nl", schema: Schema = Schema.COMPANY, **more: tuple[str, ...]) -> ScreenedParty:
    return ScreenedParty("p", schema, (name,), (country,) if country else (), **more)  # type: ignore[arg-type]


def listed(
    name: str, country: str = "ru", schema: Schema = ORG, weak: str = "", **more: tuple[str, ...]
) -> ListedEntity:
    names = (Name(name), Name(weak, NameKind.WEAK)) if weak else (Name(name),)
    return ListedEntity("l", "1", schema, names, (country,) if country else (), **more)  # type: ignore[arg-type]


def scores(scorer: Scorer, one: ScreenedParty, other: ListedEntity) -> tuple[float, float]:
    left, right = scorer.party(one), scorer.listed(other)
    return scorer.block(left, right).score, scorer.review(left, right).score


def test_two_parties_of_one_id_are_compared_under_their_own_names(scorer: Scorer) -> None:
    """The matcher caches names by id; an id that were taken from the caller would find the first name twice."""
    entry = scorer.listed(listed("Synesis"))
    first = scorer.block(scorer.party(party("Synesis", "ru")), entry).score
    assert first == 1.0
    assert scorer.block(scorer.party(party("Quokka Fruit", "ru")), entry).score < THRESHOLD
    assert scorer.block(scorer.party(party("Synesis", "ru")), scorer.listed(listed("Quokka Fruit"))).score < THRESHOLD


def test_another_country_weighs_against_blocking_and_not_against_review(scorer: Scorer) -> None:
    block, review = scores(scorer, party("Tevian", "nl"), listed("Tevian", "ru"))
    assert block == pytest.approx(0.8)
    assert review == 1.0


@pytest.mark.parametrize(
    ("name", "entry"),
    [("Tevian Europe B.V.", "Tevian"), ("Sberbank Europe Holding", "Sberbank"), ("NtechLab B.V.", "Ntechlab")],
)
def test_a_shell_is_reviewed_and_not_blocked(scorer: Scorer, name: str, entry: str) -> None:
    block, review = scores(scorer, party(name), listed(entry))
    assert block < THRESHOLD <= review


def test_further_names_of_a_person_are_another_person(scorer: Scorer) -> None:
    one = party("Luis Alberto Fernando Ortega", "mx", Schema.PERSON)
    block, review = scores(scorer, one, listed("Luis Ortega", "co", Schema.PERSON))
    assert review < THRESHOLD
    assert block < review  # of the country alone


def test_a_birth_year_that_differs_weighs_against_a_person(scorer: Scorer) -> None:
    entry = listed("Ivan Petrov", "ru", Schema.PERSON, birth_dates=("1950",))
    same, _ = scores(scorer, party("Ivan Petrov", "ru", Schema.PERSON, birth_dates=("1950",)), entry)
    other, _ = scores(scorer, party("Ivan Petrov", "ru", Schema.PERSON, birth_dates=("1990",)), entry)
    assert other < same


def test_a_weak_alias_is_no_reason_to_block(scorer: Scorer) -> None:
    entry = listed("Haji Khairullah Money Exchange", weak="Dawood")
    block, review = scores(scorer, party("Dawood", "ru"), entry)
    assert block < THRESHOLD <= review
    assert scorer.may_match(scorer.party(party("Dawood", "ru")), scorer.listed(entry))


def test_scripts_the_matcher_does_not_read_open_a_case_through_latin_letters(scorer: Scorer) -> None:
    one, entry = party("习近平", "", Schema.PERSON), listed("Xi Jinping", "", Schema.PERSON)
    block, review = scores(scorer, one, entry)
    assert block < THRESHOLD <= review
    assert scorer.may_match(scorer.party(one), scorer.listed(entry))


def test_an_explanation_adds_up_to_the_score(scorer: Scorer) -> None:
    found = scorer.block(scorer.party(party("Tevian Limited")), scorer.listed(listed("Tevian")))
    assert sum(feature.score * feature.weight for feature in found.features) == pytest.approx(found.score, abs=1e-5)
    assert {feature.name for feature in found.features} == {"name_match", "country_mismatch"}
    assert (found.party_name, found.listed_name) == ("Tevian Limited", "Tevian")


def test_reviewing_never_scores_below_blocking(scorer: Scorer, measuring_data: Path) -> None:
    """`may_match` rests on it: where the probe stays below the threshold, the other configuration is not asked."""
    with (measuring_data / "name_bench/nomenklatura_cases.csv").open(newline="", encoding="utf-8") as file:
        cases = list(csv.DictReader(file))
    assert len(cases) == 826
    for case in cases:
        for schema in {Schema(case["schema"]), ORG, Schema.LEGAL_ENTITY, Schema.PERSON}:
            block, review = scores(scorer, party(case["name1"], "nl", schema), listed(case["name2"], "ru", schema))
            assert block <= review, case
