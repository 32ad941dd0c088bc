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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from countenance.assembly import Assembled, open_service, prepared, write_client_config
from countenance.config import Settings
from countenance.errors import Error
from countenance.pipeline import Outcome, Pipeline
from countenance.server.app import Readiness, admin_app, metrics_app, public_app
from countenance.server.aws import AwsDoor
from countenance.server.connection import within
from countenance.server.metrics import Metrics
from countenance.server.nodes import NodeDoor
from countenance.server.pages import fetched, merged
from countenance.server.workers import Told, Workers

KEEP_ALIVE_S = 65
"""AWS SDKs keep idle connections for a minute; closing earlier than they do makes their next call fail."""
LISTEN_BACKLOG = 2048
"""uvicorn's default."""
ADMIN_SOCKET = "admin.sock"
WORKER_SOCKET = "worker-{}.sock"
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
        if settings.workers > 1:
            _serve_with_workers(settings, listener, started)
        else:
            _serve_alone(settings, listener, started)
    finally:
        listener.close()
    return 0


def _serve_alone(settings: Settings, listener: socket.socket, started: float) -> None:
    with open_service(settings) as assembled, _unix_listener(settings.data_dir / ADMIN_SOCKET) as admin:

        def ready() -> None:
            _announce(settings, listener, _state_of(assembled), time.monotonic() - started)

        asyncio.run(_answer(settings, assembled, listener, ready, admin))


def _serve_with_workers(settings: Settings, listener: socket.socket, started: float) -> None:
    """The first worker answers administrators as well; each has a socket on which the others ask for its metrics."""
    data, count = settings.data_dir, settings.workers
    with ExitStack() as stack:
        share = stack.enter_context(prepared(settings))
        admin = stack.enter_context(_unix_listener(data / ADMIN_SOCKET))
        own = [stack.enter_context(_unix_listener(data / WORKER_SOCKET.format(number + 1))) for number in range(count)]
        for each in (listener, admin, *own):
            each.listen(LISTEN_BACKLOG)  # or a client that is earlier than the workers is refused

        def work(number: int, ready: Callable[[Told], None]) -> None:
            role = f"worker {number + 1} of {count}"
            with open_service(settings, share, role=role) as assembled:
                asyncio.run(
                    _answer(
                        settings,
                        assembled,
                        listener,
                        lambda: ready(_state_of(assembled)),
                        admin if number == 0 else None,
                        (number + 1, own[number]),
                    )
                )

        Workers(count, work, grace_s=settings.shutdown_grace_s).run(
            lambda told: _announce(settings, listener, told[0], time.monotonic() - started)
        )


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


async def _answer(
    settings: Settings,
    assembled: Assembled,
    listener: socket.socket,
    ready: Callable[[], None],
    admin_listener: socket.socket | None,
    worker: tuple[int, socket.socket] | None = None,
) -> None:
    """Answers until SIGINT or SIGTERM.

    Args:
        ready: called once calls are answered.
        admin_listener: None for a worker that answers no administrators.
        worker: the number of this one of several, and where it gives out its own metrics.
    """
    metrics = Metrics(assembled)
    page = metrics.render if worker is None else _page_of_all(settings, metrics, worker[0])

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
    node_door = None
    if worker is None and assembled.register.database.is_shared:
        answering = assembled.gallery.answering
        node_door = NodeDoor(answering, workers=settings.worker_threads, body_timeout_s=settings.body_timeout_s)
    server = _server(
        public_app(settings, assembled, door, page, readiness, node_door),
        settings,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    servers = [(server, listener)]
    if admin_listener is not None:
        servers.append((_server(admin_app(pipeline), settings), admin_listener))
    if worker is not None:
        servers.append((_server(metrics_app(metrics.render), settings), worker[1]))

    def stop() -> None:
        readiness.stopping = True
        assembled.address.clear()
        for each, _ in servers:
            each.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        async with asyncio.TaskGroup() as tasks:
            for each, channel in servers:
                tasks.create_task(each.serve([channel]))
            while not all(each.started for each, _ in servers) and not readiness.stopping:
                await asyncio.sleep(STARTED_POLL_S)
            if not readiness.stopping:
                # The listener of workers is that of all of them: no other node could ask a certain one.
                address = "" if node_door is None else settings.node_url or _address(settings, listener)
                await asyncio.to_thread(assembled.announce, address)
            ready()
    finally:
        await asyncio.to_thread(door.close)
        if node_door is not None:
            await asyncio.to_thread(node_door.close)


def _page_of_all(settings: Settings, metrics: Metrics, number: int) -> Callable[[], bytes]:
    """What gives the metrics of all workers out, each sample with the label of its worker."""

    def page() -> bytes:
        found: dict[int, bytes | None] = {number: metrics.render()}
        for other in range(1, settings.workers + 1):
            if other != number:
                found[other] = fetched(settings.data_dir / WORKER_SOCKET.format(other))
        return merged(found)

    return page


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
            limit_concurrency=-(-settings.max_connections // settings.workers),
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


@contextmanager
def _unix_listener(path: Path) -> Iterator[socket.socket]:
    listener = _listen_at(path)
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _listen_at(path: Path) -> socket.socket:
    if len(os.fsencode(path.absolute())) > SOCKET_PATH_LIMIT:
        raise _CannotListen(
            f"The path of the socket {path.absolute()} is too long for the system.",
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


def _state_of(assembled: Assembled) -> Told:
    return {"faces": assembled.gallery.stats().references, "rebuilt_s": assembled.rebuilt.seconds}


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


def _announce(settings: Settings, listener: socket.socket, told: Told, seconds: float) -> None:
    host = listener.getsockname()[0]
    endpoint = _address(settings, listener, _FROM_HERE.get(host, host))
    data = settings.data_dir
    quoted = shlex.quote(str(data))
    write_client_config(data, region=settings.region, endpoint_url=endpoint)
    workers = f" with {settings.workers} workers" if settings.workers > 1 else ""
    print(  # noqa: T201 -- for the person who typed the command
        f"""Countenance is ready on {endpoint} after {seconds:.1f} s{workers} \
({told["faces"]} faces enrolled; search index rebuilt in {told["rebuilt_s"]:.1f} s).

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
