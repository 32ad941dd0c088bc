"""What HTTP, signatures and JSON add to an operation: the same DetectFaces over the wire and in process.

A server in a process of its own and an assembled server in this one take turns on the same JPEG. In process,
`operation` is the function that the pipeline ends in, and `pipeline` the whole life of a call without a socket.
"""

from __future__ import annotations

import base64
import json
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench import Section, machine
from bench.photographs import DataMissing, data_folder
from bench.serving import Replayer, Served, served, signed_headers
from countenance.assembly import open_service
from countenance.config import Settings
from countenance.operations import OPERATIONS, Caller, Invocation, Service
from countenance.pipeline import Pipeline
from countenance.wire.http import HttpRequest

PHOTOGRAPH = "faces/face_recognition_examples/images/obama-480p.jpg"
"""853 x 480, 102,795 bytes, one face: the 100 kB JPEG of the target."""
OPERATION = "DetectFaces"
OVERHEAD_LIMIT_MS = 3.0
THROUGHPUT_LIMIT = 0.85
CONNECTIONS = 8
TURNS, QUICK_TURNS = 300, 40
ROUNDS, QUICK_ROUNDS = 5, 2
ROUND_S, QUICK_ROUND_S = 6.0, 2.0
WARM_UP = 10
REFUSED = "signature, JSON and constraints pass; InvalidImageFormatException by its first bytes"


def run(quick: bool) -> Section:
    """Both targets and where the time goes."""
    section = Section("wire", f"The wire: {OPERATION} over HTTP against the same operation in process")
    try:
        photograph = (data_folder() / PHOTOGRAPH).read_bytes()
    except (DataMissing, OSError) as missing:
        section.notes.append(f"Not measured: {missing}.")
        return section
    body = json.dumps({"Image": {"Bytes": base64.b64encode(photograph).decode("ascii")}}).encode("ascii")
    section.notes += [
        f"A JPEG of {len(photograph):,} bytes (a body of {len(body):,}); requests signed beforehand and replayed by "
        "http.client over kept-alive connections on loopback.",
        f"Client, server and the engine in process share {machine.usable_cores()} cores: what the client costs counts "
        "against the server.",
        "The two sides take turns, call by call for the latency and round by round for the throughput.",
    ]
    with tempfile.TemporaryDirectory(prefix="countenance-bench-") as name:
        folder = Path(name)
        with served(folder / "served") as server, open_service(Settings(data_dir=folder / "inside")) as assembled:
            inside = Inside(assembled.service, photograph, body)
            _latency(section, server, inside, body, QUICK_TURNS if quick else TURNS)
            _throughput(
                section,
                server,
                inside,
                body,
                rounds=QUICK_ROUNDS if quick else ROUNDS,
                seconds=QUICK_ROUND_S if quick else ROUND_S,
            )
    return section


class Inside:
    """The assembled server of this process."""

    def __init__(self, service: Service, photograph: bytes, body: bytes) -> None:
        owner = service.accounts.owner()
        if owner is None:
            raise RuntimeError("an assembled server has an owner")
        issued = service.accounts.create_key(
            owner.account_id, purpose="bench", request_id=str(uuid.uuid4()), at=datetime.now(UTC)
        )
        self._service = service
        self._pipeline = Pipeline(service)
        self._caller = Caller(owner.account_id, issued.key.access_key_id, "bench")
        self._credentials = (issued.key.access_key_id, issued.secret)
        self._photograph = photograph
        self._body = body

    def operate(self) -> None:
        """The operation alone: decode, detect, describe, render."""
        call = Invocation(
            service=self._service,
            caller=self._caller,
            operation=OPERATION,
            request_id=str(uuid.uuid4()),
            at=datetime.now(UTC),
        )
        OPERATIONS[OPERATION](call, {"Image": {"Bytes": self._photograph}})

    def signed(self) -> HttpRequest:
        """A request as the server's door hands it over. Not timed."""
        headers = signed_headers("http://127.0.0.1:8080", self._credentials, OPERATION, self._body)
        lowered = tuple((name.lower(), value) for name, value in headers.items())
        return HttpRequest("POST", "/", "", lowered, self._body, datetime.now(UTC))

    def handle(self, request: HttpRequest) -> None:
        """Signature, JSON, constraints, operation, answer."""
        answer = self._pipeline.handle(request, str(uuid.uuid4()))
        if answer.status != 200:
            raise RuntimeError(f"{OPERATION} was answered {answer.status}: {answer.body[:300]!r}")


def _latency(section: Section, server: Served, inside: Inside, body: bytes, turns: int) -> None:
    client = Replayer(server, OPERATION, body)
    over_http: list[float] = []
    in_process: list[float] = []
    in_pipeline: list[float] = []
    for turn in range(-WARM_UP, turns):
        client.prepare()
        request = inside.signed()
        taken = [
            _timed(client.send),
            _timed(inside.operate),
            _timed(lambda request=request: inside.handle(request)),
        ]
        if turn >= 0:
            for kept, seconds in zip((over_http, in_process, in_pipeline), taken, strict=True):
                kept.append(seconds * 1000)
    client.close()
    for name, kept in (
        ("over HTTP", over_http),
        ("operation in process", in_process),
        ("pipeline in process", in_pipeline),
    ):
        section.add(f"{name}, p50", statistics.median(kept), "ms", f"{turns} calls")
        section.add("  p99", float(np.percentile(kept, 99)), "ms")
    overhead = statistics.median(over_http) - statistics.median(in_process)
    section.at_most("p50 over HTTP minus p50 of the operation in process", overhead, "ms", OVERHEAD_LIMIT_MS)
    steps = statistics.median(in_pipeline) - statistics.median(in_process)
    section.add("  of it signature, JSON, constraints and answer", steps, "ms", "pipeline minus operation, in process")
    section.add("a body as long that is no image, over HTTP, p50", _refused_ms(server, len(body), turns), "ms", REFUSED)


def _refused_ms(server: Served, length: int, turns: int) -> float:
    """The wire nearly alone: everything but the work on pixels."""
    empty = json.dumps({"Image": {"Bytes": ""}})
    blob = base64.b64encode(bytes((length - len(empty)) // 4 * 3)).decode("ascii")
    client = Replayer(server, OPERATION, json.dumps({"Image": {"Bytes": blob}}).encode("ascii"))
    taken = []
    for turn in range(-WARM_UP, turns):
        client.prepare()
        seconds = _timed(lambda: client.send(expected=400))
        if turn >= 0:
            taken.append(seconds * 1000)
    client.close()
    return statistics.median(taken)


def _throughput(section: Section, server: Served, inside: Inside, body: bytes, *, rounds: int, seconds: float) -> None:
    clients = [Replayer(server, OPERATION, body) for _ in range(CONNECTIONS)]
    http_rates: list[float] = []
    inside_rates: list[float] = []
    for turn in range(rounds):
        for client in clients:
            client.prepare()
        sides: list[tuple[list[float], Sequence[Callable[[], object]]]] = [
            (http_rates, [client.send for client in clients]),
            (inside_rates, [inside.operate] * CONNECTIONS),
        ]
        for rates, calls in sides if turn % 2 == 0 else reversed(sides):
            rates.append(_rate(calls, seconds))
    for client in clients:
        client.close()
    section.add(f"over HTTP, {CONNECTIONS} connections", statistics.median(http_rates), "calls/s", f"{rounds} rounds")
    section.add(f"in process, {CONNECTIONS} threads", statistics.median(inside_rates), "calls/s")
    ratios = sorted(one / other for one, other in zip(http_rates, inside_rates, strict=True))
    section.at_least(
        "throughput over HTTP / in process",
        statistics.median(ratios),
        "ratio",
        THROUGHPUT_LIMIT,
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
    )


def _rate(calls: Sequence[Callable[[], object]], seconds: float) -> float:
    """Calls a second of all threads together; each thread repeats its own call until time is up."""
    failed: list[BaseException] = []
    counts = [0] * len(calls)
    start = threading.Barrier(len(calls) + 1)
    deadline = [0.0]

    def repeat(at: int) -> None:
        start.wait()
        try:
            while time.perf_counter() < deadline[0]:
                calls[at]()
                counts[at] += 1
        except Exception as error:  # noqa: BLE001 - told below, in the thread that can stop the bench
            failed.append(error)

    threads = [threading.Thread(target=repeat, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    started = time.perf_counter()
    deadline[0] = started + seconds
    start.wait()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sum(counts) / (time.perf_counter() - started)


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
