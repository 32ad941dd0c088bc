"""Where a request came from: the connection's other end, or what a reverse proxy that is trusted says.

`X-Forwarded-For` is read from its end: each trusted proxy added whoever it was asked by, and what stands before the
first that is not trusted is anybody's word.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.requests import Request

MOST_HOPS = 20


class Peer:
    """Tells the address that a request came from.

    Args:
        trusted: networks of proxies, in CIDR notation.
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusted = tuple(ipaddress.ip_network(each, strict=False) for each in trusted)

    def of(self, request: Request) -> str:
        """The address; "" when there is none, as of a socket in the file system."""
        found = request.client.host if request.client else ""
        if not self._trusted:
            return found
        hops = [part.strip() for each in request.headers.getlist("x-forwarded-for") for part in each.split(",")]
        for hop in reversed(hops[-MOST_HOPS:]):
            if not self._is_trusted(found):
                break
            found = hop.strip("[]")
        return found

    def _is_trusted(self, address: str) -> bool:
        try:
            known = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(known in network for network in self._trusted)
