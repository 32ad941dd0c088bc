"""An operator looks at a collection's index, and has it compared with the database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from countenance.accounts.values import AccountNotFound
from countenance.cli import collection as verbs
from countenance.cli import main
from countenance.gallery import CollectionNotFound
from countenance.operations.instruction import AdministrationError
from tests.conformance.in_process import InProcess, ScriptedEngine, service_in

FACES = {"CollectionId": "people", "Image": {"Bytes": b"faces: 3"}, "ExternalImageId": "ann"}


@pytest.fixture
def at_home(tmp_path: Path):  # type: ignore[no-untyped-def]
    with service_in(tmp_path, ScriptedEngine()) as made:
        made.ok("CreateCollection", {"CollectionId": "people"})
        made.ok("IndexFaces", FACES)
        yield made


def test_an_index_is_described_and_compared_and_neither_is_an_act(at_home: InProcess) -> None:
    size = at_home.service.ledger.log.size
    told = at_home.pipeline.administer("collection.describe", {"collection_id": "people"})
    assert (told["references"], told["tier"], told["account_id"]) == (3, None, at_home.account.account_id)
    told = at_home.pipeline.administer("collection.verify", {"collection_id": "people"})
    assert (told["agrees"], told["references"], told["named"]) == (True, 3, [])
    told = at_home.pipeline.administer("collection.describe", {"collection_id": "people"})
    assert (told["tier"], told["rows"]) == ("lazy", 3)
    assert at_home.service.ledger.log.size == size


def test_what_is_not_there_is_refused(at_home: InProcess) -> None:
    for verb in ("collection.describe", "collection.verify"):
        with pytest.raises(CollectionNotFound):
            at_home.pipeline.administer(verb, {"collection_id": "none"})
        with pytest.raises(AdministrationError):
            at_home.pipeline.administer(verb, {})
        with pytest.raises(AccountNotFound):
            at_home.pipeline.administer(verb, {"collection_id": "people", "account_id": "999999999999"})


def test_the_commands_print_it_and_a_difference_ends_with_1(
    at_home: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(_data: object, verb: str, **params: object) -> dict[str, object]:
        return at_home.pipeline.administer(verb, params)

    monkeypatch.setattr(verbs, "ask", ask)
    run = CliRunner().invoke
    shown = run(main, ["collection", "describe", "people"])
    assert shown.exit_code == 0, shown.output
    assert "faces" in shown.stdout
    assert "revision 1" in shown.stdout
    shown = run(main, ["collection", "verify-index", "people", "--json"])
    assert (shown.exit_code, json.loads(shown.stdout)["agrees"]) == (0, True)
    database = at_home.service.database
    database.maintain(
        lambda connection: connection.execute(
            "DELETE FROM enrolled_references WHERE ref_id = (SELECT max(ref_id) FROM enrolled_references)"
        )
    )
    shown = run(main, ["collection", "verify-index", "people"])
    assert shown.exit_code == 1
    assert "0 missing, 1 too many" in shown.stdout
