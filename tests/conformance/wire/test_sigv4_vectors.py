"""The published Signature Version 4 vectors. `sigv4_vectors.json` names where each comes from.

Their service is called "service", so the verifier is told so. Every vector is also shown to fail when one
hexadecimal digit of its signature is changed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from countenance.wire import canonical, sigv4
from countenance.wire.faults import Fault
from countenance.wire.http import HttpRequest

SUITE: dict[str, Any] = json.loads(Path(__file__).with_name("sigv4_vectors.json").read_text("utf-8"))
VECTORS: list[dict[str, Any]] = SUITE["vectors"]
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
SCOPE = f"{SUITE['timestamp'][:8]}/{SUITE['region']}/{SUITE['service']}/aws4_request"
CREDENTIAL = f"{SUITE['access_key_id']}/{SCOPE}"


def as_received(text: str) -> str:
    """Raw bytes of a request line as a server hands them over: decoded as latin-1."""
    return text.encode().decode("latin-1")


def request_of(vector: dict[str, Any], signature: str) -> HttpRequest:
    headers = [("host", SUITE["host"])]
    headers += [(name.lower(), value) for name, value in vector.get("headers", [])]
    query = as_received(vector.get("query", ""))
    if vector.get("form") == "query":
        names = ";".join(sorted({name for name, _ in headers}))
        parameters = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": CREDENTIAL,
            "X-Amz-Date": SUITE["timestamp"],
            "X-Amz-SignedHeaders": names,
            "X-Amz-Expires": "3600",
            "X-Amz-Signature": signature,
        }
        added = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
        query = f"{query}&{added}" if query else added
    else:
        headers.append(("x-amz-date", SUITE["timestamp"]))
        names = ";".join(sorted({name for name, _ in headers}))
        authorization = f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders={names}, Signature={signature}"
        headers.append(("authorization", authorization))
    return HttpRequest(
        method=vector.get("method", "GET"),
        path=as_received(vector.get("path", "/")),
        query=query,
        headers=tuple(headers),
        body=vector.get("body", "").encode(),
        received_at=NOW,
    )


def judge(request: HttpRequest) -> None:
    parsed = sigv4.parse(request, service=SUITE["service"])
    sigv4.verify(request, parsed, SUITE["secret"], NOW)


def named(vector: dict[str, Any]) -> str:
    return f"{vector['name']}-{vector.get('form', 'header')}"


KEYS_OF_OURS = [vector for vector in VECTORS if "X-Amz-Security-Token" not in dict(vector.get("headers", []))]
SESSION_KEYS = [vector for vector in VECTORS if vector not in KEYS_OF_OURS]


@pytest.mark.parametrize("vector", KEYS_OF_OURS, ids=named)
def test_a_published_signature_is_accepted(vector: dict[str, Any]) -> None:
    judge(request_of(vector, vector["signature"]))


@pytest.mark.parametrize("vector", KEYS_OF_OURS, ids=named)
def test_one_changed_digit_is_refused(vector: dict[str, Any]) -> None:
    signature = vector["signature"]
    wrong = ("1" if signature[0] == "0" else "0") + signature[1:]
    with pytest.raises(Fault, match="does not match the signature you provided") as caught:
        judge(request_of(vector, wrong))
    assert caught.value.code == "InvalidSignatureException"


@pytest.mark.parametrize("vector", SESSION_KEYS, ids=named)
def test_a_published_signature_with_a_session_token(vector: dict[str, Any]) -> None:
    """This server has no session keys: the vector is checked one layer below, and refused above."""
    request = request_of(vector, vector["signature"])
    names = ("host", "x-amz-date", "x-amz-security-token")
    whole = canonical.canonical_request(request, names, hashlib.sha256(b"").hexdigest())
    text = canonical.string_to_sign(SUITE["timestamp"], SCOPE, whole)
    key = canonical.signing_key(SUITE["secret"], SUITE["timestamp"][:8], SUITE["region"], SUITE["service"])
    assert hmac.new(key, text.encode(), "sha256").hexdigest() == vector["signature"]
    with pytest.raises(Fault) as caught:
        judge(request)
    assert caught.value.code == "UnrecognizedClientException"


def test_the_suite_is_whole() -> None:
    assert len(KEYS_OF_OURS) == 31
    assert len(SESSION_KEYS) == 1
