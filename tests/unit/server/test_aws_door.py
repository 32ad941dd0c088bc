"""The AWS door: a body under a cap and a time limit, then one call of the pipeline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from tests.unit.server.conftest import HangsUp, RecordingPipeline, Reply, Stalls, ask

from countenance.server import aws
from countenance.server.aws import READ_PAST_THE_CAP, AwsDoor
from countenance.server.metrics import Metrics

CAP = 1000


@pytest.fixture
def behind() -> RecordingPipeline:
    return RecordingPipeline()


@pytest.fixture
def knock(behind: RecordingPipeline, metrics: Metrics) -> Iterator[Callable[..., Reply]]:
    """Sends one request through a door with a cap of 1,000 bytes and a limit of 50 ms for the body."""
    doors: list[AwsDoor] = []

    def send(**request: Any) -> Reply:
        async def run() -> Reply:
            door = AwsDoor(behind, metrics, workers=2, max_body_bytes=CAP, body_timeout_s=0.05)  # type: ignore[arg-type]
            doors.append(door)
            reply = await ask(Starlette(routes=[Route("/", door.answer, methods=["POST"])]), **request)
            assert door._held_bytes == 0
            return reply

        return asyncio.run(run())

    yield send
    for door in doors:
        door.close()


def test_a_call_reaches_the_pipeline_as_it_was_sent(knock: Callable[..., Reply], behind: RecordingPipeline) -> None:
    reply = knock(path="/?a=%20b", headers={"X-Amz-Target": "T.Op", "Host": "h"}, parts=(b"ab", b"", b"cd"))
    (request,) = behind.requests
    assert (request.method, request.path, request.query, request.body) == ("POST", "/", "a=%20b", b"abcd")
    assert request.headers == (("x-amz-target", "T.Op"), ("host", "h"))
    assert request.received_at.tzinfo is not None
    assert (reply.status, reply.body) == (200, b"done")
    assert len(reply.headers["x-amzn-requestid"]) == 36
    assert reply.headers["date"].endswith(" GMT")


def test_a_repeated_header_stays_repeated(behind: RecordingPipeline, metrics: Metrics) -> None:
    async def run() -> None:
        door = AwsDoor(behind, metrics, workers=1, max_body_bytes=CAP, body_timeout_s=1)  # type: ignore[arg-type]

        async def doubled(scope: Any, receive: Any, send: Any) -> None:
            scope["headers"] = [(b"x-a", b"1"), (b"X-A", b"\xe9"), (b"x-a", b"1")]
            await Starlette(routes=[Route("/", door.answer, methods=["POST"])])(scope, receive, send)

        await ask(doubled)
        door.close()

    asyncio.run(run())
    assert behind.requests[0].values("x-a") == ["1", "é", "1"]


@pytest.mark.parametrize("parts", [(b"x" * CAP,), (b"x" * (CAP - 1), b"y")])
def test_a_body_as_large_as_the_cap_is_taken(
    knock: Callable[..., Reply], behind: RecordingPipeline, parts: tuple[bytes, ...]
) -> None:
    assert knock(headers={"Content-Length": str(CAP)}, parts=parts).status == 200
    assert len(behind.requests[0].body) == CAP


@pytest.mark.parametrize(
    ("length", "parts"),
    [
        (CAP + 1, (b"x" * (CAP + 1),)),  # said so, and is read to its end
        (10**12, ()),  # said so, far too large to read
        (None, (b"x" * 600, b"x" * 401)),  # chunked, just over
        (None, (b"x" * 600,) * 50),  # chunked, without an end in sight
        (10, (b"x" * 5000,)),  # lied
    ],
)
def test_a_larger_one_is_refused_and_never_becomes_a_call(
    knock: Callable[..., Reply],
    behind: RecordingPipeline,
    metrics: Metrics,
    length: int | None,
    parts: tuple[bytes, ...],
) -> None:
    reply = knock(headers={} if length is None else {"Content-Length": str(length)}, parts=parts)
    assert reply.status == 413
    assert json.loads(reply.body)["__type"] == "RequestEntityTooLargeException"
    assert reply.headers["connection"] == "close"
    assert len(reply.headers["x-amzn-requestid"]) == 36
    assert behind.requests == []
    assert b'countenance_requests_refused_total{status="413"} 1.0' in metrics.render()


def test_what_comes_after_the_cap_is_read_but_not_for_ever(knock: Callable[..., Reply]) -> None:
    read: list[int] = []

    class Counted(bytes):
        def __len__(self) -> int:
            read.append(1)
            return super().__len__()

    knock(headers={}, parts=tuple(Counted(b"x" * 500) for _ in range(100)))
    assert len(read) <= (READ_PAST_THE_CAP * CAP // 500 + 1) * 4  # a few looks at each part that was read


def test_a_body_that_stalls_is_let_go(knock: Callable[..., Reply], behind: RecordingPipeline, metrics: Metrics) -> None:
    reply = knock(headers={"Content-Length": "10"}, parts=(b"half", Stalls()))
    assert reply.status == 408
    assert reply.headers["connection"] == "close"
    assert behind.requests == []
    assert b'countenance_requests_refused_total{status="408"} 1.0' in metrics.render()


def test_a_client_that_hangs_up_never_becomes_a_call(knock: Callable[..., Reply], behind: RecordingPipeline) -> None:
    knock(headers={"Content-Length": "10"}, parts=(b"half", HangsUp()))
    assert behind.requests == []


def test_bodies_in_memory_are_bounded_all_together(
    knock: Callable[..., Reply], behind: RecordingPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "BODIES_IN_MEMORY_BYTES", 500)
    reply = knock(parts=(b"x" * 300, b"x" * 300))
    assert reply.status == 400
    assert json.loads(reply.body)["__type"] == "ThrottlingException"
    assert behind.requests == []
    assert knock(parts=(b"x" * 300,)).status == 200


def test_only_post_is_answered(knock: Callable[..., Reply], behind: RecordingPipeline) -> None:
    assert knock(method="PUT").status == 405
    assert behind.requests == []
