"""Where a request came from, with proxies in front and without."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from countenance.server.peer import Peer


def asked(client: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return Request({"type": "http", "headers": headers, "client": (client, 1) if client else None})


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("198.51.100.7",), "192.0.2.1"),  # nobody's proxy
        ("10.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.5, 198.51.100.7",), "198.51.100.7"),  # what a client claims comes first
        ("10.0.0.1", ("203.0.113.5", "198.51.100.7, 10.0.0.9"), "198.51.100.7"),
        ("10.0.0.1", ("[2001:db8::1]",), "2001:db8::1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("not an address",), "not an address"),
        (None, ("198.51.100.7",), ""),
    ],
)
def test_whoever_a_trusted_proxy_was_asked_by(client: str | None, forwarded: tuple[str, ...], expected: str) -> None:
    assert Peer(["10.0.0.0/8"]).of(asked(client, *forwarded)) == expected


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert Peer().of(asked("10.0.0.1", "198.51.100.7")) == "10.0.0.1"
