"""Finding names: with letters missing, words in another order, and whatever else the list holds. Needs no extra."""

from __future__ import annotations

import csv
import pickle
import random
from pathlib import Path

import pytest

from countenance.standing.listed import ListedEntity, Name, NameKind, Schema
from countenance.standing.matching import TrigramIndex
from countenance.standing.matching.retrieval import trigrams, words


def entity(*names: str, entry_id: str = "1") -> ListedEntity:
    listed = tuple(Name(text, NameKind.ALIAS if at else NameKind.PRIMARY) for at, text in enumerate(names))
    return ListedEntity("test", entry_id, Schema.ORGANIZATION, listed)


LISTED = [
    entity("Synesis LLC"),
    entity("Sberbank of Russia", "Sber"),
    entity("Тевиан"),
    entity("Müller & Söhne G.m.b.H."),
]


def test_order_accents_dots_and_case_of_a_name_do_not_count() -> None:
    index = TrigramIndex(LISTED)
    assert index.top(["gmbh SOHNE Muller"])[0] == (3, pytest.approx(1.0))
    assert trigrams("B.V. O'Brien") == trigrams("obrien BV")
    assert words("Al-Qa’ida (Iraq)") == ["al", "qaida", "iraq"]


def test_similarity_is_that_of_the_most_similar_name_of_an_entity() -> None:
    index = TrigramIndex(LISTED)
    assert index.top(["Sber"])[0] == (1, pytest.approx(1.0))
    assert index.top(["Sberbank Rusia"])[0][0] == 1


def test_what_shares_no_three_letters_is_no_candidate() -> None:
    index = TrigramIndex(LISTED)
    assert index.top(["Quokka"]) == []
    assert index.top(["", "?!"]) == []
    assert TrigramIndex([]).top(["Synesis"]) == []


def test_scripts_meet_only_through_transliteration() -> None:
    as_written, in_latin = TrigramIndex(LISTED), TrigramIndex(LISTED, lambda text: text.replace("Тевиан", "Tevian"))
    assert as_written.top(["ТЕВИАН"])[0][0] == 2
    assert as_written.top(["Tevian"]) == []
    assert in_latin.top(["Tevian"])[0] == (2, pytest.approx(1.0))


def test_further_names_of_a_party_push_no_candidate_out() -> None:
    listed = [entity(f"Company {number:03}") for number in range(50)] + [entity("Vostok Zapad")]
    index = TrigramIndex(listed)
    many = [f"Company {number:03}" for number in range(40)]
    assert 50 in {place for place, _ in index.top([*many, "Vostok Zapat"], k=5)}
    assert len(index.top(["Company"], k=5)) == 5


def test_of_equally_similar_entities_the_first_are_taken() -> None:
    index = TrigramIndex([entity("Alpha Beta", entry_id=str(number)) for number in range(9)])
    assert [place for place, _ in index.top(["Alpha Beta"], k=3)] == [0, 1, 2]


def test_a_rare_word_outweighs_common_ones() -> None:
    listed = [entity(f"Trading Company Number {number}") for number in range(300)] + [entity("Kalashnikov")]
    assert TrigramIndex(listed).top(["Kalashnikov Trading Company"], k=1)[0][0] == 300


def test_a_pickled_index_answers_the_same() -> None:
    index = TrigramIndex(LISTED)
    copy = pickle.loads(pickle.dumps(index))
    assert len(copy) == len(index) == 5
    assert copy.top(["Sberbnk Rusia", "Synesys"]) == index.top(["Sberbnk Rusia", "Synesys"])


def test_names_with_two_edits_and_shuffled_words_are_found(measuring_data: Path) -> None:
    """recall@50 on OFAC's primary names; `python -m bench screening` prints it for all lists and aliases."""
    with (measuring_data / "sanctions_lists/ofac_sdn_2023-11.csv").open(newline="", encoding="utf-8") as file:
        listed = [entity(row[1], entry_id=row[0]) for row in csv.reader(file) if row[0].isdigit() and row[1]]
    index = TrigramIndex(listed)
    rng = random.Random(11)
    looked_for = [place for place in range(len(listed)) if len("".join(words(listed[place].names[0].text))) >= 6]
    found = 0
    for place in (sample := rng.sample(looked_for, 400)):
        letters = list(listed[place].names[0].text)
        for _ in range(2):
            letters[rng.randrange(len(letters))] = rng.choice("aeioustrnl")
        parts = "".join(letters).split()
        rng.shuffle(parts)
        found += place in {candidate for candidate, _ in index.top([" ".join(parts)])}
    assert found >= 0.99 * len(sample)
