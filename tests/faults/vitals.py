"""What a server process takes of the machine, read from /proc (Linux), and hostile requests sent to it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from countenance.wire import model
from countenance.wire.faults import COMMON_FAULTS

from ..e2e.conftest import Server
from ..e2e.raw import Answer, RawClient, signed_headers
from .hostile_requests import Request

LINUX_ONLY = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc: Linux only")

CLIENTS = 4
"""Connections in use at once: enough for calls to overlap, few enough to leave the server a core."""
SETTLE_S = 30.0
"""Longest wait for the server to notice closed connections; it takes milliseconds."""
PROMPT_S = 10.0
"""Longest a listing may take after the abuse: hundreds of times what it takes on a busy machine, far below the
client time-outs (60 s in botocore) that a stuck worker would run into."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Resident MiB now and at most, threads, and descriptors: sockets apart from files and the rest."""

    resident_mib: float
    peak_mib: float
    threads: int
    files: int
    sockets: int

    @classmethod
    def of(cls, server: Server) -> Vitals:
        process = Path("/proc") / str(server.process.pid)
        fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        links = [_target(path) for path in (process / "fd").iterdir()]
        return cls(
            resident_mib=int(fields["VmRSS"].split()[0]) / 1024,
            peak_mib=int(fields["VmHWM"].split()[0]) / 1024,
            threads=int(fields["Threads"]),
            files=sum(not link.startswith("socket:") for link in links),
            sockets=sum(link.startswith("socket:") for link in links),
        )


def forget_peak(server: Server) -> None:
    """Starts the high-water mark anew (proc(5), clear_refs)."""
    (Path("/proc") / str(server.process.pid) / "clear_refs").write_text("5")


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # closed since it was listed
        return "closed"


def settled(server: Server, sockets: int, files: int = 1 << 20) -> Vitals:
    """The vitals once no more sockets and files than these are open, or as they are after a long wait for it.

    The consumer of the outbox opens a file for a moment now and then.
    """
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        found = Vitals.of(server)
        if found.sockets <= sockets and found.files <= files:
            break
        time.sleep(0.05)
    return found


def is_well(server: Server) -> None:
    """Alive, listing, and nothing in the log that nobody foresaw."""
    assert server.process.poll() is None, server.log.read_text()[-3000:]
    client = server.client(read_timeout=PROMPT_S, connect_timeout=PROMPT_S)
    assert client.list_collections()["ResponseMetadata"]["HTTPStatusCode"] == 200
    log = server.log.read_text(errors="replace")
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
    assert server.credentials[1] not in log


def code_of(answer: Answer) -> str:
    """The code of an answer of the API, or the status of a bare HTTP refusal."""
    if answer.headers.get("content-type") == model.JSON_CONTENT_TYPE:
        return answer.code
    return f"HTTP {answer.status}"


HTTP_REFUSALS = frozenset({"HTTP 400", "HTTP 405", "HTTP 408", "HTTP 431"})
"""What never becomes a call is answered below the API: an unreadable request, another method, too slow, too large."""


def complaint(request: Request, answer: Answer) -> str | None:
    """What is wrong with an answer, or None."""
    code = code_of(answer)
    declared = model.errors(request.operation) if request.operation in model.operations() else frozenset()
    if answer.status >= 500 or code not in {"OK"} | HTTP_REFUSALS | declared | COMMON_FAULTS.keys():
        return f"{request.family}: {answer.status} {code}: {answer.body[:200]!r}"
    if request.codes is not None and code not in request.codes:
        return f"{request.family}: {code}, not {sorted(request.codes)}; body {request.body[:300]!r}"
    if code != "OK" and not code.startswith("HTTP") and len(answer.body) > MAX_REFUSAL_BYTES:
        return f"{request.family}: a refusal of {len(answer.body)} bytes"
    return None


MAX_REFUSAL_BYTES = 64 * 1024
"""A refusal may quote a little of what it refuses; a hundred quotes of 256 characters in two members stay below."""


@dataclass(slots=True)
class Sent:
    """How a corpus was answered."""

    codes: Counter[str]
    families: Counter[str]
    complaints: list[str]

    def __str__(self) -> str:
        total = sum(self.codes.values())
        rows = [f"  {count:6} {code}" for code, count in self.codes.most_common()]
        return f"{total} requests of {len(self.families)} kinds:\n" + "\n".join(rows)


def send_all(server: Server, requests: Iterable[Request], *, clients: int = CLIENTS) -> Sent:
    """Signs and sends every request over a few connections at once."""
    sent = Sent(Counter(), Counter(), [])
    source, lock = iter(requests), threading.Lock()
    threads = [
        threading.Thread(target=_send_some, args=(server, _shared(source, lock), lock, sent)) for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sent


def _shared(source: Iterator[Request], lock: threading.Lock) -> Iterator[Request]:
    while True:
        with lock:
            request = next(source, None)
        if request is None:
            return
        yield request


def _send_some(server: Server, requests: Iterator[Request], lock: threading.Lock, sent: Sent) -> None:
    client = RawClient(server.endpoint, server.credentials)
    credentials = server.credentials
    for request in requests:
        headers = signed_headers(server.endpoint, credentials, request.operation, request.body, request.headers)
        headers |= request.forged
        try:
            answer = client.send(request.body, headers)
            problem, code = complaint(request, answer), code_of(answer)
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            problem, code = f"{request.family}: no answer ({error!r})", "none"
            client.close()
        with lock:
            sent.codes[code] += 1
            sent.families[request.family] += 1
            if problem is not None:
                sent.complaints.append(problem)
    client.close()


def address(server: Server) -> tuple[str, int]:
    """Host and port, for sockets."""
    url = urlsplit(server.endpoint)
    return str(url.hostname), int(url.port or 0)
