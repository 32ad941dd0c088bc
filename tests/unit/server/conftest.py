"""ASGI applications driven by hand: no network, no HTTP client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from countenance.gallery import GalleryStats, Holding
from countenance.samples import Totals
from countenance.server.metrics import Metrics
from countenance.wire.http import HttpRequest, HttpResponse

App = Callable[..., Awaitable[None]]


@dataclass(slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class HangsUp:
    """In place of a part of the body: the client goes away."""


class Stalls:
    """In place of a part of the body: nothing comes any more."""


async def ask(
    app: App,
    method: str = "POST",
    path: str = "/",
    *,
    headers: dict[str, str] | None = None,
    parts: Sequence[bytes | HangsUp | Stalls] = (b"",),
    client: str = "127.0.0.1",
) -> Reply:
    """One request through an ASGI application."""
    waiting = list(parts)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        part = waiting.pop(0) if waiting else HangsUp()
        if isinstance(part, Stalls):
            await asyncio.Event().wait()
        if isinstance(part, HangsUp):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    name, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": name, "raw_path": name.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(key.lower().encode(), value.encode()) for key, value in (headers or {}).items()],
        "client": (client, 50000), "server": ("127.0.0.1", 8080),
    }  # fmt: skip
    await app(scope, receive, send)
    start = sent[0]
    return Reply(
        status=start["status"],
        headers={key.decode(): value.decode() for key, value in start["headers"]},
        body=b"".join(message.get("body", b"") for message in sent[1:]),
    )


@dataclass(slots=True)
class RecordingPipeline:
    """Answers every call alike and keeps what it was given."""

    requests: list[HttpRequest] = field(default_factory=list)

    def handle(self, http: HttpRequest, request_id: str) -> HttpResponse:
        self.requests.append(http)
        return HttpResponse(200, (("content-type", "text/plain"), ("x-amzn-requestid", request_id)), b"done")


@pytest.fixture
def assembled() -> Any:
    """As much of an assembled server as metrics and readiness read."""
    stats = GalleryStats(collections=3, references=40, loaded_collections=1, loaded_references=20, index_bytes=5120)
    return SimpleNamespace(
        service=SimpleNamespace(engine=SimpleNamespace(model_version="scripted-1")),
        gallery=SimpleNamespace(
            stats=lambda: stats,
            holding=lambda: Holding(part="1/2", behind=2, is_listening=True),
            is_covered=lambda: True,
        ),
        register=SimpleNamespace(
            ledger=SimpleNamespace(healthy=True, log=None, witnessing=SimpleNamespace(refusals={}, warnings=list)),
            governance=SimpleNamespace(decides=lambda: True, warnings=list),
            database=SimpleNamespace(is_shared=False, node="n"),
            presence=SimpleNamespace(upkeep=SimpleNamespace(is_held=lambda: True)),
            samples=SimpleNamespace(totals=lambda: Totals(samples=7, bytes=700), max_bytes=7000),
        ),
    )


@pytest.fixture
def metrics(assembled: Any) -> Metrics:
    return Metrics(assembled)
