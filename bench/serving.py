"""A real server in a process of its own, and a client that sends requests signed beforehand. Loopback only."""

from __future__ import annotations

import configparser
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

START_LIMIT_S = 600
"""A million faces on a busy machine take minutes to load; a start that hangs must not hang the bench."""
POLL_S = 0.01
ANNOUNCE_LIMIT_S = 10
"""The announcement comes right after /readyz turns green."""
ANNOUNCED = re.compile(r"search index\D*(?:\d+ faces\D*)?([\d.]+) s\b")


@dataclass(slots=True)
class Served:
    """A running server."""

    process: subprocess.Popen[bytes]
    data: Path
    port: int
    log: Path
    ready_s: float
    """From exec to the first 200 of /readyz."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> tuple[str, str]:
        parser = configparser.ConfigParser()
        parser.read(self.data / "credentials")
        return parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"]

    def rebuild_s(self) -> float:
        """Seconds that the rebuild of the search index took, as the server announced them."""
        deadline = time.monotonic() + ANNOUNCE_LIMIT_S
        while (said := ANNOUNCED.search(self.log.read_text("utf-8"))) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server did not say how long its index took:\n{self.log.read_text('utf-8')}")
            time.sleep(POLL_S)
        return float(said[1])


@contextmanager
def served(data: Path, **settings: str) -> Iterator[Served]:
    """Starts a server on a free port, waits until it is ready, stops it.

    Args:
        settings: by the names of their variables, without the prefix.
    """
    log = data.parent / f"{data.name}.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COUNTENANCE_")}
    with log.open("wb") as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "countenance", "serve", "--port", str(port), "--data", str(data)],
            stdout=out,
            stderr=out,
            env=kept | {f"COUNTENANCE_{name}": value for name, value in settings.items()},
        )
    try:
        while not _ready(port):
            if process.poll() is not None or time.perf_counter() - started > START_LIMIT_S:
                raise RuntimeError(f"the server did not start:\n{log.read_text('utf-8')}")
            time.sleep(POLL_S)
        yield Served(process, data, port, log, time.perf_counter() - started)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class Replayer:
    """One kept-alive connection that sends one signed request again and again.

    A signature holds for five minutes; it is made anew, outside the timed part, long before that.
    """

    RENEW_S = 120.0

    def __init__(self, server: Served, operation: str, body: bytes) -> None:
        self._server = server
        self._operation = operation
        self._body = body
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._headers: dict[str, str] = {}
        self._signed_at = -self.RENEW_S

    def prepare(self) -> None:
        """Sign if the signature grows old. Not timed."""
        now = time.monotonic()
        if now - self._signed_at >= self.RENEW_S:
            self._headers = signed_headers(self._server.endpoint, self._server.credentials, self._operation, self._body)
            self._signed_at = now

    def send(self, expected: int = 200) -> bytes:
        """One request and its whole answer. Raises RuntimeError on any other status."""
        self._connection.request("POST", "/", self._body, self._headers)
        answer = self._connection.getresponse()
        received = answer.read()
        if answer.status != expected:
            raise RuntimeError(f"{self._operation} was answered {answer.status}: {received[:300]!r}")
        return received

    def close(self) -> None:
        with suppress(OSError):
            self._connection.close()


def signed_headers(endpoint: str, credentials: tuple[str, str], operation: str, body: bytes) -> dict[str, str]:
    """The headers of a signed call, Host included."""
    request = AWSRequest(
        method="POST",
        url=endpoint + "/",
        data=body,
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"RekognitionService.{operation}",
            "Host": endpoint.removeprefix("http://"),
        },
    )
    SigV4Auth(Credentials(*credentials), "rekognition", "eu-west-2").add_auth(request)
    return dict(request.headers.items())
