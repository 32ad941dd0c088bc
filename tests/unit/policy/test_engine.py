"""Deciding: what cannot be decided is denied, whatever the reason is."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from countenance.operations import OPERATIONS
from countenance.policy import Account, Call, Collection, Engine, Request
from countenance.policy.message import told
from countenance.policy.policyset import composed, schema
from countenance.policy.request import from_json, to_json

ACCOUNT = Account("123456789012", False, "cleared", "retail", "NL", ("retail",))
COLLECTION = Collection("123456789012/people", ("a=b",))
CALL = Call("access-control", 1_790_000_000, threshold=80_000, references=5)
OPEN = composed([])
DEFAULT = composed(["standing", "moratorium"])


def own(text: str) -> Engine:
    return Engine(composed([], {"own": f'@id("own.x") @citation("c") @satisfy("s") {text}'}))


def asked(action: str = "SearchFaces", **changes: Any) -> Request:
    collection = COLLECTION if action not in ("DetectFaces", "CompareFaces", "ListCollections") else None
    return replace(Request(ACCOUNT, action, collection, CALL), **changes)


@pytest.mark.parametrize("action", sorted(OPERATIONS))
def test_every_operation_there_is_can_be_decided(action: str) -> None:
    decision = Engine(DEFAULT).decide(asked(action))
    assert (decision.allowed, decision.policies, decision.reason) == (True, ("base.allow",), "")


def test_what_is_told_are_the_members_of_the_schema() -> None:
    """Each one is needed: without any one of them nothing is decided."""
    request = asked()
    for part, of in (("context", CALL), ("principal", ACCOUNT), ("resource", COLLECTION)):
        for each in fields(of):
            if each.name == "id":
                continue
            decision = Engine(OPEN).decide(Without(request, part, each.name))  # type: ignore[arg-type]
            assert not decision.allowed
            assert decision.reason, (part, each.name)
    assert schema() is schema()


class Without:
    """A request that lacks an attribute, has one too many, or one of another type."""

    def __init__(self, request: Request, part: str, name: str, *value: Any) -> None:
        self.request, self.part, self.name, self.value = request, part, name, value
        self.call, self.account, self.collection, self.action = (
            request.call,
            request.account,
            request.collection,
            request.action,
        )

    def question(self) -> dict[str, Any]:
        said = self.request.question()
        if self.part == "context":
            self._spoil(said["context"])
        return said

    def entities(self) -> list[dict[str, Any]]:
        said = self.request.entities()
        if self.part != "context":
            self._spoil(said[("principal", "resource").index(self.part)]["attrs"])
        return said

    def digest(self) -> str:
        return self.request.digest()

    def _spoil(self, members: dict[str, Any]) -> None:
        members.pop(self.name, None)
        if self.value:
            members[self.name] = self.value[0]


_odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2)
)


@given(st.sampled_from(["context", "principal", "resource"]), st.text(min_size=1, max_size=8), _odd)
def test_one_attribute_too_many_is_a_denial(part: str, name: str, value: object) -> None:
    known = {each.name for of in (CALL, ACCOUNT, COLLECTION) for each in fields(of)}
    if name in known:
        return
    decision = Engine(OPEN).decide(Without(asked(), part, name, value))  # type: ignore[arg-type]
    assert not decision.allowed
    assert decision.reason


@given(st.sampled_from([each.name for each in fields(CALL)]), _odd)
@example("time", 2**63)
@example("time", -(2**63) - 1)
def test_an_attribute_of_another_type_is_a_denial(name: str, value: object) -> None:
    if type(value) is type(getattr(CALL, name)) and (not isinstance(value, int) or abs(value) < 2**63):
        return
    decision = Engine(OPEN).decide(Without(asked(), "context", name, value))  # type: ignore[arg-type]
    assert not decision.allowed
    assert decision.reason


@pytest.mark.parametrize(
    "text",
    [
        "permit(principal, action, resource) when { context.references * 9223372036854775807 * 2 > 0 };",  # overflow
        "forbid(principal, action, resource) when { context.references * 9223372036854775807 * 2 > 0 };",
    ],
)
def test_a_policy_that_cannot_be_evaluated_denies_though_another_allows(text: str) -> None:
    decision = own(text).decide(asked())
    assert not decision.allowed
    assert "overflow" in decision.reason


def test_without_a_set_everything_is_denied() -> None:
    decision = Engine(None, reason="the set on disk is damaged").decide(asked())
    assert (decision.allowed, decision.policies, decision.policy_set) == (False, (), "")
    assert decision.reason == "the set on disk is damaged"


def test_an_action_that_nobody_knows_and_a_resource_of_another_kind_are_denied() -> None:
    for request in (
        asked("MakeCoffee"),
        asked("SearchFaces", collection=None),
        asked("CompareFaces", collection=COLLECTION),
    ):
        decision = Engine(DEFAULT).decide(request)
        assert not decision.allowed
        assert decision.reason


def test_what_is_remembered_is_the_answer_to_the_very_same_question() -> None:
    engine = Engine(DEFAULT)
    police = replace(ACCOUNT, sector="police")
    for _ in range(2):
        assert engine.decide(asked()).allowed
        assert not engine.decide(asked(account=police)).allowed
        assert engine.decide(asked(account=police, call=replace(CALL, purpose="missing-person"))).allowed
    assert engine.decide(asked()).request != engine.decide(asked(call=replace(CALL, time=5))).request


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ("context.time > 5", True),
        ('context["time"] > 5', True),
        ("context has time", True),
        ("context == context", True),
        ("context.real_time", False),
        ('context.purpose == "time"', False),
    ],
)
def test_a_set_that_reads_the_time_is_asked_each_time(condition: str, reads: bool) -> None:
    engine = own(f"forbid(principal, action, resource) when {{ {condition} }};")
    assert engine.in_force is not None
    assert engine.in_force.reads_time is reads
    if condition == "context.time > 5":
        assert engine.decide(asked(call=replace(CALL, time=5))).allowed
        assert not engine.decide(asked(call=replace(CALL, time=6))).allowed


def test_a_denial_names_the_policy_and_what_would_satisfy_it_but_for_standing() -> None:
    engine = Engine(DEFAULT)
    police = replace(ACCOUNT, sector="police")
    message = told(engine.decide(asked(account=police)), engine, reference="R7")
    assert "moratorium.police" in message
    assert "missing-person" in message
    listed = replace(police, standing="refused")
    assert told(engine.decide(asked(account=listed)), engine, reference="R7") == "Account not enabled; reference R7."
    undecided = told(engine.decide(asked("MakeCoffee")), engine, reference="R7")
    assert "could not be evaluated" in undecided
    assert "R7" in undecided
    assert "MakeCoffee" not in undecided


def test_a_request_survives_being_written_down() -> None:
    for request in (asked(), asked("DetectFaces")):
        assert from_json(json.loads(json.dumps(to_json(request)))) == request


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"action": 5},
        {"call": None},
        {"call": {"purpose": "x"}},
        {"call": {"purpose": "x", "time": "now"}},
        {"call": {"purpose": "x", "time": True}},
        {"call": {"purpose": "x", "time": 1, "zeal": 1}},
        {"account": []},
        {"collection": {"id": "x", "tags": "a"}},
    ],
)
def test_what_is_no_request_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json({**to_json(asked()), **change})


@pytest.mark.parametrize(("name", "value"), [("threshold", 80_000.0), ("references", True), ("emotions", 0)])
def test_what_is_equal_but_of_another_type_is_another_question(name: str, value: object) -> None:
    engine = Engine(DEFAULT)
    assert engine.decide(asked(call=replace(CALL, references=1))).allowed
    assert engine.decide(asked()).allowed
    spoilt = asked(call=replace(CALL, **{name: value}))
    decision = engine.decide(spoilt)
    assert not decision.allowed
    assert decision.reason


@pytest.mark.parametrize("nonsense", [None, 5, {1}, Request(ACCOUNT, "\ud800", None, CALL), asked(call=None)])
def test_nonsense_is_a_denial_and_no_error(nonsense: Any) -> None:
    decision = Engine(DEFAULT).decide(nonsense)
    assert (decision.allowed, decision.policies) == (False, ())
    assert decision.reason


def test_a_panic_of_the_engine_is_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """What a panic in Rust becomes."""

    def panics(*_: object) -> None:
        raise Panic("index out of bounds")

    monkeypatch.setattr("countenance.policy.engine.cedarpy.is_authorized", panics)
    decision = Engine(DEFAULT).decide(asked())
    assert not decision.allowed
    assert "index out of bounds" in decision.reason
