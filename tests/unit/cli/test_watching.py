"""The bar that is shown while a server is at long work."""

from __future__ import annotations

import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from countenance.cli import watching
from countenance.errors import Error

WAIT_S = 30.0


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """A terminal, and a server that owns the data folder."""
    shown = StringIO()
    monkeypatch.setattr(watching, "Console", lambda stderr: Console(file=shown, force_terminal=True, width=80))
    monkeypatch.setattr(watching, "owner_pid", lambda folder: 1)
    monkeypatch.setattr(watching, "POLL_S", 0.01)
    return shown


def test_how_far_the_server_is_is_shown(screen: StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, looked = list[str](), threading.Event()

    def administer(settings: Any, verb: str, params: Any) -> dict[str, int]:
        asked.append(verb)
        if len(asked) > 2:
            looked.set()
        return {"done": 3, "of": 10}

    monkeypatch.setattr(watching.admin_client, "administer", administer)
    with watching.watched(tmp_path, "importing", "collection.progress"):
        assert looked.wait(WAIT_S)
    assert set(asked) == {"collection.progress"}
    assert "importing" in screen.getvalue()
    assert "3/10" in screen.getvalue()


def test_a_server_that_does_not_answer_stops_nothing(
    screen: StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()

    def administer(settings: Any, verb: str, params: Any) -> dict[str, int]:
        looked.set()
        raise Error("nobody is there")

    monkeypatch.setattr(watching.admin_client, "administer", administer)
    with watching.watched(tmp_path, "importing", "collection.progress"):
        assert looked.wait(WAIT_S)


def test_nobody_at_a_terminal_is_shown_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "owner_pid", lambda folder: 1)
    monkeypatch.setattr(watching.admin_client, "administer", lambda *given: pytest.fail("it was asked"))
    monkeypatch.setattr(watching, "POLL_S", 0.0)
    with watching.watched(tmp_path, "importing", "collection.progress"):
        pass
