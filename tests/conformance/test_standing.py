"""Who stands behind accounts: screened with real lists, suspended when somebody is listed, and looked back on."""

from __future__ import annotations

import json
import lzma
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from countenance_audit.checkpoint import open_checkpoint
from countenance_audit.merkle import leaf_hash, verify_inclusion

from countenance.fetching import FetchFailed
from countenance.operations import lookback
from countenance.operations.instruction import AdministrationError
from countenance.operations.lists import Source, StandingError
from countenance.standing import runner
from countenance.standing.lists import ListError
from countenance.standing.matching import Hit, MatcherMissing, Screener
from countenance.standing.ownership import Statement
from tests.conformance.in_process import InProcess, ScriptedEngine, code_of, service_in
from tests.unit.accounts.declarations import CUSTOMER

IMAGE = {"Bytes": b"faces: 1"}
COMPANY = {
    **{name: value for name, value in CUSTOMER.items() if name not in ("lei", "payer", "end_users", "owners")},
    "legal_name": "Bluewater Imaging B.V.",
    "owners": [{"name": "Silverpine Holdings S.a r.l.", "identifiers": ["reg:LU-RCS:B999999"], "share": "100"}],
}
ABOVE = {
    "statements": [
        {
            "id": "1",
            "owner": "name:inforos, ooo",
            "owned": "reg:LU-RCS:B999999",
            "share": {"low": 600_000, "high": 600_000, "low_open": False, "high_open": False},
            "valid_from": "2019-05-01",
            "source": "Luxembourg register, extract of 2019",
        }
    ],
    "parties": {"name:inforos, ooo": {"name": "InfoRos, OOO"}},
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[InProcess]:
    if not runner.is_installed():
        pytest.skip("the extra is not installed: make standing")
    (tmp_path / "data").mkdir()

    def match(wanted: Any, parties: Any, progress: Any) -> list[tuple[Hit, ...]]:
        """As the processes do, in this one: they take seconds to start."""
        runner.require()
        screener = Screener(runner.entities(tmp_path / "data", wanted))
        return [screener.screen(each) for each in parties]

    with service_in(tmp_path / "data", ScriptedEngine(), screens=True, match=match) as made:
        yield made


@pytest.fixture
def large(tmp_path: Path) -> Iterator[InProcess]:
    """One that screens in processes of its own, as a server does."""
    if not runner.is_installed():
        pytest.skip("the extra is not installed: make standing")
    (tmp_path / "large").mkdir()
    with service_in(tmp_path / "large", ScriptedEngine(), screens=True) as made:
        yield made


@pytest.fixture(scope="module")
def lists(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """OFAC's list of 2021 as XML, and of 2023 as CSV."""
    folder, made = shared_data / "sanctions_lists", tmp_path_factory.mktemp("lists")
    if not folder.is_dir():
        pytest.skip(f"no lists: {folder} is missing; set COUNTENANCE_TEST_DATA")
    (made / "sdn.xml").write_bytes(lzma.decompress((folder / "ofac_sdn_2021-03-10.xml.xz").read_bytes()))
    parts = ("ofac_sdn_2023-11.csv", "ofac_alt_2025-12.csv", "ofac_add_2025-12.csv")
    return {"2021": [str(made / "sdn.xml")], "2023": [str(folder / name) for name in parts]}


def do(house: InProcess, by: str, verb: str, **params: Any) -> dict[str, Any]:
    """A verb for an operator who is logged in, or the host."""
    office = house.service.governance.office
    for handle in ("ann", "bea"):
        if handle not in office.state.operators:
            office.create(handle, ["admin"], by="host", reason="tests", request_id=str(uuid.uuid4()))
    if by != "host":
        params["session_token"] = office._tokens.issue(by, time.time_ns() // 1000)
    return house.pipeline.administer(verb, params)


def decide(house: InProcess, verb: str, **params: Any) -> None:
    """Ann proposes, Bea approves."""
    proposal = do(house, "ann", verb, reason="file 12", **params)["proposal"]
    do(house, "bea", "proposal.approve", proposal=proposal)


def opened(house: InProcess, party: dict[str, Any]) -> tuple[str, tuple[str, str]]:
    account = do(house, "host", "account.create", name=party["legal_name"], party=party)["account_id"]
    key = do(house, "host", "key.create", account_id=account, purpose="access-control")
    return account, (key["access_key_id"], key["secret_access_key"])


def called(house: InProcess, keys: tuple[str, str]) -> str:
    own, house.credentials, house.request_id = house.credentials, keys, str(uuid.uuid4())
    try:
        return code_of(house.call("DetectFaces", {"Image": IMAGE}))
    finally:
        house.credentials = own


def standing(house: InProcess, account: str) -> str:
    return str(do(house, "host", "account.standing", account_id=account)["standing"])


def test_an_owners_owner_is_listed_later(large: InProcess, lists: dict[str, list[str]]) -> None:
    house = large
    account, keys = opened(house, COMPANY)
    similar, similar_keys = opened(house, {**COMPANY, "legal_name": "Inforos Europe B.V.", "owners": []})
    with pytest.raises(StandingError, match="never screened"):
        decide(house, "account.standing", account_id=account, standing="cleared", sector="retail")
    with pytest.raises(StandingError, match="no list to screen with"):
        do(house, "host", "party.screen", accounts=[account])
    first = do(house, "host", "list.import", paths=lists["2021"])
    assert (first["entries"], first["report_date"], first["new"]) == (8_832, "2021-03-10", True)
    do(house, "ann", "party.statements", **ABOVE)
    told = do(house, "host", "party.screen", accounts=[account, similar])
    assert {each["outcome"] for each in told["screened"]} == {"clear"}
    for each in (account, similar):
        decide(house, "account.standing", account_id=each, standing="cleared", sector="retail")
    assert [called(house, keys) for _ in range(3)] == ["OK"] * 3
    assert called(house, similar_keys) == "OK"

    second = do(house, "host", "list.import", paths=lists["2023"], report_date="2023-11-15")
    assert (second["added"], second["removed"]) == (3_196, 585)
    assert second["screened"] == {"block": 1, "review": 1}
    assert called(house, keys) == "AccessDeniedException"
    assert (standing(house, account), standing(house, similar)) == ("suspended", "review")
    assert called(house, similar_keys) == "AccessDeniedException"

    found = do(house, "host", "party.show", account_id=account)
    blocks = [each for each in found["cases"] if each["tier"] == "block"]
    assert {each["kind"] for each in blocks} == {"ownership"}
    shown = do(house, "host", "case.show", account_id=account, case=blocks[0]["case"])
    assert [each["owner"] for each in shown["explained"]["chain"]] == [
        "name:inforos, ooo",
        "reg:LU-RCS:B999999",
    ]
    assert {each["entry_id"] for each in shown["explained"]["listed"]} >= {"31169"}

    report = do(house, "ann", "party.lookback", account_id=account)
    used = [each for each in report["windows"] if each["answered"]]
    assert [(each["as_known_then"], each["as_known_now"], each["answered"]) for each in used] == [
        ("cleared", "suspended", 3)
    ]
    assert report["windows"][-1]["as_known_then"] == "suspended"
    assert report["windows"][-1]["calls"] == 1
    assert {each["since"] for each in report["cases"]} == {"2023-11-15"}
    assert report["receipt"]["opening"]["accounting"]["details"]["report_sha256"] == report["sha256"]

    for each in do(house, "host", "case.list", account_id=similar)["cases"]:
        with pytest.raises(Exception, match="nobody is logged in"):
            do(house, "host", "case.judge", account_id=similar, case=each["case"], judgement="cleared", reason="x")
        decide(house, "case.judge", account_id=similar, case=each["case"], judgement="cleared", attachments=["ab" * 32])
    assert standing(house, similar) == "cleared"
    assert called(house, similar_keys) == "OK"
    do(house, "host", "party.screen", accounts=[similar])
    assert standing(house, similar) == "cleared"  # the same entry, party and algorithm: the same case
    assert standing(house, account) == "suspended"

    waiting = do(house, "host", "list.list")["waiting"]
    assert [each["removed"] for each in waiting] == [585]
    gone = do(house, "host", "list.removed", act=waiting[0]["act"])
    assert (gone["removed"], len(gone["told"])) == (585, 585)
    decide(house, "list.accept", act=waiting[0]["act"])
    assert do(house, "host", "list.list")["waiting"] == []
    assert do(house, "host", "ledger.fsck")["problems"] == []
    steps = [
        *[("account.create", account), ("key.create", account), ("list.take", ""), ("ownership.record", "")],
        *[("screening.done", account), ("account.standing", account), *[("DetectFaces OK", account)] * 3],
        *[("list.take", ""), ("screening.done", account), ("DetectFaces AccessDeniedException", account)],
        *[("party.lookback", account), ("list.accept", "")],
    ]
    assert [each for each in proved(house) if each in steps] == steps


def proved(house: InProcess) -> list[tuple[str, str]]:
    """What each entry says that was done, and about which account, in order: each opened, and in the tree that the
    latest checkpoint signs."""
    log, found = house.service.ledger.log, []
    _, note = log.publish()
    checkpoint = open_checkpoint(note, log.signer.verifier)
    for index, opening in log.storage.openings(0, checkpoint.size):
        leaf = leaf_hash(opening.leaf())
        verify_inclusion(index, checkpoint.size, leaf, log.inclusion(index, checkpoint.size), checkpoint.root)
        said = opening.accounting
        if said["kind"] in ("call", "act"):
            code = f" {said['code']}" if said["kind"] == "call" else ""
            found.append((f"{said['operation']}{code}", said["account"]))
    return found


def entity(number: str, name: str, **more: Any) -> bytes:
    said = {"id": number, "schema": "Company", "properties": {"name": [name], "topics": ["sanction"], **more}}
    return json.dumps(said).encode() + b"\n"


def ours(house: InProcess, tmp_path: Path, *entities: bytes, **more: Any) -> dict[str, Any]:
    file = tmp_path / "own.json"
    file.write_bytes(b"".join(entities))
    return do(house, "host", "list.import", paths=[str(file)], list="own", **more)


def test_a_list_that_is_refused_leaves_the_one_before_in_force(house: InProcess, tmp_path: Path) -> None:
    many = [entity(f"e{at}", f"Example Number {at}") for at in range(10)]
    ours(house, tmp_path, *many)
    before = do(house, "host", "list.list")["lists"]
    for spoilt in (many[:3], [b"{"], [b""], [many[0], many[0]], ["é".encode("latin-1")]):
        with pytest.raises(ListError):
            ours(house, tmp_path, *spoilt)
    assert do(house, "host", "list.list")["lists"] == before
    again = ours(house, tmp_path, *many)
    assert (again["new"], again["added"]) == (False, 0)
    assert len(do(house, "host", "list.list")["lists"]) == 1
    assert ours(house, tmp_path, *many[:3], shrunk=True)["removed"] == 7


def test_an_older_list_is_refused_also_where_only_the_operator_says_of_when_it_is(
    house: InProcess, tmp_path: Path, lists: dict[str, list[str]]
) -> None:
    """OFAC's CSV has no date; its XML does, and is of the same list."""
    taken = do(house, "host", "list.import", paths=lists["2023"], report_date="2023-11-15")
    with pytest.raises(ListError, match="It is of 2021-03-10, and the one in force of 2023-11-15"):
        do(house, "host", "list.import", paths=lists["2021"])
    with pytest.raises(ListError, match="further names of entries that are still there"):
        do(house, "host", "list.import", paths=lists["2023"][:1], report_date="2023-11-16")
    (now,) = do(house, "host", "list.list")["lists"]
    assert (now["sha256"], now["report_date"], now["snapshots"]) == (taken["sha256"], "2023-11-15", 1)


def test_a_list_that_cannot_be_had_keeps_no_other_from_being_updated(
    house: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "list.json"
    file.write_bytes(entity("x", "Somebody Else"))

    def fetch(url: str, folder: Path) -> bytes:
        if url.endswith("gone"):
            raise FetchFailed(f"{url} answers 404.")
        return file.read_bytes()

    monkeypatch.setattr("countenance.operations.lists.fetch", fetch)
    known = house.service.governance.standings.lists
    known.sources = tuple(Source("ftm-json", name, (f"https://lists.example/{name}",)) for name in ("gone", "own"))
    told = do(house, "host", "list.update")
    assert [each["list"] for each in told["lists"]] == ["own"]
    assert told["failed"] == [{"list": "gone", "why": "https://lists.example/gone answers 404.", "hint": None}]
    assert [(each["list"], each["attested"]) for each in do(house, "host", "list.list")["lists"]] == [("own", True)]
    with pytest.raises(FetchFailed):
        do(house, "host", "list.update", list="gone")


def test_a_list_whose_name_begins_like_a_regimes_counts_for_all_of_them(house: InProcess, tmp_path: Path) -> None:
    party = COMPANY | {"owners": [{"name": "Qwyxz Zzyzx Holding", "share": "50"}]}
    account, _ = opened(house, party)
    file = tmp_path / "own.json"
    file.write_bytes(entity("x", "Qwyxz Zzyzx Holding"))
    do(house, "host", "list.import", paths=[str(file)], list="ukraine-own")
    do(house, "host", "party.screen", accounts=[account])
    cases = do(house, "host", "case.list", account_id=account)["cases"]
    assert {each["title"].split(":")[0] for each in cases if each["tier"] == "block"} == {"ofac-50/1", "eu-50/1"}


def test_a_statement_that_came_while_others_were_screened_is_screened_with_next(
    house: InProcess, tmp_path: Path
) -> None:
    account, _ = opened(house, COMPANY)
    ours(house, tmp_path, entity("x", "InfoRos, OOO", country=["ru"]))
    do(house, "host", "party.screen", accounts=[account])
    standings = house.service.governance.standings
    assert standings.due() == []
    contents = [{"v": 1, "statement": Statement.from_json(ABOVE["statements"][0]).to_json(), "parties": {}}]
    standings.record_statements(contents, by="ann", request_id=str(uuid.uuid4()))
    assert standings.due() == [(account, "ownership")]
    assert standings.screen_due() == {account: "block"}
    assert standings.due() == []


def test_the_look_back_tells_what_time_alone_changed(house: InProcess, tmp_path: Path) -> None:
    account, _ = opened(house, COMPANY)
    ours(house, tmp_path, entity("x", "Somebody Else"))
    do(house, "host", "party.screen", accounts=[account])
    decide(house, "account.standing", account_id=account, standing="cleared", sector="retail")
    standings, day = house.service.governance.standings, 86_400_000_000
    now = standings._now_us()
    windows = lookback.report(standings, [], account, from_us=None, to_us=now + 20 * day)["windows"]
    assert [(each["as_known_then"], each["as_known_now"]) for each in windows] == [
        ("pending", "pending"),  # nobody had cleared it: nothing that is known now does
        ("cleared", "cleared"),
        ("review", "cleared"),
    ]
    assert windows[-1]["why_then"] == ["the list own is too old"]
    assert datetime.fromisoformat(windows[-1]["from"]) - datetime.fromtimestamp(now / 1e6, UTC) <= timedelta(days=10)


def test_what_a_list_drops_counts_until_two_operators_let_it_go(house: InProcess, tmp_path: Path) -> None:
    account, _ = opened(house, COMPANY)
    listed = entity("x", "Bluewater Imaging B.V.", country=["nl"])
    others = [entity(f"e{at}", f"Example Number {at}") for at in range(4)]
    ours(house, tmp_path, listed, *others)
    assert do(house, "host", "party.screen", accounts=[account])["screened"][0]["outcome"] == "block"
    ours(house, tmp_path, *others)
    assert do(house, "host", "party.screen", accounts=[account])["screened"][0]["outcome"] == "block"
    (waiting,) = do(house, "host", "list.list")["waiting"]
    decide(house, "list.accept", act=waiting["act"])
    assert do(house, "host", "party.screen", accounts=[account])["screened"][0]["outcome"] == "clear"
    (case,) = do(house, "host", "case.list", account_id=account)["cases"]
    assert case["open"]  # no case closes itself
    with pytest.raises(StandingError, match="is open"):
        decide(house, "account.standing", account_id=account, standing="cleared", sector="retail")
    decide(house, "case.judge", account_id=account, case=case["case"], judgement="cleared")
    decide(house, "account.standing", account_id=account, standing="cleared", sector="retail")
    assert standing(house, account) == "cleared"
    decide(house, "case.judge", account_id=account, case=case["case"], judgement="refused")
    assert standing(house, account) == "refused"


def test_what_counts_gets_old(house: InProcess, tmp_path: Path) -> None:
    account, keys = opened(house, COMPANY)
    listed = ours(house, tmp_path, entity("x", "Somebody Else"))
    assert listed["entries"] == 1
    do(house, "host", "party.screen", accounts=[account])
    decide(house, "account.standing", account_id=account, standing="cleared", sector="retail")
    assert called(house, keys) == "OK"
    standings = house.service.governance.standings
    now, day = standings._now_us, 86_400_000_000

    def after(days: int) -> tuple[str, list[str]]:
        standings._now_us = lambda: now() + days * day
        found = standings.standing(account)
        return found.standing, [*found.why, *standings.warnings()]

    assert after(6) == ("cleared", [])
    assert after(8) == ("cleared", ["the list own was last looked at 8 days ago"])
    assert after(11)[0] == "review"
    assert called(house, keys) == "AccessDeniedException"
    ours(house, tmp_path, entity("x", "Somebody Else"))  # looked at again
    assert after(20) == ("cleared", ["the list own was last looked at 9 days ago"])
    standings._now_us = lambda: now() + 16 * day
    assert standings.due() == [(account, "interval")]
    decide(house, "list.retire", list="own")
    assert standing(house, account) == "review"
    standings._now_us = now


def test_a_row_that_nobody_recorded_clears_nobody(house: InProcess, tmp_path: Path) -> None:
    """A report put in another's place, and a list's file: found, and nothing is granted."""
    account, keys = opened(house, COMPANY)
    ours(house, tmp_path, entity("x", "Bluewater Imaging B.V."))
    do(house, "host", "party.screen", accounts=[account])
    house.database.maintain(
        lambda connection: connection.execute(
            "UPDATE standing_document SET content = x'7b7d' WHERE instr(content, 'findings') > 0"
        ).close()
    )
    standings = house.service.governance.standings
    standings.documents._known.clear()
    standings.record._accounts[account].memo = None
    with pytest.raises(StandingError, match="cannot be read"):
        decide(house, "account.standing", account_id=account, standing="cleared", sector="retail")
    assert called(house, keys) == "AccessDeniedException"
    (folder,) = (each for each in standings.snapshots.folder.iterdir() if each.is_dir())
    next(folder.glob("*.gz")).write_bytes(b"")
    problems = do(house, "host", "ledger.fsck")["problems"]
    assert [each for each in problems if "damaged" in each or "cannot be read" in each]
    with pytest.raises(Exception, match="list"):
        do(house, "host", "party.screen", accounts=[account])


def test_without_the_extra_nobody_is_cleared(house: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account, keys = opened(house, COMPANY)
    ours(house, tmp_path, entity("x", "Somebody Else"))
    monkeypatch.setattr(runner, "EXTRA", "nomenklatura_that_is_not_there")
    with pytest.raises(MatcherMissing):
        do(house, "host", "party.screen", accounts=[account])
    with pytest.raises(MatcherMissing):
        decide(house, "account.standing", account_id=account, standing="cleared", sector="retail")
    assert called(house, keys) == "AccessDeniedException"
    assert code_of(house.call("DetectFaces", {"Image": IMAGE})) == "OK"  # the owner's account


@pytest.mark.parametrize(
    ("verb", "params"),
    [
        ("list.import", {"paths": []}),
        ("list.import", {"paths": ["nowhere"]}),
        ("list.import", {"paths": ["nowhere"], "list": "../x"}),
        ("list.update", {}),
        ("list.removed", {"act": "none"}),
        ("list.retire", {"list": "none", "reason": "x"}),
        ("party.statements", {"statements": [{"id": "1"}]}),
        ("party.statements", {"statements": "x"}),
        ("case.judge", {"case": "none", "judgement": "maybe", "reason": "x"}),
        ("case.judge", {"case": "none", "judgement": "cleared", "reason": "x"}),
        ("case.judge", {"case": "none", "judgement": "cleared", "attachments": ["x"], "reason": "x"}),
    ],
)
def test_what_makes_no_sense_is_refused(house: InProcess, verb: str, params: dict[str, Any]) -> None:
    account, _ = opened(house, COMPANY)
    size = house.service.ledger.log.size
    with pytest.raises((AdministrationError, StandingError, Exception)) as refused:
        do(house, "ann", verb, account_id=account, **params)
    assert type(refused.value).__module__.startswith("countenance.")
    assert house.service.ledger.log.size <= size + 2  # the operators that `do` makes
