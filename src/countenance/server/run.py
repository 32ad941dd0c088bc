"""`countenance serve`: start, announce, answer until told to stop, stop without losing anything."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from countenance.assembly import Assembled, open_service, write_client_config
from countenance.config import Settings
from countenance.errors import Error
from countenance.pipeline import Outcome, Pipeline
from countenance.server.app import Readiness, admin_app, public_app
from countenance.server.aws import AwsDoor
from countenance.server.connection import within
from countenance.server.metrics import Metrics
from countenance.server.nodes import NodeDoor

KEEP_ALIVE_S = 65
"""AWS SDKs keep idle connections for a minute; closing earlier than they do makes their next call fail."""
LISTEN_BACKLOG = 2048
"""uvicorn's default."""
ADMIN_SOCKET = "admin.sock"
STARTED_POLL_S = 0.01
"""How often start-up looks whether both servers listen; uvicorn offers no event for it."""
SOCKET_PATH_LIMIT = 107
"""Bytes in `sockaddr_un.sun_path` on Linux, less the ending NUL (unix(7))."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""The parameters' numbers in glibc's malloc.h."""
LARGE_BLOCK = 4 * 1024 * 1024
"""Bytes of a block that is the system's own again once freed: the pixels of a 1200 x 1200 picture. What every call
needs (a canvas is 1.2 MB, the network's input 2.1 MB) stays below and is reused."""

_HOW_TO_LISTEN = {
    errno.EADDRINUSE: "stop what uses the port, or choose another with --port",
    errno.EADDRNOTAVAIL: "give an address of this machine with --host",
    errno.EACCES: "ports below 1024 are for root; choose another with --port",
}

_log = logging.getLogger("countenance.requests")


class _Server(uvicorn.Server):
    """Leaves signals alone: one handler in `_answer` stops both servers, in the right order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _CannotListen(Error):
    """The address is taken or not ours."""


def serve(settings: Settings) -> int:
    """Runs the server until SIGINT or SIGTERM; returns the exit status. Raises Error when it cannot start."""
    settings.validate()
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    started = time.monotonic()
    _tame_the_heap()
    listener = _listen(settings)
    try:
        with open_service(settings) as assembled:
            asyncio.run(_answer(settings, assembled, listener, started))
    finally:
        listener.close()
    return 0


def _tame_the_heap() -> None:
    """Keeps one heap for all worker threads and large pictures out of it, where the C library is glibc.

    By default each thread gets a heap of its own, and each keeps what its largest picture took: sixteen threads
    and a few large pictures grew the process from 530 to 990 MiB, against 480 to 490 with one heap. Calls took
    as long with one: threads rarely allocate at the same moment.

    And by default glibc puts blocks of up to 32 MiB into that heap once it has seen one of the size freed
    (mallopt(3), M_MMAP_THRESHOLD): a small block that comes to lie above them keeps them resident for good, which
    grew the process by 55 MiB in one of three runs of 6,000 hostile requests. The threshold for giving free memory
    back is twice that of large blocks, as glibc's own adjustment has it.
    """
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2 * LARGE_BLOCK)


async def _answer(settings: Settings, assembled: Assembled, listener: socket.socket, started: float) -> None:
    metrics = Metrics(assembled)

    def observe(outcome: Outcome) -> None:
        metrics.observe(outcome)
        _log.info(
            "%s %s %s %s %d %.1fms",
            outcome.request_id,
            outcome.account_id or "-",
            outcome.operation or "-",
            outcome.code,
            outcome.status,
            outcome.seconds * 1000,
        )

    pipeline = Pipeline(assembled.service, observe=observe)
    door = AwsDoor(
        pipeline,
        metrics,
        workers=settings.worker_threads,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        trusted_proxies=settings.trusted_proxies,
    )
    readiness = Readiness(assembled)
    nodes = None
    if assembled.answering is not None:
        nodes = NodeDoor(assembled.answering, workers=settings.worker_threads, body_timeout_s=settings.body_timeout_s)
    server = _server(
        public_app(settings, assembled, door, metrics, readiness, nodes),
        settings,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    admin = _server(admin_app(pipeline), settings)
    socket_path = settings.data_dir / ADMIN_SOCKET
    admin_listener = _listen_admin(socket_path)

    def stop() -> None:
        readiness.stopping = True
        assembled.retire()
        server.should_exit = admin.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve([listener]))
            tasks.create_task(admin.serve([admin_listener]))
            while not (server.started and admin.started) and not readiness.stopping:
                await asyncio.sleep(STARTED_POLL_S)
            if not readiness.stopping:
                assembled.announce(settings.node_url or _address(settings, listener))
            _announce(settings, assembled, listener, time.monotonic() - started)
    finally:
        await asyncio.to_thread(door.close)
        if nodes is not None:
            await asyncio.to_thread(nodes.close)
        admin_listener.close()
        socket_path.unlink(missing_ok=True)


def _server(
    app: Starlette, settings: Settings, ssl_certfile: Path | None = None, ssl_keyfile: Path | None = None
) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            app,
            http=within(settings.header_timeout_s),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # set per answer: uvicorn would add a second one
            proxy_headers=False,
            limit_concurrency=settings.max_connections,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(settings.shutdown_grace_s) or None,
            ssl_certfile=str(ssl_certfile) if ssl_certfile else None,
            ssl_keyfile=str(ssl_keyfile) if ssl_keyfile else None,
        )
    )


def _listen(settings: Settings) -> socket.socket:
    """Binds before the models load, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's algorithm off only on sockets that say they are TCP;
    # with it on, every answer waited 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except socket.gaierror as error:
        listener.close()
        raise _CannotListen(
            f"Cannot listen on {settings.host}: {error.strerror}.", hint="give an address of this machine with --host"
        ) from None
    except OSError as error:
        listener.close()
        raise _CannotListen(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}.",
            hint=_HOW_TO_LISTEN.get(error.errno or 0, "check --host and --port"),
        ) from None
    return listener


def _listen_admin(path: Path) -> socket.socket:
    if len(os.fsencode(path.absolute())) > SOCKET_PATH_LIMIT:
        raise _CannotListen(
            f"The path of the admin socket, {path.absolute()}, is too long for the system.",
            hint=f"choose a data folder whose path leaves it under {SOCKET_PATH_LIMIT + 1} bytes",
        )
    # Safe: this process owns the folder, so a socket left there belongs to nobody.
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path.absolute()))
    finally:
        os.umask(previous)
    return listener


_FROM_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared, not bound
"""A wildcard address is one to listen on, not one to call."""


def _address(settings: Settings, listener: socket.socket, host: str | None = None) -> str:
    """Where a listener is called, at its own address or another; empty where it has none that others could call."""
    bound, port = listener.getsockname()[:2]
    if host is None and bound in _FROM_HERE:
        return ""
    host = host or bound
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls_cert else 'http'}://{shown}:{port}"


def _announce(settings: Settings, assembled: Assembled, listener: socket.socket, seconds: float) -> None:
    host = listener.getsockname()[0]
    endpoint = _address(settings, listener, _FROM_HERE.get(host, host))
    data = settings.data_dir
    quoted = shlex.quote(str(data))
    write_client_config(data, region=settings.region, endpoint_url=endpoint)
    rebuilt = assembled.rebuilt
    print(  # noqa: T201 -- for the person who typed the command
        f"""Countenance is ready on {endpoint} after {seconds:.1f} s \
({assembled.gallery.stats().references} faces enrolled; search index rebuilt in {rebuilt.seconds:.1f} s).

In another shell, from this folder:

  export AWS_SHARED_CREDENTIALS_FILE={quoted}/credentials AWS_CONFIG_FILE={quoted}/config
  unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE
  aws rekognition create-collection --collection-id people
  aws rekognition list-collections

or, for programs that read the environment only:  eval "$(countenance key env --data {quoted})"
Stop with Ctrl-C.""",
        file=sys.stderr,
        flush=True,
    )
