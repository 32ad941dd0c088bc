"""The ASGI applications: the public one, and the administrative one behind the socket in the data folder."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Callable
from typing import Any

from countenance_audit.errors import Malformed
from countenance_audit.monitor import map_path
from countenance_audit.tiles import TILE_WIDTH, Tile, encode_bundle, parse_path
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from countenance.assembly import Assembled
from countenance.config import Settings
from countenance.errors import Error
from countenance.ledger import Ledger, Log
from countenance.ledger.timestamp import REPLY_TYPE
from countenance.pipeline import Pipeline
from countenance.server.aws import REQUEST_ID_HEADER, AwsDoor
from countenance.server.nodes import NodeDoor
from countenance.store.leases import nodes

MAX_ADMIN_BODY_BYTES = 16 * 1024 * 1024
"""An administrative request is a few names, or the statements of ownership of a file: 10,000 of them are some 7 MB."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CORS_MAX_AGE_S = 600
"""How long a browser may remember a preflight answer; Starlette's own default."""


class Readiness:
    """Whether calls should be sent here: from the end of start-up until a stop is asked for."""

    def __init__(self, assembled: Assembled) -> None:
        self._assembled = assembled
        self.stopping = False

    def report(self) -> dict[str, bool]:
        """Each condition by name; ready when all hold."""
        ledger = self._assembled.register.ledger
        return {
            "accepting": not self.stopping,
            "models_loaded": True,  # there is no Assembled without them
            "store_open": self._store_answers(),
            "ledger_writable": ledger.healthy,
            "ledger_unrefused": not (ledger.witnessing.refusals or self._refused_elsewhere()),
            "policy_decides": self._assembled.register.governance.decides(),
            "parts_covered": self._parts_are_covered(),
        }

    def warnings(self) -> list[str]:
        """What does not stop calls, and should be looked at."""
        register = self._assembled.register
        return [*register.ledger.witnessing.warnings(), *register.governance.warnings()]

    def _parts_are_covered(self) -> bool:
        try:
            return self._assembled.gallery.is_covered()
        except Error:
            return False

    def _refused_elsewhere(self) -> bool:
        """Whether a witness refused the log: only one of several processes asks them."""
        database = self._assembled.register.database
        try:
            return database.is_shared and any(each.told.get("refusals") for each in nodes(database))
        except Error:
            return False  # `store_open` says so

    def nodes(self) -> dict[str, Any]:
        """Who shares the store, when others may."""
        database = self._assembled.register.database
        if not database.is_shared:
            return {}
        try:
            found = nodes(database)
        except Error:
            return {"nodes": []}
        return {"node": database.node, "nodes": [each.shown() for each in found]}

    def _store_answers(self) -> bool:
        try:
            self._assembled.gallery.stats()
        except Error:
            return False
        return True


def public_app(
    settings: Settings,
    assembled: Assembled,
    door: AwsDoor,
    metrics: Callable[[], bytes],
    readiness: Readiness,
    node_door: NodeDoor | None = None,
) -> Starlette:
    """`POST /` for AWS clients, `/receipts/ID`, `/log/`, `/healthz`, `/readyz`, `/metrics`, `/nodes/search`.

    Args:
        metrics: the page.
        node_door: answers other nodes; None where they are not answered.
    """

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(request: Request) -> Response:
        report = await asyncio.to_thread(readiness.report)
        told: dict[str, Any] = {"warnings": readiness.warnings()}
        if settings.metrics_public or _is_local(request):
            told |= await asyncio.to_thread(readiness.nodes)
        return JSONResponse(report | told, 200 if all(report.values()) else 503)

    async def metrics_page(request: Request) -> Response:
        if not settings.metrics_public and not _is_local(request):
            return PlainTextResponse("metrics are for this machine only; see metrics_public\n", 403)
        return Response(await asyncio.to_thread(metrics), media_type=METRICS_TYPE)

    log = assembled.register.ledger.log

    async def checkpoint(request: Request) -> Response:
        _, note = await asyncio.to_thread(log.checkpoint)
        return PlainTextResponse(note, headers={"cache-control": "no-cache"})

    async def tile(request: Request) -> Response:
        try:
            wanted = parse_path(request.path_params["path"])
        except Malformed:
            return PlainTextResponse("there is no such file in the log\n", 404)
        content = await asyncio.to_thread(_tile, log, wanted)
        if content is None:
            return PlainTextResponse("no published checkpoint covers that yet\n", 404)
        # A tile of this name never changes (C2SP tlog-tiles).
        return Response(
            content,
            media_type="application/octet-stream",
            headers={"cache-control": "public, max-age=31536000, immutable"},
        )

    async def period_map(request: Request) -> Response:
        found = await asyncio.to_thread(_map, assembled.register.ledger, request.url.path.removeprefix("/log/"))
        if found is None:
            return PlainTextResponse("there is no map of that day and revision\n", 404)
        return Response(
            found,
            media_type="application/octet-stream",
            headers={"cache-control": "public, max-age=31536000, immutable"},
        )

    async def timestamps(request: Request) -> Response:
        sizes = await asyncio.to_thread(log.storage.timestamps)
        return PlainTextResponse("".join(f"{size}\n" for size in sizes), headers={"cache-control": "no-cache"})

    async def timestamp(request: Request) -> Response:
        size = request.path_params["size"]
        found = await asyncio.to_thread(log.storage.timestamp, size) if size < 1 << 63 else None
        if found is None:
            return PlainTextResponse("there is no timestamp over a checkpoint of that size\n", 404)
        note, answer = found
        if request.url.path.endswith("/checkpoint"):
            return PlainTextResponse(note)
        return Response(answer, media_type=REPLY_TYPE)

    middleware = []
    if settings.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["POST"],
                allow_headers=["*"],
                expose_headers=[REQUEST_ID_HEADER, "x-amzn-errortype", "x-countenance-receipt", "date"],
                max_age=CORS_MAX_AGE_S,
            )
        )
    return Starlette(
        routes=[
            Route("/", door.answer, methods=["POST"]),
            Route("/receipts/{id}", door.receipt, methods=["GET"]),
            Route("/log/checkpoint", checkpoint),
            Route("/log/timestamps", timestamps),
            Route("/log/timestamp/{size:int}", timestamp),
            Route("/log/timestamp/{size:int}/checkpoint", timestamp),
            Route("/log/period/{year:int}/{month:int}/{day:int}/{revision:int}", period_map),
            Route("/log/{path:path}", tile),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics_page),
            *([] if node_door is None else [Route(node_door.path, node_door.answer, methods=["POST"])]),
        ],
        middleware=middleware,
    )


def metrics_app(metrics: Callable[[], bytes]) -> Starlette:
    """`GET /metrics` of one worker, for the others."""

    async def page(request: Request) -> Response:
        return Response(await asyncio.to_thread(metrics), media_type=METRICS_TYPE)

    return Starlette(routes=[Route("/metrics", page)])


def admin_app(pipeline: Pipeline) -> Starlette:
    """`POST /admin/VERB` with a JSON object; who may open the socket is decided by its file mode."""

    async def administer(request: Request) -> Response:
        raw = bytearray()
        async for part in request.stream():
            raw += part
            if len(raw) > MAX_ADMIN_BODY_BYTES:
                return _refusal("The request is too large.", None, 413)
        try:
            params = json.loads(raw or b"{}")
        except (ValueError, RecursionError):  # the latter from nesting
            return _refusal("The request is not JSON.", None)
        if not isinstance(params, dict):
            return _refusal("The request is not a JSON object.", None)
        try:
            # Encoded there as well: an exported image is megabytes, and this loop answers everybody.
            return await asyncio.to_thread(
                lambda: JSONResponse({"result": pipeline.administer(request.path_params["verb"], params)})
            )
        except Error as error:
            return _refusal(error.message, error.hint)

    return Starlette(routes=[Route("/admin/{verb}", administer, methods=["POST"])])


def _map(ledger: Ledger, path: str) -> bytes | None:
    """A published map. One that no checkpoint covers yet is not shown, as its root is not."""
    _, *numbers = path.split("/")
    on = "-".join(numbers[:3])
    if ledger.periods is None or _path_of(on, numbers[3]) != path:
        return None
    return ledger.periods.published(on, int(numbers[3]))


def _path_of(on: str, revision: str) -> str | None:
    """Where the map would be; None for what is no day. A map has one path only."""
    try:
        return map_path(on, int(revision))
    except ValueError:
        return None


def _tile(log: Log, wanted: Tile) -> bytes | None:
    if wanted.level is not None:
        return log.tile(wanted.level, wanted.index, wanted.width)
    start = wanted.index * TILE_WIDTH
    leaves = log.leaves(start, start + wanted.width)
    return None if leaves is None else encode_bundle(leaves)


def _refusal(message: str, hint: str | None, status: int = 400) -> Response:
    return JSONResponse({"error": {"message": message, "hint": hint}}, status)


def _is_local(request: Request) -> bool:
    # A reverse proxy on this machine makes every client look local: its example forwards POST / only.
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
