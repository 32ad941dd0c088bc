"""What uvicorn leaves open: a bound on the time and the bytes that a request's headers may take.

uvicorn times out idle connections only, and its parser takes headers of any size; a client that sends a
header byte now and then would hold a connection, and one that never ends them would hold memory.
"""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 32 * 1024
"""Request line and headers together. A signed AWS request needs under 2 KiB; nginx and Apache allow 32 and
8 KiB in their defaults."""
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_NO_TRAILERS = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHeaders(HttpToolsProtocol):
    """uvicorn's HTTP protocol with both bounds. Subclassed by `within` to carry the time limit."""

    header_timeout_s: float = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._in_headers = True
        self._is_refused = False
        self._header_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._header_timer is None:  # a later request on a kept-alive connection
            self._await_headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:
            super().on_header(name, value)
        elif not self._is_refused:
            # A trailer of a chunked body. uvicorn would add it to the headers: past their bound, and past a proxy
            # that looks at headers (RFC 9110, section 6.5.1, forbids that). No AWS client sends one here.
            self._refuse(_NO_TRAILERS)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._cancel_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_headers, self._header_bytes = True, 0
        if not self._is_refused:  # a refused request must not be worked on
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            # Counts a little of the body when it comes in the same segment: bounded by one read of 256 KiB,
            # hence the comparison before feeding only.
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(_TOO_LARGE)
                return
            self._header_bytes += len(data)
        super().data_received(data)

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(self.header_timeout_s, self._refuse, _TOO_SLOW)

    def _cancel_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse(self, answer: bytes) -> None:
        self._is_refused = True
        self._cancel_timer()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def within(header_timeout_s: float) -> type[BoundedHeaders]:
    """The protocol class with this time limit, as uvicorn's `http` option takes it."""
    return type("BoundedHeadersWithin", (BoundedHeaders,), {"header_timeout_s": header_timeout_s})
