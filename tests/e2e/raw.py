"""A client below the SDKs: signs a request with botocore and sends exactly the bytes it is told to."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

JSON_1_1 = "application/x-amz-json-1.1"
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's code, or OK."""
        return "OK" if self.status == 200 else str(json.loads(self.body)["__type"])

    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


def signed_headers(
    endpoint: str, credentials: tuple[str, str], operation: str, body: bytes, more: dict[str, str] | None = None
) -> dict[str, str]:
    """The headers of a signed call, Host included."""
    request = AWSRequest(
        method="POST",
        url=endpoint + "/",
        data=body,
        headers={
            "Content-Type": JSON_1_1,
            "X-Amz-Target": f"RekognitionService.{operation}",
            "Host": urlsplit(endpoint).netloc,
            **(more or {}),
        },
    )
    SigV4Auth(Credentials(*credentials), "rekognition", "eu-west-2").add_auth(request)
    return dict(request.headers.items())


class RawClient:
    """One kept-alive connection; reconnects when the server closed it."""

    def __init__(self, endpoint: str, credentials: tuple[str, str]) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        parts = urlsplit(endpoint)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)

    def call(self, operation: str, body: bytes | dict[str, Any], more: dict[str, str] | None = None) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send(raw, signed_headers(self._endpoint, self._credentials, operation, raw, more))

    def send(self, body: bytes, headers: dict[str, str], method: str = "POST", path: str = "/") -> Answer:
        try:
            return self._send(body, headers, method, path)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._connection.close()
            return self._send(body, headers, method, path)

    def _send(self, body: bytes, headers: dict[str, str], method: str, path: str) -> Answer:
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def close(self) -> None:
        self._connection.close()
