"""The pages beside the API, CORS, the metrics' labels, and the administrative application."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from tests.cheats.operator import Operator
from tests.unit.server.conftest import Reply, ask

from countenance.accounts import AccountNotFound
from countenance.config import Settings
from countenance.pipeline import Outcome
from countenance.server.app import MAX_ADMIN_BODY_BYTES, Readiness, admin_app, public_app
from countenance.server.metrics import Metrics
from countenance.store import DatabaseError

ORIGIN = "https://shop.example"


class OpenDoor:
    async def answer(self, request: Request) -> Response:
        return PlainTextResponse("answered", headers={"x-amzn-requestid": "r"})

    receipt = answer


def public(assembled: Any, metrics: Metrics, readiness: Readiness | None = None, **settings: Any) -> Any:
    door: Any = OpenDoor()
    return public_app(
        replace(Settings(), **settings), assembled, door, metrics.render, readiness or Readiness(assembled)
    )


def get(app: Any, path: str, **more: Any) -> Reply:
    return asyncio.run(ask(app, "GET", path, **more))


def test_alive_is_only_that(assembled: Any, metrics: Metrics) -> None:
    assert get(public(assembled, metrics), "/healthz").status == 200


def test_ready_until_a_stop_is_asked_for(assembled: Any, metrics: Metrics) -> None:
    readiness = Readiness(assembled)
    app = public(assembled, metrics, readiness)
    assert get(app, "/readyz").status == 200
    readiness.stopping = True
    reply = get(app, "/readyz")
    assert reply.status == 503
    assert json.loads(reply.body)["accepting"] is False


def test_not_ready_without_its_store_or_its_record(assembled: Any, metrics: Metrics) -> None:
    app = public(assembled, metrics)
    assembled.register.ledger.healthy = False
    assert json.loads(get(app, "/readyz").body)["ledger_writable"] is False

    def broken() -> None:
        raise DatabaseError("The database is closed.")

    assembled.register.ledger.healthy = True
    assembled.register.ledger.witnessing.refusals = {"w": "another history"}
    assert json.loads(get(app, "/readyz").body)["ledger_unrefused"] is False
    assembled.register.ledger.witnessing.refusals = {}
    assembled.register.ledger.witnessing.warnings = lambda: ["UNWITNESSED"]
    reply = get(app, "/readyz")
    assert (reply.status, json.loads(reply.body)["warnings"]) == (200, ["UNWITNESSED"])
    assembled.register.governance.decides = lambda: False
    assert json.loads(get(app, "/readyz").body)["policy_decides"] is False
    assembled.register.governance.decides = lambda: True
    assembled.gallery.is_covered = lambda: False
    reply = get(app, "/readyz")
    assert (reply.status, json.loads(reply.body)["parts_covered"]) == (503, False)
    assembled.gallery.is_covered = broken
    assert json.loads(get(app, "/readyz").body)["parts_covered"] is False
    assembled.gallery.is_covered = lambda: True
    assembled.gallery.stats = broken
    reply = get(app, "/readyz")
    assert reply.status == 503
    assert json.loads(reply.body)["store_open"] is False


@pytest.mark.parametrize(
    ("client", "is_public", "status"),
    [
        ("127.0.0.1", False, 200),
        ("::1", False, 200),
        ("192.0.2.7", False, 403),
        ("192.0.2.7", True, 200),
        ("x", False, 403),
    ],
)
def test_metrics_are_for_this_machine_unless_told_otherwise(
    assembled: Any, metrics: Metrics, client: str, is_public: bool, status: int
) -> None:
    reply = get(public(assembled, metrics, metrics_public=is_public), "/metrics", client=client)
    assert reply.status == status
    assert (b"countenance_faces_enrolled 40.0" in reply.body) == (status == 200)


def test_metrics_are_there_while_the_store_is_not(assembled: Any, metrics: Metrics) -> None:
    def gone() -> None:
        raise DatabaseError("The database cannot be reached, or the connection to it was lost.")

    assert "countenance_faces_enrolled 40.0" in metrics.render().decode()
    assembled.gallery.stats = gone
    metrics.observe(Outcome("request-id-1", "SearchFaces", "123456789012", "InternalServerError", 500, 0.02))
    page = metrics.render().decode()
    assert "countenance_faces_enrolled" not in page
    assert 'countenance_calls_total{operation="SearchFaces",outcome="InternalServerError"} 1.0' in page
    assert "countenance_samples 7.0" in page


def test_the_labels_of_metrics_name_nobody(metrics: Metrics) -> None:
    for code, operation in (("OK", "IndexFaces"), ("InvalidSignatureException", "")):
        metrics.observe(Outcome("request-id-1", operation, "123456789012", code, 200, 0.02))
    page = metrics.render().decode()
    assert 'countenance_calls_total{operation="IndexFaces",outcome="OK"} 1.0' in page
    assert 'countenance_calls_total{operation="none",outcome="InvalidSignatureException"} 1.0' in page
    assert 'countenance_build_info{face_model="scripted-1"' in page
    assert "123456789012" not in page
    assert "request-id-1" not in page
    labels = {part.split("=")[0] for line in page.splitlines() if "{" in line for part in line.split("{")[1].split(",")}
    assert labels <= {"operation", "outcome", "le", "status", "face_model", "version"}


def preflight(app: Any, origin: str) -> Reply:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-amz-date,x-amz-target,x-countenance-all-faces",
    }
    return asyncio.run(ask(app, "OPTIONS", "/", headers=headers))


def test_a_preflight_of_a_listed_origin_is_answered(assembled: Any, metrics: Metrics) -> None:
    reply = preflight(public(assembled, metrics, cors_origins=(ORIGIN,)), ORIGIN)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert reply.headers["access-control-allow-methods"] == "POST"
    for name in ("authorization", "x-amz-date", "x-amz-target", "x-countenance-all-faces"):
        assert name in reply.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in reply.headers


def test_a_preflight_of_another_origin_is_not(assembled: Any, metrics: Metrics) -> None:
    reply = preflight(public(assembled, metrics, cors_origins=(ORIGIN,)), "https://evil.example")
    assert reply.status == 400
    assert "access-control-allow-origin" not in reply.headers


def test_there_is_no_cors_unless_asked_for(assembled: Any, metrics: Metrics) -> None:
    app = public(assembled, metrics)
    assert preflight(app, ORIGIN).status == 405
    reply = asyncio.run(ask(app, headers={"Origin": ORIGIN}))
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_a_browser_can_read_the_headers_of_an_answer(assembled: Any, metrics: Metrics) -> None:
    app = public(assembled, metrics, cors_origins=(ORIGIN,))
    reply = asyncio.run(ask(app, headers={"Origin": ORIGIN}))
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert "x-amzn-requestid" in reply.headers["access-control-expose-headers"]


# -- the administrative application


class Office:
    """Administration that remembers, refuses or breaks."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, []  # type: ignore[var-annotated]

    def administer(self, verb: str, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((verb, params))
        if self.error is not None:
            raise self.error
        return {"verb": verb}


def administer(office: Office, body: bytes, verb: str = "account.list") -> Reply:
    pipeline: Any = office
    return asyncio.run(ask(admin_app(pipeline), "POST", f"/admin/{verb}", parts=(body,)))


def test_a_published_map_is_at_one_path_only(assembled: Any, metrics: Metrics, tmp_path: Path) -> None:
    operator = Operator(tmp_path / "server")
    operator.call(1)
    operator.next_day()
    operator.log.publish()
    day = operator.periods.heads[0].day
    path = f"/log/period/{day.replace('-', '/')}/0"
    assembled.register.ledger.log, assembled.register.ledger.periods = operator.log, operator.periods
    app = public(assembled, metrics)
    reply = get(app, path)
    assert (reply.status, reply.body) == (200, operator.periods.published(day, 0))
    assert "immutable" in reply.headers["cache-control"]
    for other in (
        path[:-1] + "1",
        path + "0",
        path + "/",
        path.replace("/log/period/", "/log/period/0"),
        "/log/period/2026/13/01/0",
        "/log/period/2026/1/1/0",
        "/log/period/99999/01/01/0",
        "/log/period/2026/01/01/99999999999999999999",
    ):
        assert get(app, other).status == 404, other
    operator.close()


def test_a_verb_is_carried_out() -> None:
    office = Office()
    reply = administer(office, b'{"name":"x"}', "account.create")
    assert (reply.status, json.loads(reply.body)) == (200, {"result": {"verb": "account.create"}})
    assert office.asked == [("account.create", {"name": "x"})]
    assert administer(office, b"").status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'"x"', 400),
        (b"\xff", 400),
        (b"[" * 50_000, 400),
        (b" " * (MAX_ADMIN_BODY_BYTES + 1), 413),
    ],
)
def test_what_is_no_instruction_is_refused(body: bytes, status: int) -> None:
    office = Office()
    reply = administer(office, body)
    assert reply.status == status
    assert set(json.loads(reply.body)["error"]) == {"message", "hint"}
    assert office.asked == []


def test_an_error_comes_with_its_hint() -> None:
    reply = administer(Office(AccountNotFound("No account 1.", hint="countenance account list")), b"{}")
    assert reply.status == 400
    assert json.loads(reply.body) == {"error": {"message": "No account 1.", "hint": "countenance account list"}}


def test_only_verbs_are_served() -> None:
    pipeline: Any = Office()
    assert get(admin_app(pipeline), "/admin/account.list").status == 405
    assert asyncio.run(ask(admin_app(pipeline), "POST", "/")).status == 404
