"""Whom the owner's account belongs to: undeclared on a fresh folder, or as a file of the settings says, once."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from tests.unit.accounts.declarations import CUSTOMER, OWNER

from countenance.assembly import open_admin
from countenance.config import Settings, SettingsError


def acts(settings: Settings) -> list[dict[str, object]]:
    """Operation and details of what is in the log after another start."""
    with open_admin(settings) as register:
        log = register.ledger.log
        found = [opening.accounting for _, opening in log.storage.openings(0, log.size)]
        assert register.administer("ledger.fsck", {})["problems"] == []
    about_policy = "policy.default"  # which set decides: not about the party
    return [{"operation": each["operation"], **each["details"]} for each in found if each["operation"] != about_policy]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "owner.json"
    path.write_text(json.dumps(OWNER))
    return path


def test_a_fresh_folder_asks_nothing_and_says_that_nobody_is_declared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    opened, issued = acts(Settings(data_dir=tmp_path / "data"))
    assert (opened["operation"], opened["owner"], opened["party"]) == ("account.create", 1, "undeclared")
    assert (issued["operation"], issued["party"]) == ("key.create", "undeclared")
    assert "countenance account declare" in caplog.text


def test_the_file_of_the_settings_is_declared_with_the_account(tmp_path: Path, file: Path) -> None:
    (tmp_path / "data").mkdir()
    settings = Settings(data_dir=tmp_path / "data", owner_party=file)
    opened, _ = acts(settings)
    assert (opened["legal_name"], opened["party_version"]) == (OWNER["legal_name"], 1)
    assert len(acts(settings)) == 2


def test_a_file_given_later_is_declared_once_and_changes_only_by_command(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    acts(Settings(data_dir=tmp_path / "data"))
    settings = Settings(data_dir=tmp_path / "data", owner_party=file)
    assert acts(settings)[-1]["operation"] == "account.declare"
    caplog.clear()
    file.write_text(json.dumps(OWNER | {"legal_name": "Another GmbH"}))
    with caplog.at_level(logging.WARNING):
        assert [each["operation"] for each in acts(settings)] == ["account.create", "key.create", "account.declare"]
    assert "owner_party is not what the owner's account declares" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps(CUSTOMER | {"lei": "1"})])
def test_a_file_that_is_no_declaration_stops_the_start(tmp_path: Path, file: Path, text: str) -> None:
    (tmp_path / "data").mkdir()
    file.write_text(text)
    with (
        pytest.raises(SettingsError, match="owner_party"),
        open_admin(Settings(data_dir=tmp_path / "data", owner_party=file)),
    ):
        pass
    file.unlink()
    with (
        pytest.raises(SettingsError, match="owner_party"),
        open_admin(Settings(data_dir=tmp_path / "data", owner_party=file)),
    ):
        pass
