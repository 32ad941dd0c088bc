"""Red flags, nexus and where calls come from, through the whole service."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from countenance.standing import runner
from countenance.standing.matching import Hit, Screener
from countenance.standing.places import Places, load
from tests.conformance.in_process import InProcess, ScriptedEngine, code_of, service_in
from tests.conformance.test_standing import COMPANY, IMAGE, decide, do, entity, opened, ours, standing

AT_HOME, AWAY, RUSSIA = "192.0.2.1", "198.51.100.1", "203.0.113.1"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    file = tmp_path / "places.csv"
    file.write_text("192.0.2.0/24,NL\n198.51.100.0/24,CL\n203.0.113.0/24,RU\n")
    return load(file)


@pytest.fixture
def house(tmp_path: Path, places: Places) -> Iterator[InProcess]:
    if not runner.is_installed():
        pytest.skip("the extra is not installed: make standing")
    (tmp_path / "data").mkdir()

    def match(wanted: Any, parties: Any, progress: Any) -> list[tuple[Hit, ...]]:
        screener = Screener(runner.entities(tmp_path / "data", wanted))
        return [screener.screen(each) for each in parties]

    with service_in(tmp_path / "data", ScriptedEngine(), screens=True, match=match, places=places) as made:
        yield made


def called(house: InProcess, keys: tuple[str, str] | None, peer: str) -> str:
    """A call with an account's keys, or the owner's, from an address."""
    own, house.request_id = house.credentials, str(uuid.uuid4())
    house.credentials = keys or own
    house.peer = peer
    try:
        return code_of(house.call("DetectFaces", {"Image": IMAGE}))
    finally:
        house.credentials = own


def cleared(house: InProcess, tmp_path: Path, party: dict[str, Any]) -> tuple[str, tuple[str, str]]:
    account, keys = opened(house, party)
    ours(house, tmp_path, entity("x", "Somebody Else"))
    do(house, "host", "party.screen", accounts=[account])
    decide(house, "account.standing", account_id=account, standing="cleared", sector="retail")
    return account, keys


def last_call(house: InProcess) -> dict[str, Any]:
    log = house.service.ledger.log
    said = [opening.accounting for _, opening in log.storage.openings(0, log.size)]
    return [each for each in said if each["kind"] == "call"][-1]


def test_a_call_from_elsewhere_is_screened_and_judged(house: InProcess, tmp_path: Path) -> None:
    account, keys = cleared(house, tmp_path, COMPANY)
    standings, stirred = house.service.governance.standings, []
    standings.stirred = lambda: stirred.append(1)
    assert called(house, keys, AT_HOME) == "OK"
    assert last_call(house)["details"]["country"] == "NL"
    assert (standings.due(), stirred) == ([], [])

    assert [called(house, keys, AWAY) for _ in range(2)] == ["OK", "OK"]
    assert last_call(house)["details"]["country"] == "CL"
    assert "198.51" not in json.dumps(last_call(house))
    assert (standings.due(), stirred) == ([(account, "place")], [1])
    assert standings.screen_due() == {account: "review"}
    assert (standings.due(), standing(house, account)) == ([], "review")
    assert called(house, keys, AT_HOME) == "AccessDeniedException"

    (case,) = do(house, "host", "case.list", account_id=account)["cases"]
    shown = do(house, "host", "case.show", account_id=account, case=case["case"])
    assert (case["kind"], shown["explained"]["rule"]) == ("red-flag", "R8")
    assert shown["explained"]["facts"] == ["calls came from CL; it says it is in NL"]
    assert "March 2023" in shown["explained"]["source"]
    decide(house, "case.judge", account_id=account, case=case["case"], judgement="cleared")
    assert called(house, keys, AWAY) == "OK"
    do(house, "host", "party.screen", accounts=[account])
    assert standing(house, account) == "cleared"  # the same fact and rule: the same case

    assert called(house, keys, RUSSIA) == "OK"
    assert standings.screen_due() == {account: "review"}
    kinds = {each["title"].split()[0] for each in do(house, "host", "case.list", account_id=account)["cases"]}
    assert kinds == {"R8", "N1"}
    report = do(house, "ann", "party.lookback", account_id=account)
    assert [each["answered"] for each in report["windows"] if each["as_known_then"] == "cleared"] == [3, 2]


def test_what_is_declared_fits(house: InProcess, tmp_path: Path) -> None:
    _, keys = cleared(house, tmp_path, COMPANY | {"used_in": ["NL", "CL"]})
    assert called(house, keys, AWAY) == "OK"
    assert house.service.governance.standings.due() == []


def test_the_owners_use_is_flagged_and_nothing_else_of_it(house: InProcess, tmp_path: Path) -> None:
    from tests.unit.accounts.declarations import OWNER

    standings = house.service.governance.standings
    assert called(house, None, AWAY) == "OK"
    assert standings.due() == []  # undeclared: there is nothing that it could not fit
    account = next(each.account_id for each in house.service.accounts.accounts() if each.is_owner)
    do(house, "host", "account.declare", account_id=account, party=OWNER)
    assert called(house, None, AWAY) == "OK"
    assert standings.due() == [(account, "place")]
    assert standings.screen_due() == {account: "review"}  # there is no list, and none is needed
    (case,) = do(house, "host", "case.list")["cases"]
    assert (case["account_id"], case["kind"]) == (account, "red-flag")
    assert (standing(house, account), called(house, None, AWAY)) == ("owner", "OK")
    assert do(house, "host", "ledger.fsck")["problems"] == []


def test_other_rules_have_everybody_screened_again(house: InProcess, tmp_path: Path) -> None:
    account, _ = cleared(house, tmp_path, COMPANY | {"payer": {"name": "Third Party Ltd"}})
    standings = house.service.governance.standings
    assert standings.due() == []
    notes = do(house, "host", "party.show", account_id=account)["notes"]
    assert [each["rule"] for each in notes if each["kind"] == "red-flag"] == ["R14"]
    standings._rules = tuple(replace(each, opens="case") for each in standings._rules)
    assert standings.due() == [(account, "rules")]
    assert standings.screen_due() == {account: "review"}
    assert standing(house, account) == "review"


def test_visionlabs_is_not_owned_and_still_a_case(house: InProcess, tmp_path: Path, shared_data: Path) -> None:
    """The chain of May 2022: under half by ownership, and the control test and nexus say that somebody should look."""
    vectors = json.loads((shared_data / "ownership_vectors.json").read_text("utf-8"))["cases"]
    edges = next(each for each in vectors if each["id"] == "visionlabs-2022-05-post")["edges"]
    russian = {"Sistema", "MTS", "MTS AI", "MGTS", "Stream Digital", "Bastion"}
    node = {each: f"name:{each.casefold()}" for edge in edges for each in edge[:2]}
    account, _ = opened(
        house,
        COMPANY | {"legal_name": "VisionLabs B.V.", "owners": [{"name": "Intema S.a r.l.", "share": "100"}]},
    )
    statements = [
        {
            "id": str(at),
            "owner": node[owner],
            "owned": node[owned],
            "share": {"low": millionths, "high": millionths, "low_open": False, "high_open": False},
            "source": "SEC 6-K of 13 December 2021",
        }
        for at, (owner, owned, share) in enumerate(edges)
        for millionths in [round(share * 10_000)]
        if owner in russian
    ]
    parties = {node[each]: {"name": each, "jurisdiction": "RU"} for each in russian}
    do(house, "ann", "party.statements", statements=statements, parties=parties)
    ours(house, tmp_path, entity("1", "Sistema", country=["ru"]))
    assert do(house, "host", "party.screen", accounts=[account])["screened"] == [
        {"account_id": account, "outcome": "review"}
    ]
    found = do(house, "host", "party.show", account_id=account)
    cases = [do(house, "host", "case.show", account_id=account, case=each["case"]) for each in found["cases"]]
    assert {each["tier"] for each in cases} == {"review"}
    grounds = {
        (each["explained"]["regime"], each["explained"]["ground"]) for each in cases if each["kind"] == "ownership"
    }
    assert ("uk-50/1", "control") in grounds
    assert not [each for each in grounds if each[1] == "ownership"]
    assert {each["explained"]["rule"] for each in cases if each["kind"] == "nexus"} == {"N2"}
    flags = {each["explained"]["rule"] for each in cases if each["kind"] == "red-flag" and "rule" in each["explained"]}
    assert flags >= {"R10", "R12"}  # 49.93 % ends up with somebody listed, through five layers
    shares = [each for each in found["notes"] if each["kind"] == "effective share"]
    assert [each["is_in_band"] for each in shares] == [True]
