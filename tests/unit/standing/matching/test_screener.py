"""One party against a list: tiers, identifiers, and what a hit says of itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from countenance.standing.listed import Identifier, ListedEntity, Name, NameKind, Schema, ScreenedParty
from countenance.standing.matching import Hit, Scorer, Screener, Tier, entry_hash, party_hash

ORG, COMPANY = Schema.ORGANIZATION, Schema.COMPANY
SBERBANK = ListedEntity(
    "ofac-sdn", "18715", ORG, (Name("SBERBANK OF RUSSIA"), Name("Sberbank", NameKind.ALIAS)), ("ru",),
    (Identifier("registrationNumber", "1027700132195", "ru"), Identifier("taxNumber", "7707083893", "ru")),
)  # fmt: skip
TEVIAN = ListedEntity("eu-fsf", "1", ORG, (Name("Tevian"), Name("TVN", NameKind.WEAK)), ("ru",))
SHIP = ListedEntity("ofac-sdn", "2", Schema.VESSEL, (Name("EBANO"),), ("cu",), (Identifier("imoNumber", "7406784"),))
PARENT = ListedEntity("own", "3", COMPANY, (Name("Evalar Holding"),), ("ru",), sanctioned=False)
LISTED = (SBERBANK, TEVIAN, SHIP, PARENT)


def party(name: str, country: str = "nl", *identifiers: Identifier, schema: Schema = COMPANY) -> ScreenedParty:
    return ScreenedParty("p", schema, (name,), (country,), identifiers)


@pytest.fixture(scope="module")
def screener(scorer: Scorer) -> Screener:
    return Screener(LISTED)


def found(screener: Screener, one: ScreenedParty) -> list[tuple[str, Tier]]:
    return [(hit.entry_id, hit.tier) for hit in screener.screen(one)]


def test_the_name_blocks_a_shell_of_it_is_reviewed_and_another_is_clear(screener: Screener) -> None:
    assert found(screener, party("Tevian")) == [("1", Tier.BLOCK)]
    assert found(screener, party("Tevian Europe B.V.")) == [("1", Tier.REVIEW)]
    assert found(screener, party("Bakkerij De Vries B.V.")) == []


@pytest.mark.parametrize(
    "identifier",
    [
        Identifier("ogrnCode", "1027700132195"),
        Identifier("registrationNumber", "1027700132195", "nl"),  # an OGRN says so itself, whatever the country
        Identifier("taxNumber", "7707083893", "ru"),
    ],
)
def test_an_identifier_blocks_without_a_name(screener: Screener, identifier: Identifier) -> None:
    (hit,) = screener.screen(party("Bakkerij De Vries B.V.", "nl", identifier))
    assert (hit.entry_id, hit.tier, hit.score) == ("18715", Tier.BLOCK, 1.0)
    assert (hit.party_name, hit.listed_name) == ("", "")
    assert hit.features[0].name == "same_identifier"
    assert hit.features[0].party == hit.features[0].listed == identifier.value


def test_an_identifier_beats_the_kind_of_thing(screener: Screener) -> None:
    """Lists give ships' owners the ship's IMO number, and the other way round."""
    assert found(screener, party("Bakkerij", "nl", Identifier("imoNumber", "IMO 7406784"))) == [("2", Tier.BLOCK)]


def test_a_number_of_another_country_is_another_number(screener: Screener) -> None:
    assert ("18715", Tier.BLOCK) not in found(screener, party("Bakkerij", "nl", Identifier("taxNumber", "7707083893")))


def test_a_weak_alias_alone_is_for_review(screener: Screener) -> None:
    (hit,) = screener.screen(party("TVN", "ru"))
    assert (hit.entry_id, hit.tier) == ("1", Tier.REVIEW)
    assert "weak_alias_match" in {feature.name for feature in hit.features}
    assert hit.block_score < 0.7


def test_who_is_not_sanctioned_blocks_nobody(screener: Screener) -> None:
    assert found(screener, party("Evalar Holding", "ru")) == [("3", Tier.REVIEW)]


@pytest.mark.parametrize("schema", [Schema.PERSON, Schema.LEGAL_ENTITY])
def test_declaring_another_kind_of_thing_hides_nobody(screener: Screener, schema: Schema) -> None:
    expected = Tier.BLOCK if schema is Schema.LEGAL_ENTITY else Tier.REVIEW
    assert found(screener, party("Tevian", schema=schema)) == [("1", expected)]
    assert found(screener, party("Anna Tevian Vries", schema=Schema.PERSON)) == []


@pytest.mark.parametrize("name", ["Ｔｅｖｉａｎ", "𝐓𝐞𝐯𝐢𝐚𝐧", "Tеvian", "Te\u200bvian", "TEVIAN\u202e"])
def test_letters_that_only_look_otherwise_hide_nobody(screener: Screener, name: str) -> None:
    assert found(screener, party(name)) == [("1", Tier.BLOCK)]


def test_each_of_a_partys_names_is_looked_for(screener: Screener) -> None:
    one = ScreenedParty("p", COMPANY, ("Bakkerij De Vries B.V.", "Tevian"), ("nl",))
    assert found(screener, one) == [("1", Tier.BLOCK)]


def test_a_hit_is_plain_data_and_says_why(screener: Screener) -> None:
    one = party("Tevian Europe B.V.")
    (hit,) = screener.screen(one)
    assert Hit.from_json(json.loads(json.dumps(hit.as_json()))) == hit
    assert (hit.party_hash, hit.entry_hash) == (party_hash(one), entry_hash(TEVIAN))
    assert hit.scorer.startswith("logic-v2 nomenklatura/")
    assert len(hit.config_hash) == 64
    assert (hit.party_name, hit.listed_name) == ("Tevian Europe B.V.", "Tevian")
    assert hit.block_score < 0.7 <= hit.score
    assert "tevian" in hit.features[0].detail


def test_hits_are_the_worst_first_whatever_the_order_of_the_list(screener: Screener) -> None:
    one = ScreenedParty("p", COMPANY, ("Tevian Europe", "Evalar Holding", "Sberbank"), ("ru",))
    hits = screener.screen(one)
    assert [hit.tier for hit in hits] == [Tier.BLOCK, Tier.REVIEW, Tier.REVIEW]
    assert Screener(reversed(LISTED)).screen(one) == hits


def test_hashes_read_content_alone(screener: Screener) -> None:
    one = party("Tevian")
    assert party_hash(one) == party_hash(ScreenedParty("other", COMPANY, ("Tevian",), ("nl",)))
    assert party_hash(one) != party_hash(party("Tevian", "de"))
    assert party_hash(one) != party_hash(party("Tevian", "nl", Identifier("leiCode", "x")))
    moved = ListedEntity("uk-sl", "RUS1", ORG, TEVIAN.names, ("ru",), remarks="moved", programmes=("X",))
    assert entry_hash(moved) == entry_hash(TEVIAN)
    stronger = ListedEntity("eu-fsf", "1", ORG, (Name("Tevian"), Name("TVN", NameKind.ALIAS)), ("ru",))
    assert entry_hash(stronger) != entry_hash(TEVIAN)


OUTCOME = """
from countenance.standing.listed import *
from countenance.standing.matching import Screener
names = tuple(Name(text, NameKind.ALIAS) for text in ("Abu Yasir", "Abu Bilal", "Abu Karim", "Yasir Abu"))
entity = ListedEntity("un", "1", Schema.PERSON, names, ("iq", "sy", "af"))
party = ScreenedParty("p", Schema.PERSON, ("Abu Luqman", "Abu Yasir Luqman", "Bilal Luqman"), ("nl", "be", "de"))
print([hit.outcome for hit in Screener([entity]).screen(party)])
"""


def test_the_outcome_is_the_same_in_every_process(scorer: Scorer) -> None:
    """The matcher keeps names in sets, whose order a process draws at its start."""
    outcomes = set()
    for seed in "1", "2":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", OUTCOME], capture_output=True, text=True, check=True, env=environment
        )
        outcomes.add(done.stdout)
    assert len(outcomes) == 1
    assert "un" in outcomes.pop()
