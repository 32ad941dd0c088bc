"""A shell company, its owner's owner, and a list that changed: over boto3 and the command line, with real lists."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import time
from collections.abc import Iterator
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


def opened(house: Two, tmp_path: Path, name: str) -> str:
    declaration = tmp_path / "party.json"
    declaration.write_text(json.dumps({**COMPANY, "legal_name": name}))
    return str(house.answer("host", "account", "create", name, "--party", str(declaration))["account_id"])


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
    assert house.answer("host", "list", "import", str(before))["entries"] == 8_832
    house.answer("ann", "party", "statements", "--add", str(owners))
    house.answer("ann", "party", "screen", account)
    house.decide("account", "standing", account, "--set", "cleared", "--sector", "retail")
    for _ in range(2):
        assert shell.detect_faces(Image={"Bytes": photograph})["FaceDetails"]

    screened = house.answer("host", "list", "import", *after, "--report-date", "2023-11-15")["screened"]
    assert screened == {"block": 1}
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
    assert json.loads(kept.read_text())["sha256"] == report["sha256"]
    trust = tmp_path / "policy.txt"
    trust.write_text(house.run("host", "ledger", "key").stdout + "quorum none\n")
    outsider = [Path(sys.executable).with_name("countenance-audit"), "lookback", "verify", kept, "--trust", trust]
    said = subprocess.run(outsider, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stdout
    assert "known then cleared, known now suspended, 2 of 2 calls answered" in said.stdout
    kept.write_text(kept.read_text().replace('"as_known_now": "suspended"', '"as_known_now": "cleared"'))
    assert subprocess.run(outsider, capture_output=True, timeout=60).returncode == 1
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
