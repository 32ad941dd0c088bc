"""Chains of owners over statements of several sources, which call one company by different names."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from tests.unit.accounts.declarations import CUSTOMER

from countenance.accounts import Declared, Party
from countenance.operations.lookthrough import Chains, chains_of, day_of, graph_of
from countenance.operations.subjects import CHAIN, FORMER, PARTY, subjects

LEI, TOP = "213800D1EI4B9WTWWD28", "5493001KJTIIGC8Y1R12"
NOW = int(datetime(2026, 5, 4, tzinfo=UTC).timestamp()) * 1_000_000


def statement(owner: str, owned: str, **more: Any) -> dict[str, Any]:
    return {"id": f"{owner} {owned}", "owner": owner, "owned": owned, "source": "x", **more}


def chains(*contents: dict[str, Any]) -> Chains:
    return chains_of((at, f"h{at}", each) for at, each in enumerate(contents))


def declared() -> Declared:
    party = {name: value for name, value in CUSTOMER.items() if name != "lei"}
    return Declared(Party.from_json(party), 1, datetime.now(UTC), "r")


BY_REGISTER = {
    "statement": statement("reg:LU-RCS:B999999", "reg:NL-KVK:27124701"),
    "parties": {"reg:LU-RCS:B999999": {"name": "Between", "identifiers": [["leiCode", LEI, ""]], "jurisdiction": "LU"}},
}
BY_LEI = {"statement": statement(f"lei:{TOP}", f"lei:{LEI}"), "parties": {}}


def test_nodes_are_found_however_somebody_wrote_them() -> None:
    written = statement("lei: 5493 001k jtii gc8y 1r12", "reg:nl-kvk: 27124701")
    (known,) = chains({"statement": written, "parties": {}}).recorded
    assert (known.statement.owner, known.statement.owned) == (f"lei:{TOP}", "reg:NL-KVK:27124701")
    (known,) = chains(
        {"statement": statement("name:ACME Holding", "somebody without a scheme"), "parties": {}}
    ).recorded
    assert (known.statement.owner, known.statement.owned) == ("name:acme holding", "somebody without a scheme")


def test_whom_one_source_names_by_register_and_another_by_lei_is_one() -> None:
    known = chains(BY_LEI, BY_REGISTER)
    found = subjects(declared().party)
    further = known.further(declared().party, found, NOW)
    assert [(who.role, who.name, who.keys) for who in further] == [
        (CHAIN, "Between", (f"lei:{LEI}",)),
        (CHAIN, f"lei:{TOP}", (f"lei:{TOP}",)),
    ]
    assert further[0].screened.countries == ("lu",)
    graph = graph_of(declared(), [*found, *further], known, NOW)
    assert {each.owner for each in graph.into[PARTY]} >= {f"lei:{LEI}"}
    assert [each.owner for each in graph.into[f"lei:{LEI}"]] == [f"lei:{TOP}"]
    apart = chains(BY_LEI, BY_REGISTER | {"parties": {}})
    assert [who.name for who in apart.further(declared().party, found, NOW)] == ["reg:LU-RCS:B999999"]


def test_a_declared_owner_is_found_by_either() -> None:
    party = CUSTOMER | {"owners": [{"name": "Between", "identifiers": ["reg:LU-RCS:B999999"], "share": "100"}]}
    one = Declared(Party.from_json(party), 1, datetime.now(UTC), "r")
    known = chains(BY_LEI, BY_REGISTER)
    found = subjects(one.party)
    further = known.further(one.party, found, NOW)
    assert [who.keys for who in further] == [(f"lei:{TOP}",)]
    graph = graph_of(one, [*found, *further], known, NOW)
    assert [each.owner for each in graph.into["reg:LU-RCS:B999999"]] == [f"lei:{TOP}"]


def test_who_held_something_until_lately_is_still_looked_at() -> None:
    ended = [
        {"statement": statement("name:seller", "reg:NL-KVK:27124701", valid_to="2025-01-01"), "parties": {}},
        {"statement": statement("name:long gone", "reg:NL-KVK:27124701", valid_to="2020-01-01"), "parties": {}},
        {"statement": statement("name:elsewhere", "reg:NL-KVK:99999999", valid_to="2025-01-01"), "parties": {}},
    ]
    known = chains(*ended)
    found = subjects(declared().party)
    assert known.further(declared().party, found, NOW) == []
    assert [(who.role, who.name) for who in known.former(declared().party, found, NOW)] == [(FORMER, "seller")]
    assert day_of(NOW) == date(2026, 5, 4)
