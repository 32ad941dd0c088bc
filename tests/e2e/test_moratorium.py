"""A moratorium that was lifted for a moment, and what can be shown about it: over boto3 and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.conftest import People, start
from tests.e2e.operators import Two, two_of
from tests.unit.accounts.declarations import CUSTOMER


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    made = two_of(start(tmp_path_factory.mktemp("policy") / "data"))
    try:
        yield made
    finally:
        made.server.stop()  # the one that runs by then


def opened(house: Two, tmp_path: Path, name: str, *standing: str) -> str:
    declaration = tmp_path / f"{name}.json"
    declaration.write_text(json.dumps(CUSTOMER))
    account = str(house.answer("host", "account", "create", name, "--party", str(declaration))["account_id"])
    if standing:
        house.clear(account, *standing)
    return account


def client(house: Two, account: str, purpose: str) -> Any:
    issued = house.answer("host", "key", "create", account, "--purpose", purpose)
    return house.server.client((issued["access_key_id"], issued["secret_access_key"]))


def denied(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**params)
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    return str(refused.value.response["Error"]["Message"])


def test_the_moratorium_lifted_and_back(house: Two, tmp_path: Path, people: People) -> None:
    photograph = next(iter(people.values()))[0].read_bytes()
    both = {"SourceImage": {"Bytes": photograph}, "TargetImage": {"Bytes": photograph}}
    force = opened(house, tmp_path, "Force", "--sector", "police")
    police = client(house, force, "criminal-investigation")
    alone = house.run("host", "key", "create", force, "--purpose", "missing-person", check=False)
    assert "Two operators allow" in alone.stderr
    house.decide("purpose", "allow", force, "missing-person", reason="order 7")
    missing = client(house, force, "missing-person")
    reseller = client(
        house,
        opened(house, tmp_path, "Reseller", "--sector", "software", "--end-user-sector", "police"),
        "identity-verification",
    )
    nobody = client(house, opened(house, tmp_path, "Nobody"), "access-control")

    assert "moratorium.police" in denied(police.compare_faces, **both)
    assert police.detect_faces(Image={"Bytes": photograph})["FaceDetails"]
    assert missing.compare_faces(**both)["FaceMatches"]
    assert "moratorium.police" in denied(reseller.compare_faces, **both)
    assert denied(nobody.detect_faces, Image={"Bytes": photograph}).startswith("Account not enabled; reference ")

    lifted = house.answer("ann", "policy", "draft", "standing")["policy_set"]
    usual = house.answer("host", "policy", "status")["in_force"]["policy_set"]
    assert (
        "Two operators decide that"
        in house.run("host", "policy", "activate", lifted, "--reason", "x", check=False).stderr
    )
    proposal = house.answer("ann", "policy", "activate", lifted[:16], "--reason", "case 7")["proposal"]
    alone = house.run("ann", "proposal", "approve", proposal, "--yes", check=False)
    assert alone.returncode == 3
    assert "Nobody approves what they proposed" in alone.stderr
    assert "moratorium.police" in denied(police.compare_faces, **both)
    house.answer("bea", "proposal", "approve", proposal, "--yes")
    assert police.compare_faces(**both)["FaceMatches"]
    house.decide("policy", "activate", usual, reason="case 7 is closed")
    assert "moratorium.police" in denied(police.compare_faces, **both)

    status = house.answer("host", "policy", "status")
    assert [(each["policy_set"], each["by"], each["reason"]) for each in status["timeline"]] == [
        (usual, [], "as the program comes"),
        (lifted, ["ann", "bea"], "case 7"),
        (usual, ["ann", "bea"], "case 7 is closed"),
    ]
    during, after = status["timeline"][1]["from"], status["timeline"][2]["from"]
    assert house.answer("host", "policy", "at", during)["in_force"]["policy_set"] == lifted
    assert house.answer("host", "policy", "at", after)["in_force"]["policy_set"] == usual
    replayed = house.answer("host", "policy", "replay")
    assert replayed["changed"] == 0
    assert replayed["calls"] >= 8
    simulated = house.run("host", "policy", "simulate", usual, "--json", check=False)
    assert simulated.returncode == 1
    slipped = json.loads(simulated.stdout)["told"]
    assert [(each["account_id"], each["operation"], each["would_be"]["policies"]) for each in slipped] == [
        (force, "CompareFaces", ["moratorium.police"])
    ]
    assert house.answer("host", "ledger", "fsck")["problems"] == []


def test_what_was_decided_outlives_the_server_and_works_without_one(house: Two, tmp_path: Path) -> None:
    account = opened(house, tmp_path, "Shop", "--sector", "retail")
    before = house.answer("host", "policy", "status")
    house.server.stop()
    told = house.answer("host", "account", "standing", account)
    assert (told["standing"], told["sector"], told["by"]) == ("cleared", "retail", ["ann", "bea"])
    assert house.answer("host", "policy", "status") == before
    house.decide("purpose", "add", "visitor-lists", "who is in the building")  # in process, with the sessions they have
    house.server = start(house.server.data)
    words = [each["purpose"] for each in house.answer("host", "purpose", "list")["purposes"]]
    assert "visitor-lists" in words
    assert house.run("host", "key", "create", account, "--purpose", "nonsense", check=False).returncode == 3
    assert client(house, account, "visitor-lists").list_collections()["CollectionIds"] == []
    assert house.run("host", "logout").stdout.strip() == "nobody was logged in"
    assert house.run("ann", "logout").stdout.strip() == "logged out"
