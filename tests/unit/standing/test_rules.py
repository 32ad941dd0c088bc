"""Each rule: something that raises it, something that does not, and what a file of rules may say."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from countenance.standing import runner
from countenance.standing.ownership import Graph, Interval, Statement
from countenance.standing.rules import (
    USE,
    Facts,
    Place,
    RuleError,
    Somebody,
    Usage,
    built_in,
    digest_of,
    in_force,
    load,
    parsed,
    raised,
)

DAY = date(2026, 5, 4)
HALF = Interval(500_000, 500_000)
PLAIN = Facts(
    day=DAY,
    name="Acme Access B.V.",
    country="NL",
    declared_sector="logistics",
    end_use="door control for staff of one terminal",
    domain="acme.example",
    email="desk@acme.example",
    phone="+31 20 123 4567",
    addresses=(Place("Keizersgracht 1, Amsterdam", "NL", "registered"),),
    owners=(Somebody("Acme Holding Ltd", "GB"),),
    graph=Graph([Statement("1", "acme holding", "party", share=Interval(1_000_000, 1_000_000), source="x")]),
    usage=Usage((0,) * 7 + (100,) * 12 + (0,) * 5, 20, 30),
    monthly_calls=1_000,
)
"""Nothing to look at."""


def chain(*nodes: str, **more: Any) -> Graph:
    pairs = itertools.pairwise(nodes)
    return Graph(
        Statement(str(at), owner, owned, share=Interval(1_000_000, 1_000_000), source="x", **more)
        for at, (owner, owned) in enumerate(pairs)
    )


ENDED = Statement("9", "seller", "party", share=HALF, valid_to=DAY - timedelta(days=30), source="register")
NIGHTLY = Usage((0,) * 6 + (300,) * 5 + (0,) * 13, 20, 30)
"""From 6 to 11 hours UTC: at night in Peru, before noon in Moscow."""
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("R1", {"incorporated_on": date(2023, 1, 9), "country": "AM"}, "incorporated on 2023-01-09 in AM"),
    ("R2", {"owners": (), "graph": Graph([])}, "nobody is named"),
    ("R2", {"end_use": "doors"}, "5 characters"),
    ("R2", {"end_use": "distribution to others"}, "no end user is named"),
    ("R3", {"domain": ""}, "no domain"),
    ("R3", {"email": "acme@mail.ru"}, "mail.ru"),
    ("R3", {"email": "desk@elsewhere.example"}, "is not acme.example"),
    ("R4", {"phone": "+7 495 123 4567"}, "RU"),
    ("R5", {"declared_sector": "Freight forwarding"}, "freight"),
    ("R6", {"listed_addresses": {"Main St 1": ("Somebody (ofac-sdn 7)",)}}, "also an address of Somebody"),
    ("R7", {"end_users": (Somebody("Ministry of Defence", "NL"),)}, "ministry of defence"),
    ("R7", {"end_use": "used by the police of a city"}, "police"),
    ("R8", {"called_from": ("AM",)}, "calls came from AM; it says it is in NL"),
    ("R9", {"used_in": ("NL", "TR")}, "used-in its use: TR"),
    ("R10", {"ended": (ENDED,)}, "share ended"),
    ("R10", {"near": {"Holder": Interval(499_300, 499_300)}}, "49.93 % ends up with Holder"),
    ("R11", {"addresses": (Place("c/o Trust Office, Amsterdam", "NL", "business"),)}, "c/o"),
    ("R11", {"addresses": (Place("Somewhere 1", "NL", "residential"),)}, "residential"),
    ("R11", {"shared": {"Keizersgracht 1, Amsterdam": 2}}, "other accounts"),
    ("R12", {"graph": chain("d", "c", "b", "a", "party")}, "4 layers"),
    ("R12", {"graph": chain("a", "party", interest="nominee")}, "a is a nominee"),
    ("R13", {"graph": Graph([Statement("1", "a", "party", share=HALF, source="x")])}, "for 50 % only"),
    ("R13", {"graph": chain("a", "party", interest="unknownInterest")}, "unknownInterest"),
    ("R14", {"payer": "Third Party Ltd"}, "Third Party Ltd pays"),
    (
        "R15",
        {"usage": NIGHTLY, "country": "PE", "addresses": (), "monthly_calls": None},
        "at night where it says it is",
    ),
    ("R15", {"monthly_calls": 100}, "100 a month"),
    ("R15", {"labels": ("склад",)}, "Cyrillic"),
    ("N1", {"used_in": ("RU",)}, "used-in its use: RU"),
    ("N1", {"called_from": ("RU",)}, "call calls: RU"),
    ("N2", {"owners": (Somebody("Parent", "RU"),)}, "owner Parent: RU"),
    ("N3", {"end_users": (Somebody("Reseller", "IR"),)}, "end-user Reseller: IR"),
    ("N4", {"end_users": (Somebody("City", "BY"),), "end_use": "crowd counting downtown"}, "says 'crowd'"),
]


def of(rule: str, facts: Facts) -> list[str]:
    """What one rule says of facts, as a case or a note."""
    found = raised(facts, [each for each in in_force(built_in(), facts.day) if each.id == rule])
    return [fact for each in (*(x["explained"] for x in found.findings), *found.notes) for fact in each["facts"]]


@pytest.mark.parametrize(
    ("rule", "changes", "expected"), CASES, ids=[f"{case[0]}-{at}" for at, case in enumerate(CASES)]
)
def test_a_rule_is_raised_by_its_fact_and_by_nothing_else(rule: str, changes: dict[str, Any], expected: str) -> None:
    if rule in ("R4", "R15") and not runner.is_installed():
        pytest.skip("the extra is not installed: make standing")
    said = of(rule, replace(PLAIN, **changes))
    assert len(said) == 1, said
    assert expected in said[0]
    assert of(rule, PLAIN) == []


def test_every_rule_has_a_case_here_and_a_row_in_the_docs() -> None:
    ids = {each.id for each in built_in()}
    assert ids == {each[0] for each in CASES}
    page = (Path(__file__).parents[3] / "docs/standing/rules.md").read_text("utf-8")
    for each in built_in():
        assert f"| {each.id} |" in page, each.id


def test_plain_facts_raise_nothing_at_all() -> None:
    found = raised(PLAIN, in_force(built_in(), DAY))
    assert (found.findings, found.notes) == ([], [])


def test_notes_alone_are_no_case_and_two_different_ones_are() -> None:
    rules = in_force(built_in(), DAY)
    one = raised(replace(PLAIN, domain="", email="acme@mail.ru"), rules)
    assert (one.findings, len(one.notes)) == ([], 1)
    assert len(one.notes[0]["facts"]) == 2
    two = raised(replace(PLAIN, domain="", email="", payer="Third Party Ltd"), rules)
    (case,) = two.findings
    assert (case["about"], case["tier"], case["title"]) == (
        "red-flag/together",
        "review",
        "red flags together: R3, R14",
    )
    assert all(each["source"] for each in case["explained"]["rules"])


def test_a_case_stays_the_same_until_its_fact_or_its_rule_changes() -> None:
    facts = replace(PLAIN, called_from=("AM", "CL"))
    rules = in_force(built_in(), DAY)
    first = {each["about"]: each["case"] for each in raised(facts, rules).findings}
    assert set(first) == {"red-flag/R8/AM", "red-flag/R8/CL"}
    later = raised(replace(facts, called_from=("AM", "CL", "PE"), usage=None), rules).findings
    assert first.items() <= {each["about"]: each["case"] for each in later}.items()
    elsewhere = raised(replace(facts, used_in=("DE",)), rules).findings
    assert first["red-flag/R8/AM"] not in {each["case"] for each in elsewhere}
    other = [replace(each, source="another") for each in rules]
    assert not set(first.values()) & {each["case"] for each in raised(facts, other).findings}


def test_a_rule_counts_on_its_days_only() -> None:
    rules = built_in()
    facts = replace(PLAIN, owners=(Somebody("Parent", "RU"),))
    before, after = (in_force(rules, day) for day in (date(2022, 2, 23), date(2022, 2, 24)))
    assert not [each for each in raised(facts, before).findings if each["kind"] == "nexus"]
    assert [each["about"] for each in raised(facts, after).findings] == ["nexus/N2/owner/Parent/RU"]
    assert digest_of(before) != digest_of(after)
    assert digest_of(after) == digest_of(tuple(reversed(after)))
    (ended,) = parsed(RULE + "valid_to = 2024-01-01\n", "x")
    assert [ended.holds_on(date(2023, 12, 31)), ended.holds_on(date(2024, 1, 1))] == [True, False]


def test_of_the_owner_only_use_is_looked_at() -> None:
    facts = replace(PLAIN, called_from=("RU",), domain="", payer="Third Party Ltd", owners=(), graph=Graph([]))
    found = raised(facts, in_force(built_in(), DAY), only=USE)
    assert [each["about"] for each in found.findings] == ["red-flag/R8/RU"]


RULE = '[[rule]]\nid = "X1"\nkind = "red-flag"\ncheck = "payer"\nopens = "case"\ntitle = "t"\nsource = "s"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "no TOML"),
        ("x = 1", "'x'"),
        ("rule = 1", "not a list"),
        ("[[rule]]\n", "lacks id"),
        (RULE + "more = 1\n", "not known"),
        (RULE + RULE, "two rules of one id"),
        (RULE.replace("payer", "none"), "no check 'none'"),
        (RULE.replace('"case"', '"block"'), "neither a case nor a note"),
        (RULE.replace('"t"', '""'), "lacks title"),
        (RULE + "valid_from = 2022\n", "no day"),
        (RULE + "with = {least = 1}\n", "does not say what its check asks for"),
        (RULE.replace("payer", "layers"), "does not say what its check asks for"),
        (RULE.replace("payer", "layers") + 'with = {layers = "4"}\n', "wrong type"),
        (RULE.replace("payer", "layers") + "with = {layers = true}\n", "wrong type"),
    ],
)
def test_a_file_that_says_what_no_check_understands_is_refused(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(text)
    with pytest.raises(RuleError, match=told):
        load(file)


def test_a_file_adds_rules_and_takes_the_place_of_others(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(RULE + RULE.replace("X1", "R14"))
    rules = {each.id: each for each in load(file)}
    assert len(rules) == len(built_in()) + 1
    assert (rules["R14"].opens, rules["R14"].source) == ("case", "s")
    with pytest.raises(RuleError, match="cannot be read"):
        load(tmp_path / "none.toml")
