"""`POST /nodes/search`: what other nodes of the same database ask of this one's part of the collections.

Whoever has not the master key is refused by the headers, before anything of a body is kept. Answers are worked out in
threads of their own: those of calls may all be waiting for other nodes.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from countenance.assembly import Answer, Answering

_BAD = 400


class NodeDoor:
    """Answers nodes.

    Args:
        answering: what is answered.
        workers: threads for it.
        body_timeout_s: how long a node may take to send its probes.
    """

    def __init__(self, answering: Answering, *, workers: int, body_timeout_s: float) -> None:
        self.path = answering.path
        self._answering = answering
        self._body_timeout_s = body_timeout_s
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="answer")

    def close(self) -> None:
        """Waits for the answers that are being worked on."""
        self._threads.shutdown(wait=True)

    async def answer(self, request: Request) -> Response:
        """One request, whatever is in it."""
        admitted = self._answering.admit(request.headers)
        if isinstance(admitted, Answer):
            return _refused(admitted)
        try:
            body = await asyncio.wait_for(_read(request, admitted.length), self._body_timeout_s)
        except (TimeoutError, ClientDisconnect):
            return _refused(Answer(_BAD))
        if body is None:
            return _refused(Answer(_BAD))
        found = await asyncio.get_running_loop().run_in_executor(self._threads, admitted.finish, body)
        return _response(found)


async def _read(request: Request, length: int) -> bytes | None:
    """The body; None when it is longer than it says."""
    received = bytearray()
    async for part in request.stream():
        received += part
        if len(received) > length:
            return None
    return bytes(received)


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers, media_type="application/octet-stream")


def _refused(answer: Answer) -> Response:
    response = _response(answer)
    response.headers["connection"] = "close"  # its body was not read
    return response
