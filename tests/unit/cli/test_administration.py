"""account, key, bucket: how they reach the data folder, what they ask, and what they print."""

from __future__ import annotations

import fcntl
import json
import os
import socketserver
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from countenance.cli import admin_client
from countenance.errors import Error

Invoke = Callable[..., Result]

SECRET = "c2VjcmV0LW9uY2U="

INVOLVED = {"name": "Ada", "person": True, "identifiers": ["lei:529900T8BM49AURSDO55"], "share": "25.50"}

ANSWERS: dict[str, dict[str, Any]] = {
    "account.create": {"account_id": "123456789012", "name": "Front desk", "created_at": "2026-01-01T00:00:00+00:00"},
    "account.list": {
        "accounts": [
            {
                "account_id": "123456789012",
                "name": "Front desk",
                "created_at": "2026-01-01T00:00:00+00:00",
                "party": None,
            },
            {
                "account_id": "123456789013",
                "name": "Back door",
                "created_at": "2026-01-01T00:00:00+00:00",
                "party": {"legal_name": "Acme Access B.V.", "jurisdiction": "NL"},
            },
        ]
    },
    "account.party": {"account_id": "123456789012", "versions": []},
    "account.declare": {
        "account_id": "123456789012",
        "version": 2,
        "recorded_at": "2026-01-01T00:00:00+00:00",
        "act": "0000",
        "party": {"legal_name": "Acme", "lei": None, "owners": [INVOLVED], "end_users": []},
    },
    "key.create": {
        "access_key_id": "AKCNEXAMPLE",
        "secret_access_key": SECRET,
        "account_id": "123456789012",
        "purpose": "attendance",
    },
    "key.list": {
        "keys": [
            {
                "access_key_id": "AKCNEXAMPLE",
                "account_id": "123456789012",
                "purpose": "attendance",
                "holder": "",
                "created_at": "2026-01-01T00:00:00+00:00",
                "revoked_at": None,
            }
        ]
    },
    "key.revoke": {"access_key_id": "AKCNEXAMPLE"},
    "bucket.grant": {"account_id": "123456789012", "bucket": "badges"},
    "bucket.revoke": {"account_id": "123456789012", "bucket": "badges"},
    "bucket.list": {"grants": [{"account_id": "123456789012", "bucket": "badges"}]},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    """What reached the assembly in this process; it stands in for the store, which has tests of its own."""
    calls: list[tuple[str, str, dict[str, Any]]] = []

    class Register:
        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def administer(self, verb: str, params: dict[str, Any]) -> dict[str, Any]:
            calls.append((str(self.folder), verb, params))
            if params.get("account_id") == "000000000000":
                raise Error("There is no account '000000000000'.", hint="`countenance account list` shows them")
            return ANSWERS[verb]

    @contextmanager
    def open_admin(settings: Any) -> Iterator[Register]:
        yield Register(settings.data_dir)

    stand_in = types.ModuleType("countenance.assembly")
    stand_in.open_admin = open_admin  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "countenance.assembly", stand_in)
    Path("data").mkdir()
    return calls


@pytest.mark.parametrize(
    ("words", "verb", "params", "printed"),
    [
        (["account", "create", "Front desk"], "account.create", {"name": "Front desk", "party": {}}, "123456789012"),
        (["account", "list"], "account.list", {}, "Front desk  undeclared"),
        (["account", "list"], "account.list", {}, "Acme Access B.V."),
        (["account", "party", "123456789012"], "account.party", {"account_id": "123456789012"}, "undeclared"),
        (
            ["account", "declare", "123456789012", "--legal-name", "Acme"],
            "account.declare",
            {"account_id": "123456789012", "party": {"legal_name": "Acme"}, "amend": True},
            "owners: Ada; person; lei:529900T8BM49AURSDO55; share=25.50",
        ),
        (
            ["key", "create", "123456789012", "--purpose", "attendance", "--holder", "HR"],
            "key.create",
            {"account_id": "123456789012", "purpose": "attendance", "holder": "HR"},
            f"aws_secret_access_key = {SECRET}",
        ),
        (["key", "create", "123456789012"], "key.create", {"account_id": "123456789012"}, "AKCNEXAMPLE"),
        (["key", "list"], "key.list", {}, "attendance"),
        (["key", "list", "123456789012"], "key.list", {"account_id": "123456789012"}, "AKCNEXAMPLE"),
        (["key", "revoke", "AKCNEXAMPLE", "--yes"], "key.revoke", {"access_key_id": "AKCNEXAMPLE"}, "revoked"),
        (
            ["bucket", "grant", "123456789012", "badges"],
            "bucket.grant",
            {"account_id": "123456789012", "bucket": "badges"},
            "may read badges",
        ),
        (
            ["bucket", "revoke", "123456789012", "badges", "--yes"],
            "bucket.revoke",
            {"account_id": "123456789012", "bucket": "badges"},
            "no longer",
        ),
        (["bucket", "list"], "bucket.list", {}, "badges"),
    ],
)
def test_each_verb_asks_for_itself_and_prints_the_answer(
    invoke: Invoke,
    asked: list[tuple[str, str, dict[str, Any]]],
    words: list[str],
    verb: str,
    params: dict[str, Any],
    printed: str,
) -> None:
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert asked == [("data", verb, params)]
    assert printed in result.stdout
    assert json.loads(invoke(*words, "--json").stdout) == ANSWERS[verb]


@pytest.mark.parametrize("words", [["key", "revoke", "AKCN"], ["bucket", "revoke", "123456789012", "badges"]])
def test_what_is_final_needs_a_yes(invoke: Invoke, asked: list[Any], words: list[str]) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert asked == []


def test_a_refusal_is_undecided_with_its_hint(invoke: Invoke, asked: list[Any]) -> None:
    result = invoke("key", "create", "000000000000")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        "Error: There is no account '000000000000'.\nHint: `countenance account list` shows them\n"
    )


def test_a_folder_that_is_not_there_is_not_made(invoke: Invoke) -> None:
    result = invoke("account", "list", "--data", "typo")
    assert result.exit_code == 3
    assert "There is no data folder typo" in result.stderr
    assert not Path("typo").exists()


class AdminServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@pytest.fixture
def owned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A folder owned by a server: the lock is held by another process, the socket answers what the test says."""
    folder = tmp_path / "data"
    folder.mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, os, sys\n"
            f"f = os.open({str(folder / 'lock')!r}, os.O_RDWR | os.O_CREAT)\n"
            "fcntl.flock(f, fcntl.LOCK_EX); os.write(f, str(os.getpid()).encode())\n"
            "print('held', flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    state: dict[str, Any] = {"status": 200, "body": b"{}", "seen": [], "pid": holder.pid}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state["seen"].append((self.path, json.loads(body)))
            self.send_response(state["status"])
            self.send_header("Content-Length", str(len(state["body"])))
            self.end_headers()
            with suppress(BrokenPipeError):  # nobody waits for an empty body
                self.wfile.write(state["body"])

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_args: object) -> None:
            return

    monkeypatch.chdir(folder)  # a socket's path may be no longer than 108 bytes
    server = AdminServer("admin.sock", Handler)
    monkeypatch.chdir(tmp_path)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
    holder.stdin.close()
    holder.wait()
    holder.stdout.close()


def test_a_running_server_is_asked_over_its_socket(invoke: Invoke, owned: dict[str, Any]) -> None:
    owned["body"] = json.dumps({"result": ANSWERS["account.list"]}).encode()
    result = invoke("account", "list", "--json")
    assert json.loads(result.stdout) == ANSWERS["account.list"]
    assert owned["seen"] == [("/admin/account.list", {})]


def test_a_running_server_may_refuse(invoke: Invoke, owned: dict[str, Any]) -> None:
    owned["status"] = 400
    owned["body"] = json.dumps({"error": {"message": "No such account.", "hint": "list them"}}).encode()
    result = invoke("key", "create", "1", "--holder", "HR")
    assert result.exit_code == 3
    assert result.stderr == "Error: No such account.\nHint: list them\n"
    assert owned["seen"] == [("/admin/key.create", {"account_id": "1", "holder": "HR"})]


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"result"', b'"x"'])
def test_nonsense_from_the_socket_is_told_as_such(invoke: Invoke, owned: dict[str, Any], body: bytes) -> None:
    owned["body"] = body
    result = invoke("account", "create", "x")
    assert result.exit_code == 3
    assert "did not answer as it should" in result.stderr
    assert len(owned["seen"]) == 1, "a verb with an effect is not sent twice"


def test_an_owner_that_never_listens_is_named(
    invoke: Invoke, owned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("data/admin.sock").unlink()
    monkeypatch.setattr(admin_client, "PATIENCE_S", 0.1)
    result = invoke("account", "list")
    assert result.exit_code == 3
    assert f"Process {owned['pid']} owns data" in result.stderr


def test_an_owner_that_leaves_meanwhile_is_replaced(
    invoke: Invoke, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Owned, but nobody listens: a server on its way out. The next look finds the folder free.
    lock = os.open("data/lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    real_sleep = admin_client.time.sleep

    def leave(seconds: float) -> None:
        fcntl.flock(lock, fcntl.LOCK_UN)
        real_sleep(seconds)

    monkeypatch.setattr(admin_client.time, "sleep", leave)
    assert invoke("account", "list").exit_code == 0
    os.close(lock)
    assert [verb for _folder, verb, _params in asked] == ["account.list"]
