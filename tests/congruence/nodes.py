"""Galleries that answer each other over HTTP: nodes of one database, in one process."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from countenance.gallery import Share
from countenance.server.nodes import NodeDoor
from countenance.store.leases import Presence

from .samples import World, world


@contextmanager
def listening(opened: World) -> Iterator[str]:
    """Serves what other nodes ask; the address."""
    door = NodeDoor(opened.gallery.answering, workers=4, body_timeout_s=2)
    app = Starlette(routes=[Route(opened.gallery.answering.path, door.answer, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        door.close()


@contextmanager
def node(folder: Path, url: str, part: str = "", **options: Any) -> Iterator[World]:
    """A node of a PostgreSQL that has a part, says so, and answers others."""
    with ExitStack() as stack:
        opened = stack.enter_context(world(folder, postgres_url=url, share=Share.parse(part), **options))
        address = stack.enter_context(listening(opened))
        presence = Presence(opened.database, lambda: opened.gallery.announcement(address))
        presence.start()
        stack.callback(presence.stop)
        yield opened


def beside(folder: Path, name: str) -> Path:
    """A folder for another node, with the same master key."""
    other = folder / name
    other.mkdir()
    shutil.copy2(folder / "master.key", other)
    return other
