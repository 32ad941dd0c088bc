"""The HTTP request and response as the wire layer sees them, independent of any web framework.

Knows bytes and header names only: no socket, no ASGI, no AWS operation. Path and query stay raw because
Signature Version 4 signs them as they were sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, read completely. Path, query and header values are the bytes sent, decoded as latin-1.

    Attributes:
        method: as sent, upper case.
        path: raw, still percent-encoded, without the query.
        query: raw, without the question mark; empty when there is none.
        headers: (lower-case name, value) in the order sent; a repeated header appears repeatedly.
        body: the payload after transfer decoding.
        received_at: aware UTC time at which the request was read.
        peer: address of the internet that it came from, "" when that is not known. Only its country is kept.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_at: datetime
    peer: str = ""

    def values(self, name: str) -> list[str]:
        """Every value of the header `name` (lower case), in the order sent."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        """The first value of the header `name` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One answer. `headers` lack `Content-Length`, `Date` and `Connection`: the server owns those."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
