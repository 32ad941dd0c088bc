"""Headers under a bound of time and bytes, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import uvicorn

from countenance.server.connection import MAX_HEADER_BYTES, within

LIMIT_S = 0.2
PATIENCE_S = 30.0


async def echo(scope: Any, receive: Any, send: Any) -> None:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
    await send({"type": "http.response.body", "body": b"%08d" % size})


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def converse(talk: Talk, limit_s: float = LIMIT_S, app: Any = echo) -> bytes:
    """What the server says during `talk` and until it hangs up."""

    async def run() -> bytes:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=within(limit_s), lifespan="off", log_config=None, ws="none")
        server = uvicorn.Server(config)
        served = asyncio.create_task(server.serve([listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        with suppress(ConnectionError):  # the server may hang up in the middle
            await talk(reader, writer)
        said = b""
        with suppress(ConnectionError):
            said = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        server.should_exit = True
        await served
        return said

    return asyncio.run(run())


def saying(*parts: bytes, pause_s: float = 0.0) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return talk


CLOSE = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
KEEP = CLOSE.replace(b"Connection: close\r\n", b"")


def test_a_request_in_order_is_answered() -> None:
    assert converse(saying(CLOSE), 30).endswith(b"\r\n\r\n00000003")


def test_silence_is_answered_with_408() -> None:
    assert converse(saying()).startswith(b"HTTP/1.1 408 ")


def test_headers_that_never_end_are_answered_with_408() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n")
        while not reader._buffer:  # type: ignore[attr-defined] -- a byte now and then does not move the limit
            writer.write(b"a")
            await asyncio.sleep(LIMIT_S / 10)

    assert converse(drip).startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_is_not_this_limit() -> None:
    slow = saying(CLOSE[:-3], b"a", b"b", b"c", pause_s=LIMIT_S)
    assert converse(slow).startswith(b"HTTP/1.1 200 ")


def test_the_limit_holds_for_every_request_of_a_connection() -> None:
    said = converse(saying(KEEP, b"POST / HTTP/1.1\r\nHos", pause_s=LIMIT_S / 4))
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in said


def test_an_idle_connection_between_requests_is_not_cut_by_it() -> None:
    said = converse(saying(KEEP, CLOSE, pause_s=LIMIT_S * 2))
    assert said.count(b"HTTP/1.1 200 ") == 2
    assert b" 408 " not in said


def test_headers_of_any_size_are_not_taken() -> None:
    sent: list[bytes] = []

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n")
        while not reader._buffer and len(sent) < 10_000:  # type: ignore[attr-defined]
            sent.append(b"X-%d: %s\r\n" % (len(sent), b"a" * 1000))
            writer.write(sent[-1])
            await asyncio.sleep(0.001)

    assert converse(pour, 30).startswith(b"HTTP/1.1 431 ")
    assert len(b"".join(sent)) > MAX_HEADER_BYTES


def test_a_body_larger_than_the_bound_on_headers_is_none_of_its_business() -> None:
    body = b"x" * (MAX_HEADER_BYTES * 20)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body)
    parts = (head + b"\r\n" + body, head + b"Connection: close\r\n\r\n" + body[:7], body[7:])
    said = converse(saying(*parts), 30)
    assert said.count(b"HTTP/1.1 200 ") == 2
    assert said.count(b"%08d" % len(body)) == 2


def test_pipelined_requests_do_not_add_up() -> None:
    said = converse(saying(KEEP * 2000 + CLOSE), 30)
    assert said.count(b"HTTP/1.1 200 ") == 2001


def test_trailers_are_refused_before_they_become_headers() -> None:
    worked_on = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            if not message.get("more_body"):
                worked_on.append(scope["headers"])
                break

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    said = converse(saying(head, b"authorization: mine\r\n\r\n"), 30, app=note)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1
    # Megabytes of them: hung up on while they are still coming, so the refusal itself may get lost.
    assert b"200" not in converse(saying(head, (b"x: " + b"y" * 1000 + b"\r\n") * 2000), 30, app=note)
    assert worked_on == []
