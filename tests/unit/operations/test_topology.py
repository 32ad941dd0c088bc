"""Which nodes are told of, and when a part counts as held."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from tests.conformance.in_process import InProcess, ScriptedEngine, service_in

from countenance.cli import admin_client, main
from countenance.operations.topology import topology_show
from countenance.store import Connection, SqliteDatabase


class Told:
    """A database with what nodes said of themselves."""

    def __init__(self, folder: Path) -> None:
        self.database = SqliteDatabase(folder / "store.db", is_shared=True, synchronous="OFF")

    def says(self, node: str, part: str | None, *, url: str = "http://127.0.0.1:1", ago_s: float = 0.0) -> None:
        told: Mapping[str, Any] = {"role": "server"} | ({} if part is None else {"part": part, "url": url})

        def say(connection: Connection) -> None:
            at = time.time_ns() // 1000 - int(ago_s * 1_000_000)
            connection.execute("INSERT INTO store_node VALUES (?, ?, ?, ?)", (node, json.dumps(told), at, at))

        self.database.maintain(say)

    def shown(self) -> dict[str, Any]:
        on: Any = SimpleNamespace(database=self.database, at=datetime.now(UTC), gallery=None)
        return topology_show(on, {})


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.database.close()


def test_nobody_is_not_covered(told: Told) -> None:
    assert (told.shown()["nodes"], told.shown()["covered"], told.shown()["missing"]) == ([], False, [])
    told.says("a", None)  # on its way
    assert ("part" in told.shown()["nodes"][0], told.shown()["covered"]) == (False, False)


def test_covered_when_each_part_is_at_a_live_node_that_can_be_asked(told: Told) -> None:
    told.says("a", "1/2")
    assert (told.shown()["covered"], told.shown()["missing"]) == (False, ["2/2"])
    told.says("b", "2/2", ago_s=20)
    assert (told.shown()["covered"], told.shown()["nodes"][0]["is_live"]) == (False, False)
    told.says("c", "1/1", url="")  # it has everything, and nobody can ask it
    assert (told.shown()["covered"], told.shown()["missing"]) == (False, ["2/2"])
    told.says("d", "2/2")
    assert (told.shown()["covered"], told.shown()["missing"]) == (True, [])
    assert sorted((each["node"], each["part"]) for each in told.shown()["nodes"]) == [
        ("a", "1/2"),
        ("b", "2/2"),
        ("c", "1/1"),
        ("d", "2/2"),
    ]


def test_one_with_everything_stands_in_for_a_part(told: Told) -> None:
    told.says("a", "1/3")
    told.says("b", "1/1")
    assert told.shown()["covered"]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[InProcess]:
    with service_in(tmp_path, ScriptedEngine()) as made:
        yield made


def test_a_server_of_its_own_is_the_only_node(house: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    size = house.service.ledger.log.size
    answer = house.pipeline.administer("topology.show", {})
    assert house.service.ledger.log.size == size
    (node,) = answer["nodes"]
    assert node["duties"] == ["upkeep"]
    assert answer["covered"]

    monkeypatch.setattr(admin_client, "administer", lambda _settings, name, _: house.pipeline.administer(name, {}))
    shown = CliRunner().invoke(main, ["topology"])
    assert shown.exit_code == 0, shown.output
    assert node["node"] in shown.stdout


def test_the_command_ends_with_1_and_names_what_is_missing(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    told.says("a", "1/2", ago_s=1)
    told.says("b", "2/2", ago_s=20)
    monkeypatch.setattr(admin_client, "administer", lambda _settings, _name, _: told.shown())
    shown = CliRunner().invoke(main, ["topology"])
    assert shown.exit_code == 1
    assert "part 2/2" in shown.stderr
    assert ", gone" in shown.stdout
    assert json.loads(CliRunner().invoke(main, ["topology", "--json"]).stdout)["missing"] == ["2/2"]
