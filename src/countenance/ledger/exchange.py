"""One POST to somebody else's server, which may be slow, lie or be away: bounded in time and size.

Knows HTTP as a client; does not know what is exchanged. Redirects are not followed. Proxies are those of the
environment, but for an address on this machine none.
"""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from countenance.errors import Error

_CHUNK: Final = 4096
_SAID: Final = 200
"""Characters of another's words that are passed on."""
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Unreachable(Error):
    """There was no answer, or none that could be read in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    content_type: str
    body: bytes

    @property
    def said(self) -> str:
        """Its words, fit for a log."""
        words = self.body.decode("utf-8", "replace").strip()[:_SAID]
        return "".join(each if each.isprintable() else "?" for each in words) or "nothing"


class Exchange:
    """Posts to one address. One request at a time: while an earlier one hangs, the next is refused.

    Args:
        who: for messages, such as "Witness a".
        url: an address of HTTP without query.
        timeout_s: how long one request may take, to the last byte of its answer.
        max_bytes: longest answer that is read.

    Raises:
        Unreachable: the address is not one of HTTP.
    """

    def __init__(self, who: str, url: str, *, timeout_s: float, max_bytes: int) -> None:
        try:
            parts = urlsplit(url)
            is_http = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        except ValueError:
            is_http = False
        if not is_http:
            raise Unreachable(f"The address of {who} is not one of HTTP.", hint="such as https://example.org/path")
        self._who = who
        self._url = url
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if parts.hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self._last: threading.Thread | None = None

    def post(self, path: str, body: bytes, content_type: str) -> Reply:
        """The answer to one request.

        Raises:
            Unreachable: none came, in time and of a bearable length.
        """
        # In a thread of its own: urllib bounds each read, and a server that sends a byte now and then has many.
        if self._last is not None and self._last.is_alive():
            raise Unreachable(f"{self._who} still keeps an earlier request waiting.")
        results: list[Reply | Exception] = []

        def work() -> None:
            try:
                results.append(self._exchange(path, body, content_type))
            except Exception as error:  # noqa: BLE001 -- raised again below, in the thread that asked
                results.append(error)

        self._last = threading.Thread(target=work, name="exchange", daemon=True)
        self._last.start()
        self._last.join(self._timeout_s)
        result = results[0] if results else TimeoutError(f"no answer in {self._timeout_s:g} s")
        if isinstance(result, Reply):
            return result
        if isinstance(result, OSError | http.client.HTTPException | ValueError):
            cause = getattr(result, "reason", None) or str(result) or type(result).__name__
            raise Unreachable(
                f"{self._who} at {self._url} cannot be reached ({cause})."[: 2 * _SAID], hint="it is asked again later"
            )
        raise result

    def _exchange(self, path: str, body: bytes, content_type: str) -> Reply:
        deadline = time.monotonic() + self._timeout_s
        request = urllib.request.Request(  # noqa: S310 -- HTTP only: see __init__
            self._url + path, data=body, headers={"content-type": content_type}, method="POST"
        )
        try:
            answer = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            received = bytearray()
            while part := answer.read1(_CHUNK):
                received += part
                if len(received) > self._max_bytes:
                    raise ValueError("its answer is too long")
                if time.monotonic() > deadline:
                    raise TimeoutError("its answer takes too long")
            return Reply(answer.status, answer.headers.get("content-type") or "", bytes(received))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None
