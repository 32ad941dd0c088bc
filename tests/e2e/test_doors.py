"""What the running server does with requests that are wrong, slow or unsigned, and the pages beside the API."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .conftest import Server, start
from .raw import JSON_1_1, RawClient, signed_headers


@pytest.fixture
def raw(server: Server) -> Iterator[RawClient]:
    client = RawClient(server.endpoint, server.credentials)
    yield client
    client.close()


def test_an_answer_has_the_headers_aws_clients_read(raw: RawClient) -> None:
    answer = raw.call("ListCollections", {})
    assert answer.status == 200
    assert answer.headers["content-type"] == JSON_1_1
    assert len(answer.headers["x-amzn-requestid"]) == 36
    assert answer.headers["date"].endswith("GMT")
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Authorization": None}, "MissingAuthenticationTokenException"),
        ({"Authorization": "AWS4-HMAC-SHA256 rubbish"}, "IncompleteSignatureException"),
        ({"X-Amz-Date": "20200101T000000Z"}, "InvalidSignatureException"),
        ({"X-Amz-Target": "RekognitionService.DeleteCollection"}, "InvalidSignatureException"),
    ],
)
def test_a_changed_signature_is_refused(
    server: Server, raw: RawClient, change: dict[str, str | None], code: str
) -> None:
    headers: dict[str, str | None] = {**signed_headers(server.endpoint, server.credentials, "ListCollections", b"{}")}
    headers.update(change)
    answer = raw.send(b"{}", {name: value for name, value in headers.items() if value is not None})
    assert (answer.status, answer.code) == (400, code)


def test_a_session_key_is_recognised_as_a_real_aws_key(server: Server, raw: RawClient) -> None:
    answer = raw.call("ListCollections", {}, {"X-Amz-Security-Token": "FwoGZXIvYXdz"})
    assert (answer.status, answer.code) == (400, "UnrecognizedClientException")
    assert "unset AWS_SESSION_TOKEN" in answer.json()["message"]


def test_a_tampered_body_is_refused(server: Server, raw: RawClient) -> None:
    headers = signed_headers(server.endpoint, server.credentials, "ListCollections", b'{"MaxResults":1}')
    answer = raw.send(b'{"MaxResults":2}', headers)
    assert (answer.status, answer.code) == (400, "InvalidSignatureException")


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        (("AKIAIOSFODNN7EXAMPLE", "x" * 40), "UnrecognizedClientException"),
        ((None, "x" * 40), "InvalidSignatureException"),
    ],
)
def test_an_unknown_key_and_a_wrong_secret(
    server: Server, raw: RawClient, credentials: tuple[str | None, str], code: str
) -> None:
    key, secret = credentials
    headers = signed_headers(server.endpoint, (key or server.credentials[0], secret), "ListCollections", b"{}")
    answer = raw.send(b"{}", headers)
    assert (answer.status, answer.code) == (400, code)
    assert server.credentials[1] not in answer.body.decode()


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("ListCollections", b"", "SerializationException"),
        ("ListCollections", b"{", "SerializationException"),
        ("ListCollections", b"[]", "SerializationException"),
        ("ListCollections", b'{"MaxResults":"x"}', "SerializationException"),
        ("ListCollections", b'{"MaxResults":1e999}', "SerializationException"),
        ("ListCollections", b'{"MaxResults":' + b"9" * 5000 + b"}", "SerializationException"),
        ("ListCollections", b'{"a":' * 5000 + b"1" + b"}" * 5000, "SerializationException"),
        ("DetectFaces", b'{"Image":{"Bytes":"***"}}', "SerializationException"),
        ("DetectFaces", b'{"Image":{}}', "InvalidParameterException"),
        ("DetectFaces", b'{"Image":{"Bytes":"aGVsbG8="}}', "InvalidImageFormatException"),
        ("DetectFaces", b"{}", "ValidationException"),
        ("NoSuchOperation", b"{}", "UnknownOperationException"),
    ],
)
def test_bodies_that_are_wrong(raw: RawClient, operation: str, body: bytes, code: str) -> None:
    answer = raw.call(operation, body)
    assert answer.code == code
    assert answer.status in (200, 400, 404)


def test_an_image_over_the_models_limit_is_a_validation_error(raw: RawClient) -> None:
    image = base64.b64encode(bytes(5_242_881)).decode()
    answer = raw.call("DetectFaces", {"Image": {"Bytes": image}})
    assert (answer.status, answer.code) == (400, "ValidationException")
    assert "5242880" in answer.json()["message"]
    assert len(answer.body) < 2000


def test_a_body_over_the_cap_is_refused_before_it_is_read(server: Server) -> None:
    host = urlsplit(server.endpoint)
    with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        with connection.makefile("rb") as answer:
            received = answer.read()
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"RequestEntityTooLargeException" in received


def test_other_methods_and_paths_are_not_the_api(raw: RawClient) -> None:
    assert raw.send(b"", {}, "GET", "/").status == 405
    assert raw.send(b"{}", {}, "POST", "/other").status == 404


def test_health_readiness_and_metrics(raw: RawClient) -> None:
    assert raw.send(b"", {}, "GET", "/healthz").status == 200
    ready = raw.send(b"", {}, "GET", "/readyz")
    assert ready.status == 200
    assert json.loads(ready.body) == {
        "accepting": True,
        "models_loaded": True,
        "store_open": True,
        "ledger_writable": True,
        "ledger_unrefused": True,
        "policy_decides": True,
        "parts_covered": True,
        "warnings": [],
    }
    raw.call("ListCollections", {})
    page = raw.send(b"", {}, "GET", "/metrics").body.decode()
    for name in (
        'countenance_calls_total{operation="ListCollections",outcome="OK"}',
        'countenance_call_seconds_bucket{le="0.001",operation="ListCollections"}',
        "countenance_faces_enrolled ",
        "countenance_index_bytes ",
        "face_model=",
    ):
        assert name in page


def test_slow_clients_are_let_go_and_hold_no_worker(tmp_path: Path) -> None:
    server = start(
        tmp_path / "data",
        environ={
            "COUNTENANCE_BODY_TIMEOUT_S": "1",
            "COUNTENANCE_HEADER_TIMEOUT_S": "1",
            "COUNTENANCE_WORKER_THREADS": "2",
        },
    )
    host = urlsplit(server.endpoint)
    slow = []
    try:
        for start_of_request in (
            b"",
            b"POST / HT",
            b"POST / HTTP/1.1\r\nHost: x\r\nX-A: ",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        ):
            for _ in range(4):
                connection = socket.create_connection((host.hostname, host.port), timeout=30)
                connection.sendall(start_of_request)
                slow.append(connection)
        assert server.client().list_collections()["CollectionIds"] == []  # more slow clients than workers
        answers = [connection.recv(4096)[:13] for connection in slow]
        assert answers == [b"HTTP/1.1 408 "] * len(slow)
        assert all(connection.recv(4096) == b"" for connection in slow)
    finally:
        for connection in slow:
            connection.close()
        assert server.stop() == 0


def test_headers_without_an_end_are_cut_off(server: Server) -> None:
    host = urlsplit(server.endpoint)
    with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n")
        received = b""
        try:
            for number in range(10_000):  # 10 MB, were nobody to stop it
                connection.sendall(b"X-%d: " % number + b"a" * 1000 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            received = connection.recv(4096)
            assert received.startswith(b"HTTP/1.1 431 ")
        assert number < 9_999 or received


def test_a_client_that_hangs_up_leaves_the_server_well(server: Server, raw: RawClient) -> None:
    host = urlsplit(server.endpoint)
    body = b'{"Image":{"Bytes":"' + b"A" * 1_000_000
    headers = signed_headers(server.endpoint, server.credentials, "DetectFaces", body)
    for _ in range(5):
        with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            connection.sendall(f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body) + 1}\r\n\r\n".encode() + body)
    assert raw.call("ListCollections", {}).status == 200


def test_a_second_server_on_the_same_folder_is_refused(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "countenance", "serve", "--port", "0", "--data", str(server.data)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode not in (0, 1)
    assert str(server.process.pid) in done.stderr


def test_calls_in_flight_finish_when_the_server_is_told_to_stop(tmp_path: Path, test_data: Path) -> None:
    server = start(tmp_path / "data")
    photo = max((test_data / "faces" / "compreface_samples" / "images").iterdir(), key=lambda path: path.stat().st_size)
    body = json.dumps({"Image": {"Bytes": base64.b64encode(photo.read_bytes()).decode()}}).encode()
    statuses: list[int] = []

    def detect() -> None:
        client = RawClient(server.endpoint, server.credentials)
        statuses.append(client.call("DetectFaces", body).status)

    threads = [threading.Thread(target=detect) for _ in range(6)]
    for thread in threads:
        thread.start()
    watcher = RawClient(server.endpoint, server.credentials)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        page = watcher.send(b"", {}, "GET", "/metrics").body.decode()
        if "countenance_calls_in_flight 6.0" in page:
            break
    else:
        pytest.fail("six calls were never in flight together")
    watcher.close()
    os.kill(server.process.pid, signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert statuses == [200] * 6
    assert server.process.wait(60) == 0


def test_private_files_are_private(server: Server) -> None:
    for name in ("credentials", "config", "master.key", "countenance.db", "admin.sock", "lock", "high-water"):
        assert (server.data / name).stat().st_mode & 0o077 == 0, name
    assert server.data.stat().st_mode & 0o077 == 0


def test_secrets_and_images_are_not_in_the_log(server: Server) -> None:
    log = server.log.read_text()
    assert server.credentials[1] not in log
    assert "Traceback" not in log
