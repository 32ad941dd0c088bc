"""How options, a file and documents become the declaration of a party."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tests.unit.accounts.declarations import CUSTOMER

from countenance.accounts import Party
from countenance.cli.declaration import lines_of, party_of, party_options

Declare = Callable[..., Result]


@pytest.fixture
def declare() -> Declare:
    @click.command()
    @party_options
    def verb(given: dict[str, Any]) -> None:
        click.echo(json.dumps(party_of(given)))

    return lambda *words: CliRunner().invoke(verb, [str(word) for word in words])


def test_options_say_what_a_file_can_say(declare: Declare, tmp_path: Path) -> None:
    (tmp_path / "order.pdf").write_bytes(b"an order")
    result = declare(
        "--legal-name", "Acme Access B.V.", "--jurisdiction", "NL", "--registration", "NL-KVK:27124701",
        "--lei", "529900T8BM49AURSDO55", "--domain", "acme.example",
        "--owner", "Acme Holding Ltd; share=74.5; reg:GB-COH:03977902", "--owner", "Ada Owner;person;share=25.5%",
        "--end-user", "Port Authority;domain:port.example", "--payer", "Acme Payments SAS;reg:FR-SIREN:732829320",
        "--payment-reference", "INV-2026-17", "--sector", "logistics",
        "--end-use", "door control for staff of one terminal", "--signatory", "Sam Signatory",
        "--contract", tmp_path / "order.pdf", "--terms", "2026-01", "--terms-file", "BB" * 32,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = Party.from_json(json.loads(result.output))
    assert told == Party.from_json(CUSTOMER | {"contract_sha256": hashlib.sha256(b"an order").hexdigest()})


def test_options_say_where_it_is_and_how_it_is_reached(declare: Declare) -> None:
    result = declare(
        "--other-name", "ACME", "--incorporated-on", "2021-05-01",
        "--address", "NL; Keizersgracht 1, Amsterdam;registered", "--address", "DE;Hauptstr. 2",
        "--used-in", "NL", "--used-in", "DE", "--email", "desk@acme.example",
        "--phone", "+31 20 123 4567", "--monthly-calls", "1000", "--end-user", "Port;country=BE",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {
        "other_names": ["ACME"],
        "incorporated_on": "2021-05-01",
        "addresses": [
            {"country": "NL", "text": "Keizersgracht 1, Amsterdam", "kind": "registered"},
            {"country": "DE", "text": "Hauptstr. 2"},
        ],
        "used_in": ["NL", "DE"],
        "email": "desk@acme.example",
        "phone": "+31 20 123 4567",
        "monthly_calls": 1000,
        "end_users": [{"name": "Port", "identifiers": [], "country": "BE"}],
    }
    assert declare("--address", "NL").exit_code == 2


def test_options_come_before_the_file(declare: Declare, tmp_path: Path) -> None:
    (tmp_path / "acme.json").write_text(json.dumps(CUSTOMER))
    assert json.loads(declare("--party", tmp_path / "acme.json").output) == CUSTOMER
    result = declare("--party", tmp_path / "acme.json", "--sector", "ports", "--end-user", "Harbour Ltd")
    end_users = [{"name": "Harbour Ltd", "identifiers": []}]
    assert json.loads(result.output) == CUSTOMER | {"sector": "ports", "end_users": end_users}


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_file_that_is_no_declaration_is_wrong_usage(declare: Declare, tmp_path: Path, text: str) -> None:
    (tmp_path / "acme.json").write_text(text)
    result = declare("--party", tmp_path / "acme.json")
    assert result.exit_code == 2
    assert "acme.json" in result.output


def test_a_document_is_a_file_or_a_hash(declare: Declare) -> None:
    result = declare("--contract", "no-such.pdf")
    assert result.exit_code == 2
    assert "neither a file nor a SHA-256 hash" in result.output


def test_a_version_is_printed_with_everything_it_says() -> None:
    party = Party.from_json(CUSTOMER).to_json()
    lines = list(lines_of({"version": 1, "recorded_at": "2026-01-02", "act": "r1", "party": party}))
    assert lines[0] == "version 1, recorded 2026-01-02, act r1"
    assert "  owners: Acme Holding Ltd; reg:GB-COH:03977902; share=74.50" in lines
    assert "  owners: Ada Owner; person; share=25.50" in lines
    assert f"  contract_sha256: {'aa' * 32}" in lines
