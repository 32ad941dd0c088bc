"""Passes what comes on one port on to another, as a process of its own: `python relay.py LISTEN TO`."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress


def pump(source: socket.socket, target: socket.socket) -> None:
    """One direction of one connection."""
    try:
        while part := source.recv(65_536):
            target.sendall(part)
    except OSError:
        pass
    finally:
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def relay(listen: int, to: int) -> None:
    """Until it is killed."""
    with socket.create_server(("127.0.0.1", listen)) as server:
        while True:
            near, _ = server.accept()
            try:
                far = socket.create_connection(("127.0.0.1", to))
            except OSError:
                near.close()
                continue
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=pump, args=(one, other), daemon=True).start()


if __name__ == "__main__":
    relay(int(sys.argv[1]), int(sys.argv[2]))
