"""sample: what is asked, what is printed, and the file that an image is written to."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from countenance.cli import admin_client
from countenance.errors import Error

Invoke = Callable[..., Result]

IMAGE = b"\xff\xd8\xff an image"
LISTED = {"request_id": "r-1", "account_id": "123456789012", "kept_at": "2026-01-01T00:00:00+00:00", "bytes": 12}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the verbs are answered, and under "asked" what they asked; the server's side has tests of its own."""
    made: dict[str, Any] = {
        "asked": [],
        "sample.list": {"samples": [LISTED], "more": False, "is_on": True},
        "sample.erase": {"account_id": "123456789012", "erased": 3},
        "sample.export": {
            "request_id": "r-1",
            "sha256": hashlib.sha256(IMAGE).hexdigest(),
            "bytes": len(IMAGE),
            "image": base64.b64encode(IMAGE).decode(),
        },
    }

    def administer(settings: object, verb: str, params: dict[str, Any]) -> dict[str, Any]:
        made["asked"].append((verb, params))
        answer = made[verb]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    monkeypatch.setattr(admin_client, "administer", administer)
    return made


def test_a_listing_says_how_to_go_on_and_whether_it_is_on(invoke: Invoke, answers: dict[str, Any]) -> None:
    shown = invoke("sample", "list", "123456789012")
    assert shown.stdout.splitlines()[1].split() == ["r-1", "2026-01-01T00:00:00+00:00", "12"]
    assert shown.stderr == ""
    answers["sample.list"] = {"samples": [LISTED], "more": True, "is_on": False}
    shown = invoke("sample", "list", "123456789012", "--after", "r-0")
    assert "--after r-1" in shown.stderr
    assert "off" in shown.stderr
    assert json.loads(invoke("sample", "list", "123456789012", "--json").stdout) == answers["sample.list"]
    assert [params for _, params in answers["asked"]] == [
        {"account_id": "123456789012"},
        {"account_id": "123456789012", "after": "r-0"},
        {"account_id": "123456789012"},
    ]


def export(invoke: Invoke, *more: object) -> Result:
    return invoke("sample", "export", "r-1", "--out", "out.jpg", "--reason", "case 17/26", *more)


def test_an_export_writes_a_private_file_and_prints_no_image(invoke: Invoke, answers: dict[str, Any]) -> None:
    made = export(invoke, "--json")
    assert made.exit_code == 0, made.output
    out = Path("out.jpg")
    assert out.read_bytes() == IMAGE
    assert out.stat().st_mode & 0o777 == 0o600
    expected = {"request_id": "r-1", "sha256": hashlib.sha256(IMAGE).hexdigest(), "bytes": 12, "out": "out.jpg"}
    assert json.loads(made.stdout) == expected
    assert answers["asked"] == [("sample.export", {"request_id": "r-1", "reason": "case 17/26"})]


def test_nothing_is_asked_for_that_has_no_place_to_go(invoke: Invoke, answers: dict[str, Any]) -> None:
    Path("out.jpg").write_bytes(b"somebody's")
    assert export(invoke).exit_code == 3
    assert Path("out.jpg").read_bytes() == b"somebody's"
    assert invoke("sample", "export", "r-1", "--out", "no/folder/x", "--reason", "r").exit_code == 3
    assert answers["asked"] == []


def test_a_refused_or_garbled_export_leaves_no_file(invoke: Invoke, answers: dict[str, Any]) -> None:
    answers["sample.export"]["sha256"] = "00" * 32
    assert export(invoke).exit_code == 3
    assert not Path("out.jpg").exists()
    answers["sample.export"] = Error("No sample is kept of that call.")
    refused = export(invoke)
    assert refused.exit_code == 3
    assert "No sample" in refused.stderr
    assert not Path("out.jpg").exists()


def test_erasing_needs_a_day_a_ground_and_a_yes(invoke: Invoke, answers: dict[str, Any]) -> None:
    words = ["sample", "erase", "123456789012", "--before", "2026-01-01", "--ground", "Art. 17 GDPR"]
    assert invoke(*words).exit_code == 2
    assert invoke(*words[:5], "--yes").exit_code == 2
    assert answers["asked"] == []
    assert invoke(*words, "--yes").stdout == "3 samples erased\n"
    params = {"account_id": "123456789012", "before": "2026-01-01", "ground": "Art. 17 GDPR"}
    assert answers["asked"] == [("sample.erase", params)]
