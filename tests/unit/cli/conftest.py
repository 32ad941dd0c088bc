"""A command line without a surrounding, and a wire peer that answers canned AWS JSON."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from countenance.cli import main

Answer = dict[str, Any] | tuple[int, str, str]
"""What the peer answers: the members of a result, or status, code and message of an error."""


@dataclass
class Request:
    operation: str
    params: dict[str, Any]
    headers: dict[str, str]


@dataclass
class Peer:
    """A double of the server for these tests only: the real one is tested end to end elsewhere."""

    url: str
    answers: dict[str, Callable[[dict[str, Any]], Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0

    def of(self, operation: str) -> list[Request]:
        return [each for each in self.requests if each.operation == operation]

    def says(self, operation: str, answer: Answer) -> None:
        self.answers[operation] = lambda _params: answer


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    lock = threading.Lock()
    running = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal running
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].removeprefix("RekognitionService.")
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                running += 1
                peer.most_at_once = max(peer.most_at_once, running)
                peer.requests.append(Request(operation, json.loads(body), headers))
            answer = peer.answers[operation](json.loads(body))
            with lock:
                running -= 1
            status = 200
            if isinstance(answer, tuple):
                status, code, message = answer
                answer = {"__type": code, "Message": message}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    peer = Peer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKCNTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", peer.url)
    yield peer
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and none of the variables that would count."""
    for name in list(os.environ):
        if name.startswith(("COUNTENANCE_", "AWS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def invoke() -> Callable[..., Result]:
    def run(*words: object, **named: object) -> Result:
        result = CliRunner().invoke(main, [str(word) for word in words], prog_name="countenance", **named)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.jpg"
    Image.new("RGB", (200, 100), "white").save(path)
    return path


BOX = {"Left": 0.25, "Top": 0.2, "Width": 0.5, "Height": 0.6}

FACE_DETAIL = {
    "BoundingBox": BOX,
    "Confidence": 99.5,
    "Landmarks": [{"Type": "eyeLeft", "X": 0.4, "Y": 0.5}],
    "Pose": {"Roll": 1.0, "Yaw": -12.0, "Pitch": 3.0},
    "Quality": {"Brightness": 60.0, "Sharpness": 80.0},
}


@pytest.fixture
def face_detail() -> dict[str, Any]:
    return FACE_DETAIL
