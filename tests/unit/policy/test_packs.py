"""The packs decide as their cases say, and each policy of them is needed."""

from __future__ import annotations

import json
from importlib.resources import files

import cedarpy
import pytest

from countenance.policy import PACKS, Engine, PolicySet, cases, packs
from countenance.policy.policyset import BASE, PolicyError, composed, read


def cases_of(pack: str) -> list[cases.Case]:
    return cases.read((files("countenance.policy") / "packs" / f"{pack}.json").read_text("utf-8"))


@pytest.mark.parametrize("pack", PACKS)
def test_every_case_is_decided_as_it_says(pack: str) -> None:
    ran = list(cases.run(cases_of(pack), Engine(composed([pack]))))
    assert [f"{each.case.name}: {each.decision}" for each in ran if not each.passed] == []
    assert {each.case.allowed for each in ran} == {True, False}


@pytest.mark.parametrize("pack", PACKS)
def test_every_policy_decides_one_of_its_cases_and_says_what_it_rests_on(pack: str) -> None:
    own = composed([pack])
    deciding = {each for ran in cases.run(cases_of(pack), Engine(own)) for each in ran.decision.policies}
    for policy in own.policies.values():
        assert policy.id in deciding
        assert policy.id.startswith((f"{pack}.", f"{BASE}."))
        assert len(policy.citation) > 10
    assert packs()[pack].lstrip().startswith("//")


@pytest.mark.parametrize("pack", PACKS)
def test_without_any_one_policy_a_case_is_decided_otherwise(pack: str) -> None:
    said = json.loads(composed([pack]).text)
    policies = json.loads(cedarpy.policies_to_json_str(said["packs"][pack]))["staticPolicies"]
    for left_out in policies:
        rest = {name: each for name, each in policies.items() if name != left_out}
        text = cedarpy.policies_from_json_str(
            json.dumps({"staticPolicies": rest, "templates": {}, "templateLinks": []})
        )
        mutant = changed(composed([pack]), pack, text)
        assert [each for each in cases.run(cases_of(pack), Engine(mutant)) if not each.passed], left_out


def changed(whole: PolicySet, pack: str, text: str) -> PolicySet:
    said = json.loads(whole.text)
    said["packs"][pack] = text
    return read(json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def test_all_packs_go_together() -> None:
    together = composed(PACKS)
    assert together.packs == tuple(sorted(PACKS))
    assert composed([*reversed(PACKS)]).sha256 == together.sha256


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("forbid(principal, action, resource);", "has no @id"),
        ('@id("x") forbid(principal, action, resource);', "has no @citation"),
        ('@id("x") @citation("c") forbid(principal, action, resource);', "has no @satisfy"),
        (
            '@id("x") @citation("c") @satisfy("s") forbid(principal, action, resource) when { principal.zeal };',
            "not valid",
        ),
        ('@id("base.allow") @citation("c") @satisfy("s") forbid(principal, action, resource);', "have the id"),
        ('@id("x") @citation("c") @satisfy("s") forbid(principal == ?principal, action, resource);', "no templates"),
        ("forbid(", "cannot be read"),
    ],
)
def test_what_is_no_policy_makes_no_set(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        composed(["standing"], {"mine": text})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"v":1}', "\ud800", '{"own":{},"packs":{},"v":1}', " " * (1 << 21)])
def test_what_is_no_set_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        read(text)


def test_an_altered_set_is_another_set() -> None:
    whole = composed(["moratorium"])
    other = changed(whole, "moratorium", packs()["moratorium"].replace('"police"', '"firefighters"'))
    assert other.sha256 != whole.sha256
    with pytest.raises(PolicyError, match="no policy set"):
        read(whole.text.replace("{", "{ ", 1))


def test_a_pack_that_does_not_exist_is_told() -> None:
    with pytest.raises(PolicyError, match="no policy pack 'nice'"):
        composed(["nice"])
