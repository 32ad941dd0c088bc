"""`countenance witness serve`: a witness behind a socket, for partners of a log's operator.

Knows HTTP; does not know what is signed and why (`ledger.witness`), nor anything of the face recognition server: it
runs without models, settings and database. Bodies, headers, time and connections are bounded, since anybody may ask.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from countenance_audit.note import VerifierKey
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from countenance.errors import Error
from countenance.ledger.witness import MAX_BODY_BYTES, Witness
from countenance.ledger.witness_key import STATE_FOLDER, open_signer
from countenance.server.connection import within

HEADER_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 10.0
"""How long a client may take to send its body: a request is under 10 KiB."""
MAX_CONNECTIONS = 256
"""Then a client is told 503. Each log of a witness asks about once a minute."""
KEEP_ALIVE_S = 75
"""Longer than the minute between two checkpoints of a log."""
SHUTDOWN_GRACE_S = 10
STARTED_POLL_S = 0.01
"""How often start-up looks whether the server listens; uvicorn offers no event for it."""

_log = logging.getLogger(__name__)


class _CannotListen(Error):
    """The address is taken or not ours."""


class _Server(uvicorn.Server):
    """Leaves signals to `_answer`: uvicorn would end the process with the signal it got."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def witness_app(witness: Witness, *, body_timeout_s: float = BODY_TIMEOUT_S) -> Starlette:
    """`POST /add-checkpoint` and `GET /healthz`."""

    async def add_checkpoint(request: Request) -> Response:
        body = bytearray()
        try:
            async with asyncio.timeout(body_timeout_s):
                async for part in request.stream():
                    body += part
                    if len(body) > MAX_BODY_BYTES:
                        return _closing(f"The request is longer than {MAX_BODY_BYTES} bytes.", 400)
        except TimeoutError:
            return _closing("The request took too long to arrive.", 408)
        except ClientDisconnect:
            return _closing("", 400)  # nobody reads it
        try:
            answer = await asyncio.to_thread(witness.add_checkpoint, bytes(body))
        except (Error, OSError) as error:
            _log.error("nothing was signed: %s", error)
            return PlainTextResponse("The witness cannot use its state; nothing was signed.\n", 500)
        # Not by `media_type`: Starlette would add a charset to text/x.tlog.size.
        return Response(answer.body, answer.status, {"content-type": answer.content_type})

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ]
    )


def witness_server(app: Starlette) -> uvicorn.Server:
    """The server of such an application, which leaves signals alone."""
    return _Server(
        uvicorn.Config(
            app,
            http=within(HEADER_TIMEOUT_S),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        )
    )


def serve_witness(
    folder: Path, host: str, port: int, trusted: Mapping[str, VerifierKey], *, name: str | None = None
) -> int:
    """Runs the witness in a folder until SIGINT or SIGTERM; returns the exit status. Makes its key on first start.

    Args:
        port: 0 takes any free one.
        trusted: verifier keys by the origin they sign for.
        name: of the witness, for its key; needed by nobody but those who read it.

    Raises:
        Error: it cannot start.
    """
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    signer = open_signer(folder, name=name, create=True)
    witness = Witness(folder / STATE_FOLDER, signer, trusted)
    for origin in trusted:
        witness.latest(origin)  # a damaged state is told now, and not to the first log that asks
    listener = _listen(host, port)
    try:
        asyncio.run(_answer(witness_server(witness_app(witness)), listener, signer.witness))
    finally:
        listener.close()
    return 0


async def _answer(server: uvicorn.Server, listener: socket.socket, key: VerifierKey) -> None:
    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([listener]))
        while not server.started and not server.should_exit:
            await asyncio.sleep(STARTED_POLL_S)
        address, number = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        print(key, flush=True)  # noqa: T201 -- what whoever started it hands to those who shall trust it
        print(  # noqa: T201 -- for the person who typed the command
            f"Witness {key.name} answers on http://{shown}:{number}/add-checkpoint. Stop with Ctrl-C.",
            file=sys.stderr,
            flush=True,
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's algorithm off only on sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise _CannotListen(
            f"Cannot listen on {host} port {port}: {error.strerror}.",
            hint="give an address of this machine with --host and a free port with --port",
        ) from None
    return listener


def _closing(text: str, status: int) -> Response:
    """An answer to a request that was not read to its end."""
    return PlainTextResponse(f"{text}\n", status, {"connection": "close"})
