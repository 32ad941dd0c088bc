"""A shell company, its owner's owner, and a list that changed: over boto3 and the command line, with real lists."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from countenance.standing import runner
from tests.conformance.test_standing import ABOVE, COMPANY
from tests.e2e.conftest import People, start
from tests.e2e.operators import Two, two_of
from tests.e2e.test_moratorium import client, denied

SOON_S = 60.0
"""Within which a server has screened one account: its processes take seconds to start."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    if not runner.is_installed():
        pytest.skip("the extra is not installed: make standing")
    made = two_of(start(tmp_path_factory.mktemp("standing") / "data"))
    try:
        yield made
    finally:
        made.server.stop()


def opened(house: Two, tmp_path: Path, name: str, **more: Any) -> str:
    declaration = tmp_path / "party.json"
    declaration.write_text(json.dumps({**COMPANY, "legal_name": name, **more}))
    return str(house.answer("host", "account", "create", name, "--party", str(declaration))["account_id"])


def verified(report: Path, key: str) -> tuple[int, str]:
    """As somebody checks it who has the report and the log's key: nothing of the server is asked."""
    trust = report.with_name("policy.txt")
    trust.write_text(f"{key}\nquorum none\n")
    outsider = Path(sys.executable).with_name("countenance-audit")
    said = subprocess.run(
        [outsider, "lookback", "verify", report, "--trust", trust], capture_output=True, text=True, timeout=60
    )
    return said.returncode, said.stdout


def test_the_next_list_suspends_and_the_look_back_names_what_was_used(
    house: Two, tmp_path: Path, people: People, shared_data: Path
) -> None:
    folder = shared_data / "sanctions_lists"
    if not folder.is_dir():
        pytest.skip(f"no lists: {folder} is missing; set COUNTENANCE_TEST_DATA")
    photograph = next(iter(people.values()))[0].read_bytes()
    before, owners = tmp_path / "sdn-2021.xml", tmp_path / "owners.json"
    before.write_bytes(lzma.decompress((folder / "ofac_sdn_2021-03-10.xml.xz").read_bytes()))
    owners.write_text(json.dumps(ABOVE))
    after = [str(folder / name) for name in ("ofac_sdn_2023-11.csv", "ofac_alt_2025-12.csv", "ofac_add_2025-12.csv")]

    account = opened(house, tmp_path, "Bluewater Imaging B.V.")
    shell = client(house, account, "access-control")
    similar = opened(house, tmp_path, "Inforos Europe B.V.", owners=[])
    unrelated = client(house, similar, "access-control")
    assert denied(shell.detect_faces, Image={"Bytes": photograph})  # nobody has cleared it
    assert house.answer("host", "list", "import", str(before))["entries"] == 8_832
    house.answer("ann", "party", "statements", "--add", str(owners))
    house.answer("ann", "party", "screen", account, similar)
    for each in (account, similar):
        house.decide("account", "standing", each, "--set", "cleared", "--sector", "retail")
    assert unrelated.detect_faces(Image={"Bytes": photograph})["FaceDetails"]
    for _ in range(2):
        assert shell.detect_faces(Image={"Bytes": photograph})["FaceDetails"]

    screened = house.answer("host", "list", "import", *after, "--report-date", "2023-11-15")["screened"]
    assert screened == {"block": 1, "review": 1}
    assert denied(shell.detect_faces, Image={"Bytes": photograph}).startswith("Account not enabled; reference ")
    assert house.answer("ann", "account", "standing", account)["standing"] == "suspended"

    case = next(each for each in house.answer("ann", "case", "list", account)["cases"] if each["kind"] == "ownership")
    drawn = tmp_path / "chain.svg"
    house.answer("ann", "case", "show", account, case["case"], "--draw", str(drawn))
    assert "inforos, ooo" in drawn.read_text()
    kept = tmp_path / "lookback.json"
    report = house.answer("ann", "party", "lookback", account, "--report", str(kept))
    used = [each for each in report["windows"] if each["answered"]]
    assert [(each["as_known_then"], each["as_known_now"], each["answered"]) for each in used] == [
        ("cleared", "suspended", 2)
    ]
    key = house.run("host", "ledger", "key").stdout.strip()
    status, said = verified(kept, key)
    assert (status, "known then cleared, known now suspended, 2 of 2 calls answered" in said) == (0, True), said
    kept.write_text(kept.read_text().replace('"as_known_now": "suspended"', '"as_known_now": "cleared"'))
    assert verified(kept, key)[0] == 1

    # Somebody unrelated, whose name is like that of somebody listed.
    assert denied(unrelated.detect_faces, Image={"Bytes": photograph}).startswith("Account not enabled; reference ")
    assert house.answer("ann", "account", "standing", similar)["standing"] == "review"
    first, *others = house.answer("ann", "case", "list", similar)["cases"]
    assert {(each["kind"], each["tier"]) for each in (first, *others)} == {("name", "review")}
    deed = tmp_path / "register.txt"
    deed.write_text("extract of the trade register")
    words = ("--judgement", "cleared", "--attach", str(deed))
    for each in others:
        house.decide("case", "judge", similar, each["case"], *words)
    last = ("case", "judge", similar, first["case"], *words, "--reason", "another company")
    proposal = house.answer("ann", *last)["proposal"]
    assert house.run("ann", "proposal", "approve", proposal, "--yes", check=False).returncode != 0  # it takes two
    assert denied(unrelated.detect_faces, Image={"Bytes": photograph})
    house.answer("bea", "proposal", "approve", proposal, "--yes")
    assert unrelated.detect_faces(Image={"Bytes": photograph})["FaceDetails"]
    judged = house.answer("ann", "case", "show", similar, first["case"])["judgement"]
    assert (judged["by"], judged["attachments"]) == (["ann", "bea"], [sha256(deed.read_bytes()).hexdigest()])
    done = house.run("host", "ledger", "fsck")
    assert "0 problems" in done.stderr
    # A server that starts again knows all of it.
    house.server.stop()
    house.server = start(house.server.data)
    again = client(house, account, "access-control")
    assert denied(again.detect_faces, Image={"Bytes": photograph}).startswith("Account not enabled; reference ")


def test_a_call_from_elsewhere_stops_the_ones_after_it(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, people: People
) -> None:
    """Behind a proxy that is trusted; the server screens by itself, soon."""
    if not runner.is_installed():
        pytest.skip("the extra is not installed: make standing")
    photograph = next(iter(people.values()))[0].read_bytes()
    table = tmp_path / "places.csv"
    table.write_text("192.0.2.0/24,NL\n198.51.100.0/24,CL\n")
    environ = {"COUNTENANCE_PLACES": str(table), "COUNTENANCE_TRUSTED_PROXIES": "127.0.0.1"}
    house = two_of(start(tmp_path_factory.mktemp("places") / "data", environ=environ))
    try:
        account = opened(house, tmp_path, "Bluewater Imaging B.V.")
        house.clear(account)
        shell, peer = client(house, account, "access-control"), "192.0.2.7"

        def from_there(request: Any, **_: Any) -> None:
            request.headers["X-Forwarded-For"] = peer

        shell.meta.events.register("before-send.rekognition", from_there)
        assert shell.detect_faces(Image={"Bytes": photograph})["FaceDetails"]
        peer = "198.51.100.7"
        assert shell.detect_faces(Image={"Bytes": photograph})["FaceDetails"]
        deadline = time.monotonic() + SOON_S
        while not (cases := house.answer("ann", "case", "list", account)["cases"]):
            assert time.monotonic() < deadline, "nobody screened it"
            time.sleep(0.5)
        assert [each["title"].split()[0] for each in cases] == ["R8"]
        peer = "192.0.2.7"
        assert denied(shell.detect_faces, Image={"Bytes": photograph}).startswith("Account not enabled; reference ")
        house.decide("case", "judge", account, cases[0]["case"], "--judgement", "cleared")
        assert shell.detect_faces(Image={"Bytes": photograph})["FaceDetails"]
        assert "198.51.100.7" not in house.server.log.read_text()
    finally:
        house.server.stop()
