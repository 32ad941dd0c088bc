"""Posts to another node over connections that are kept: HTTP as a client, bounded in time and size.

Over TLS where the node's address says https. Plain HTTP goes to this machine only, unless the operator allows more:
probes are biometric data. No proxy is asked, no redirect is followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import select
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from countenance.gallery.asking import MAC, PATH, NotAnswered

CONNECT_S: Final = 2.0
"""Within a data centre: a lost SYN is sent again after one second."""
IDLE_KEPT: Final = 16
"""Connections kept to one node."""
IDLE_S: Final = 30.0
"""How long, below the 65 s after which a server closes them."""
_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Reply:
    """What a node answered."""

    status: int
    mac: str
    body: bytes


class NodeClient:
    """The connections to all nodes. Safe from any thread.

    Args:
        ca_file: PEM with the authorities that sign nodes' certificates; None: the system's.
        allows_plain: whether plain HTTP may go to other machines.
    """

    def __init__(self, *, ca_file: Path | None = None, allows_plain: bool = False) -> None:
        self._context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
        self._allows_plain = allows_plain
        self._lock = threading.Lock()
        self._idle: dict[str, list[tuple[float, http.client.HTTPConnection]]] = {}

    def post(
        self, url: str, headers: Callable[[], Mapping[str, str]], body: bytes, *, most: int, limit_s: float
    ) -> Reply:
        """One exchange.

        Args:
            headers: makes them, others for each try: a kept connection may have been closed at the other end.
            most: bytes of the longest answer.
            limit_s: for all of it.

        Raises:
            NotAnswered: none came in time, or one that is too long.
        """
        until = time.monotonic() + limit_s
        kept = self._taken(url)
        if kept is not None:
            try:
                return self._exchanged(url, kept, headers(), body, most, until)
            except (http.client.BadStatusLine, ConnectionError):
                pass  # it was closed at the other end just now
            except (OSError, http.client.HTTPException, ValueError) as failure:
                raise NotAnswered(_cause(failure)) from None
        try:
            return self._exchanged(url, self._made(url), headers(), body, most, until)
        except (OSError, http.client.HTTPException, ValueError) as failure:
            raise NotAnswered(_cause(failure)) from None

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for _, connection in (each for some in idle.values() for each in some):
            connection.close()

    def _exchanged(
        self,
        url: str,
        connection: http.client.HTTPConnection,
        headers: Mapping[str, str],
        body: bytes,
        most: int,
        until: float,
    ) -> Reply:
        try:
            if connection.sock is None:
                connection.connect()
            assert connection.sock is not None
            connection.sock.settimeout(_left(until))
            connection.request(
                "POST",
                urlsplit(url).path.rstrip("/") + PATH,
                body,
                {"content-type": "application/octet-stream", **headers},
            )
            answer = connection.getresponse()
            received = bytearray()
            while len(received) <= most:
                if connection.sock is not None:  # http.client lets go of it when the answer ends the connection
                    connection.sock.settimeout(_left(until))
                part = answer.read1(_CHUNK)
                if not part:
                    break
                received += part
            if len(received) > most:
                raise ValueError("the answer is too long")
            answer.close()  # read to its end, which http.client does not notice by itself
            reply = Reply(answer.status, answer.getheader(MAC) or "", bytes(received))
        except BaseException:
            connection.close()
            raise
        if answer.will_close or reply.status >= 400:
            connection.close()
        else:
            self._keep(url, connection)
        return reply

    def _taken(self, url: str) -> http.client.HTTPConnection | None:
        """A kept connection that is open still, as far as can be seen."""
        while True:
            with self._lock:
                idle = self._idle.get(url)
                if not idle:
                    return None
                since, connection = idle.pop()
            if (
                connection.sock is not None
                and time.monotonic() - since < IDLE_S
                and not select.select([connection.sock], [], [], 0)[0]  # readable: its end was closed
            ):
                return connection
            with suppress(OSError):
                connection.close()

    def _keep(self, url: str, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            idle = self._idle.setdefault(url, [])
            if len(idle) < IDLE_KEPT:
                idle.append((time.monotonic(), connection))
                return
        connection.close()

    def _made(self, url: str) -> http.client.HTTPConnection:
        refuse_unusable(url, allows_plain=self._allows_plain)
        parts = urlsplit(url)
        assert parts.hostname is not None  # it was looked at
        if parts.scheme == "https":
            return http.client.HTTPSConnection(
                parts.hostname, parts.port or 443, timeout=CONNECT_S, context=self._context
            )
        return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=CONNECT_S)


def refuse_unusable(url: str, *, allows_plain: bool) -> None:
    """Raises NotAnswered for an address that is none, or to which probes must not go."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or "@" in parts.netloc:
        raise NotAnswered("the node's address is none of HTTP")
    if parts.scheme == "http" and not allows_plain and not _is_here(parts.hostname or ""):
        raise NotAnswered("the node's address is plain HTTP on another machine: see node_url and insecure_http")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _cause(failure: Exception) -> str:
    return str(failure)[:200] or type(failure).__name__
