"""Requests signed by botocore, as the server would receive them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from countenance.wire.http import HttpRequest

KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
BODY = b'{"CollectionId":"people"}'

Signer = Callable[..., HttpRequest]


class PresignedBody(SigV4QueryAuth):
    """botocore's presigner for a request that has a body: its own moves a JSON body into the query."""

    def __init__(self, credentials: Credentials, service: str, region: str, expires: int, body: bytes) -> None:
        super().__init__(credentials, service, region, expires=expires)
        self._body = body

    def payload(self, request: AWSRequest) -> str:
        return hashlib.sha256(self._body).hexdigest()


def _received(request: AWSRequest, body: bytes) -> HttpRequest:
    url = urlsplit(request.url)
    headers = [(name.lower(), value) for name, value in request.headers.items()]
    if not any(name == "host" for name, _ in headers):
        headers.append(("host", url.netloc))
    return HttpRequest(
        method=request.method,
        path=url.path,
        query=url.query,
        headers=tuple(headers),
        body=body,
        received_at=datetime.now(UTC),
    )


@pytest.fixture
def signed() -> Signer:
    """Signs a ListFaces call with the Authorization header, or in the query when `expires` is given."""

    def sign(
        body: bytes = BODY,
        *,
        secret: str = SECRET,
        token: str | None = None,
        service: str = "rekognition",
        region: str = "eu-west-2",
        headers: Mapping[str, str] | None = None,
        url: str = "http://127.0.0.1:8080/",
        expires: int | None = None,
    ) -> HttpRequest:
        request = AWSRequest(
            "POST",
            url,
            data=body if expires is None else None,
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "RekognitionService.ListFaces",
                **(headers or {}),
            },
        )
        credentials = Credentials(KEY_ID, secret, token)
        if expires is None:
            SigV4Auth(credentials, service, region).add_auth(request)
        else:
            PresignedBody(credentials, service, region, expires, body).add_auth(request)
        return _received(request, body)

    return sign
