"""A real server's log, checked by the auditor's own program over HTTP and by the command line."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from countenance_audit import receipt as receipts

from .conftest import Server, start


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def trust(server: Server, tmp_path: Path) -> Path:
    line = run("-m", "countenance", "ledger", "key", "--data", server.data)
    assert line.returncode == 0, line.stderr
    path = tmp_path / "policy.txt"
    path.write_text(line.stdout + "quorum none\n")
    return path


def test_a_call_s_receipt_is_held_against_the_log(server: Server, trust: Path, tmp_path: Path) -> None:
    client = server.client()
    kept: dict[str, bytes] = {}
    client.meta.events.register("before-send.rekognition", lambda request, **_: kept.update(request=request.body))
    client.meta.events.register(
        "after-call.rekognition", lambda http_response, **_: kept.update(response=http_response.content)
    )
    answer = client.list_collections()
    text = answer["ResponseMetadata"]["HTTPHeaders"][receipts.HEADER]
    for name, content in {"receipt.txt": text.encode(), **kept}.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else str(content).encode())
    words = ("-m", "countenance", "ledger", "receipt", "verify", tmp_path / "receipt.txt", "--trust", trust)
    more = ("--request", tmp_path / "request", "--response", tmp_path / "response", "--data", server.data, "--json")
    held = run(*words, *more)
    assert held.returncode == 0, held.stdout + held.stderr
    said = json.loads(held.stdout)
    assert (said["kept"], said["included"], said["evidence"]) == (True, True, None)
    assert said["checked"][:2] == ["the request body is the call's", "the response body is the call's"]
    assert any("is in the log at index" in each for each in said["checked"])
    (tmp_path / "response").write_bytes(b"{}")
    assert run(*words, *more).returncode == 1


def test_an_auditor_mirrors_the_whole_log(server: Server, trust: Path, tmp_path: Path) -> None:
    client = server.client()
    for _ in range(300):
        client.list_collections()
    assert run("-m", "countenance", "ledger", "status", "--data", server.data).returncode == 0  # publishes
    url = f"{server.endpoint}/log/"
    mirrored = run("-m", "countenance_audit", "mirror", url, tmp_path / "mirror", "--trust", trust, "--json")
    assert mirrored.returncode == 0, mirrored.stdout + mirrored.stderr
    again = run("-m", "countenance_audit", "mirror", url, tmp_path / "mirror", "--trust", trust)
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.parametrize(
    "path", ["", "tile/0/x999/999", "tile/9/000", "tile/0/../checkpoint", "entries", "tile/0/000.p/0"]
)
def test_what_is_not_in_the_log_is_not_found(server: Server, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{server.endpoint}/log/{path}", timeout=30)
    assert refused.value.code == 404


def test_the_log_shows_no_names(server: Server) -> None:
    server.client().create_collection(CollectionId="very-secret-name")
    run("-m", "countenance", "ledger", "status", "--data", server.data)
    size = int(urllib.request.urlopen(f"{server.endpoint}/log/checkpoint", timeout=30).read().split(b"\n")[1])
    for n in range(size // 256 + 1):
        width = min(256, size - 256 * n)
        suffix = "" if width == 256 else f".p/{width}"
        if width:
            bundle = urllib.request.urlopen(f"{server.endpoint}/log/tile/entries/{n:03d}{suffix}", timeout=30).read()
            assert b"very-secret-name" not in bundle
            assert b"AKCN" not in bundle


def test_a_month_s_statement_in_every_form(server: Server) -> None:
    server.client().list_collections()
    accounts = json.loads(run("-m", "countenance", "account", "list", "--data", server.data, "--json").stdout)
    account = accounts["accounts"][0]["account_id"]
    month = datetime.now(UTC).strftime("%Y-%m")
    for form, beginning in (("table", "Account"), ("json", "{"), ("html", "<!doctype html>"), ("focus", "")):
        made = run("-m", "countenance", "ledger", "statement", account, month, "--form", form, "--data", server.data)
        assert made.returncode == 0, made.stderr
        assert made.stdout.startswith(beginning)
    assert "BilledCost" in made.stdout.splitlines()[0]
    assert run("-m", "countenance", "ledger", "statement", account, "2026-13", "--data", server.data).returncode == 3


def test_the_ledger_is_sound_after_all_that(server: Server) -> None:
    examined = run("-m", "countenance", "ledger", "fsck", "--data", server.data, "--json")
    assert examined.returncode == 0, examined.stdout + examined.stderr
    assert json.loads(examined.stdout)["problems"] == []


def test_two_witnesses_in_processes_of_their_own_sign_what_the_server_publishes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = start(folder)
    key = run("-m", "countenance", "ledger", "key", "--data", folder).stdout.split()[1]
    assert first.stop() == 0
    running, lines = [], []
    try:
        for name in ("a", "b"):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            words = ["witness", "serve", "--name", f"{name}.example", "--dir", tmp_path / name, "--trust", key]
            process = subprocess.Popen(
                [sys.executable, "-m", "countenance", *map(str, words), "--port", str(port)], stdout=subprocess.PIPE
            )
            running.append(process)
            assert process.stdout is not None
            lines.append(f"witness {name} {process.stdout.readline().decode().strip()} http://127.0.0.1:{port}\n")
        policy = tmp_path / "policy.txt"
        policy.write_text("".join([f"log {key}\n", *lines, "group both all a b\nquorum both\n"]))
        second = start(folder, environ={"COUNTENANCE_LEDGER_WITNESSES": str(policy)})
        try:
            second.client().list_collections()
            run("-m", "countenance", "ledger", "status", "--data", folder)
            deadline = time.monotonic() + 30
            while True:
                note = urllib.request.urlopen(f"{second.endpoint}/log/checkpoint", timeout=30).read()
                if note.count("—".encode()) == 3 or time.monotonic() > deadline:
                    break
                time.sleep(0.5)
            (tmp_path / "note").write_bytes(note)
            seen = run("-m", "countenance_audit", "checkpoint", "verify", tmp_path / "note", "--trust", policy)
            assert seen.returncode == 0, seen.stdout
        finally:
            assert second.stop() == 0
    finally:
        for process in running:
            process.terminate()
            process.wait(30)


def test_a_backup_by_hand_is_red_until_it_is_recovered_and_erases_again(tmp_path: Path) -> None:
    folder, mirrored = tmp_path / "data", tmp_path / "mirror"
    first = start(folder)
    try:
        first.client().create_collection(CollectionId="kept")
        first.client().create_collection(CollectionId="gone")
        made = run("-m", "countenance", "backup", "create", tmp_path / "backup.db", "--data", folder, "--json")
        assert made.returncode == 0, made.stderr
        assert run("-m", "countenance", "backup", "create", tmp_path / "backup.db", "--data", folder).returncode == 3
        first.client().delete_collection(CollectionId="gone")
        (tmp_path / "policy.txt").write_text(
            run("-m", "countenance", "ledger", "key", "--data", folder).stdout + "quorum none\n"
        )
        run("-m", "countenance", "ledger", "status", "--data", folder)
        words = ("-m", "countenance_audit", "mirror", f"{first.endpoint}/log/", mirrored)
        assert run(*words, "--trust", tmp_path / "policy.txt").returncode == 0
    finally:
        assert first.stop() == 0
    shutil.copy(folder / "countenance.db", tmp_path / "newest.db")
    shutil.copy(tmp_path / "backup.db", folder / "countenance.db")
    with pytest.raises(RuntimeError, match="the checkpoint kept outside the database is over"):
        start(folder)
    # Without the file outside, the mirror still tells.
    (folder / "high-water").rename(tmp_path / "high-water")
    with pytest.raises(RuntimeError, match="the checkpoint at the mirror"):
        start(folder, environ={"COUNTENANCE_LEDGER_MIRRORS": str(mirrored)})
    (tmp_path / "high-water").rename(folder / "high-water")
    told = ("--reason", "a test", "--data", folder, "--yes", "--json")
    assert run("-m", "countenance", "ledger", "recover", "--from", mirrored, *told).returncode == 3  # it lacks the stop
    again = run("-m", "countenance", "ledger", "recover", "--database", tmp_path / "newest.db", *told)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["lost"] == 0
    second = start(folder, environ={"COUNTENANCE_LEDGER_MIRRORS": str(mirrored)})
    try:
        assert second.client().list_collections()["CollectionIds"] == ["kept"]
        examined = run("-m", "countenance", "ledger", "fsck", "--data", folder, "--json")
        assert json.loads(examined.stdout)["problems"] == []
        assert run(*words[:3], f"{second.endpoint}/log/", mirrored, "--trust", tmp_path / "policy.txt").returncode == 0
    finally:
        second.stop()


def test_a_restore_puts_a_backup_in_place_and_a_rotation_is_followed_by_a_mirror(tmp_path: Path) -> None:
    folder, mirrored, policy = tmp_path / "data", tmp_path / "mirror", tmp_path / "policy.txt"
    verb = ("-m", "countenance")
    first = start(folder)
    try:
        first.client().create_collection(CollectionId="a")
        assert run(*verb, "backup", "create", tmp_path / "backup.db", "--data", folder).returncode == 0
        first.client().create_collection(CollectionId="b")
        old = run(*verb, "ledger", "key", "--data", folder).stdout
        policy.write_text(old + "quorum none\n")
        assert run(*verb, "ledger", "rotate", "--data", folder, "--yes").returncode == 0
        words = ("-m", "countenance_audit", "mirror", f"{first.endpoint}/log/", mirrored, "--trust", policy)
        assert run(*words).returncode == 0  # by the older key alone
        both = run(*verb, "ledger", "key", "--data", folder).stdout
        assert len(both.splitlines()) == 2
        assert run(*verb, "ledger", "retire", old.split("+")[1], "--data", folder, "--yes").returncode == 0
        first.client().list_collections()
        run(*verb, "ledger", "status", "--data", folder)
        assert run(*words).returncode == 1
        policy.write_text(both + "quorum none\n")
        assert run(*words).returncode == 0
    finally:
        first.stop()
    restored = run(
        *verb, "backup", "restore", tmp_path / "backup.db", "--reason", "a test", "--data", folder, "--yes", "--json"
    )
    assert restored.returncode == 0, restored.stderr
    said = json.loads(restored.stdout)
    assert (said["lost"], said["erased_again"]) == (0, {})
    second = start(folder)
    try:
        assert second.client().list_collections()["CollectionIds"] == ["a"]
        assert json.loads(run(*verb, "ledger", "fsck", "--data", folder, "--json").stdout)["problems"] == []
    finally:
        second.stop()


def test_a_receipt_outlives_the_log_that_it_is_of(tmp_path: Path) -> None:
    folder, policy, verb = tmp_path / "data", tmp_path / "policy.txt", ("-m", "countenance")
    first = start(folder)
    try:
        answer = first.client().create_collection(CollectionId="kept")
        (tmp_path / "receipt.txt").write_text(answer["ResponseMetadata"]["HTTPHeaders"][receipts.HEADER])
        policy.write_text(run(*verb, "ledger", "key", "--data", folder).stdout + "quorum none\n")
    finally:
        assert first.stop() == 0
    told = ("--new-origin", "log.example/next", "--reason", "a test", "--data", folder, "--yes")
    closed = run(*verb, "ledger", "recover", *told)
    assert closed.returncode == 0, closed.stderr
    second = start(folder)
    try:
        words = ("ledger", "receipt", "verify", tmp_path / "receipt.txt", "--trust", policy, "--data", folder, "--json")
        held = run(*verb, *words)
        assert held.returncode == 0, held.stdout + held.stderr
        said = json.loads(held.stdout)
        assert (said["kept"], said["included"], said["evidence"]) == (True, True, None)
        examined = json.loads(run(*verb, "ledger", "fsck", "--data", folder, "--json").stdout)
        assert (examined["problems"], examined["lost"]) == ([], 0)
    finally:
        second.stop()
