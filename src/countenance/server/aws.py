"""The AWS door: reads a body under a cap and a time limit, then leaves async behind.

Everything below `Pipeline.handle` is plain synchronous Python on a worker thread; the inference runtimes and
the index release the interpreter lock.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from countenance.pipeline import Pipeline
from countenance.server.metrics import Metrics
from countenance.server.peer import Peer
from countenance.wire import faults
from countenance.wire.http import HttpRequest, HttpResponse

_log = logging.getLogger(__name__)

BODIES_IN_MEMORY_BYTES = 1 << 30
"""Request bodies held at once, counted as they arrive; beyond it a request is told to slow down. 1 GiB is 64
bodies of the default cap, and leaves most of a small machine to images and the index."""
READ_PAST_THE_CAP = 4
"""A body up to this many times the cap is read to its end, without keeping it, before it is refused: a client
that is still sending when the connection closes gets a reset instead of the answer that tells it why."""
REQUEST_ID_HEADER = "x-amzn-requestid"

TOO_LARGE = faults.Fault("RequestEntityTooLargeException", "Request entity is too large", 413)


SLOW_DOWN = faults.Fault("ThrottlingException", "Slow down; sudden increase in rate of requests.")


class BodyRefused(Exception):
    """The body is over the cap, or too many bodies are in memory; carries what the client is told."""

    def __init__(self, fault: faults.Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


class _Received:
    """A body as it arrives, and how many of its bytes are counted as held."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.counted = 0

    def append(self, part: bytes) -> None:
        self._parts.append(part)
        self.counted += len(part)

    def drop(self) -> None:
        self._parts.clear()
        self.counted = 0

    def taken(self) -> bytes:
        """The whole body, which is not kept here as well; it stays counted."""
        body = b"".join(self._parts)
        self._parts.clear()
        return body


class AwsDoor:
    """Answers `POST /`.

    Args:
        pipeline: the life of a call.
        metrics: told of requests that never become a call.
        workers: threads for calls.
        max_body_bytes: cap on a request's body.
        body_timeout_s: how long a client may take to send it.
        trusted_proxies: networks whose X-Forwarded-For is believed.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        metrics: Metrics,
        *,
        workers: int,
        max_body_bytes: int,
        body_timeout_s: float,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="call")
        self._peer = Peer(trusted_proxies)
        self._held_bytes = 0  # touched on the event loop only

    def close(self) -> None:
        """Waits for the calls that are being worked on."""
        self._threads.shutdown(wait=True)

    async def receipt(self, request: Request) -> Response:
        """`GET /receipts/ID`, signed."""
        wanted = request.path_params["id"]
        return await self._answer(request, lambda http, request_id: self._pipeline.receipt(http, wanted, request_id))

    async def answer(self, request: Request) -> Response:
        """One request, whatever is in it."""
        return await self._answer(request, self._pipeline.handle)

    async def _answer(self, request: Request, work: Callable[[HttpRequest, str], HttpResponse]) -> Response:
        request_id = str(uuid.uuid4())
        received = _Received()
        try:
            try:
                await asyncio.wait_for(self._read(request, received), self._body_timeout_s)
            except BodyRefused as refused:
                return self._refuse(faults.fault_response(refused.fault, request_id))
            except (TimeoutError, ClientDisconnect):
                return self._refuse(HttpResponse(408, ((REQUEST_ID_HEADER, request_id),), b""))
            http = HttpRequest(
                method=request.method,
                path=request.scope["raw_path"].decode("latin-1"),
                query=request.scope["query_string"].decode("latin-1"),
                headers=tuple(
                    (name.decode("latin-1").lower(), value.decode("latin-1"))
                    for name, value in request.scope["headers"]
                ),
                body=received.taken(),
                received_at=datetime.now(UTC),
                peer=self._peer.of(request),
            )
            with self._metrics.in_flight.track_inprogress():
                answer = await asyncio.get_running_loop().run_in_executor(self._threads, work, http, request_id)
        finally:
            self._held_bytes -= received.counted
        return _response(answer)

    async def _read(self, request: Request, received: _Received) -> None:
        """Appends the body to `received`, which the caller counts out of memory again."""
        declared = request.headers.get("content-length", "0")
        announced = int(declared) if declared.isdigit() else 0
        if announced > self._max_body_bytes * READ_PAST_THE_CAP:
            raise BodyRefused(TOO_LARGE)
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self._max_body_bytes * READ_PAST_THE_CAP:
                raise BodyRefused(TOO_LARGE)
            if max(size, announced) > self._max_body_bytes:
                self._held_bytes -= received.counted
                received.drop()
                continue
            received.append(part)
            self._held_bytes += len(part)
            if self._held_bytes > BODIES_IN_MEMORY_BYTES:
                raise BodyRefused(SLOW_DOWN)
        if max(size, announced) > self._max_body_bytes:
            raise BodyRefused(TOO_LARGE)

    def _refuse(self, refusal: HttpResponse) -> Response:
        self._metrics.refuse(refusal.status)
        answer = _response(refusal)
        # What the client still sends belongs to no request, so the connection cannot be used again.
        answer.headers["connection"] = "close"
        return answer


def _response(answer: HttpResponse) -> Response:
    response = Response(answer.body, answer.status)
    for name, value in answer.headers:
        response.headers[name] = value
    response.headers["date"] = format_datetime(datetime.now(UTC), usegmt=True)
    return response
