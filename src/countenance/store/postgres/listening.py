"""LISTEN: a connection on which PostgreSQL says what the transactions of other nodes told, right after their commit."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import psycopg

from countenance.store.postgres.connection import meaning_of

CHANNEL: Final = "countenance"
TELL: Final = f"SELECT pg_notify('{CHANNEL}', ?)"
"""In a transaction; what it says goes out with the commit, once however often it was said."""


class Listening:
    """`Ears` of a node.

    Args:
        connect: makes a connection outside of a transaction.
        node: whose own words are not heard.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], node: str) -> None:
        self._node = node
        self._connection = connect()
        self._woken, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error as failure:
            self.close()
            raise meaning_of(failure) from failure

    def wait(self, limit_s: float) -> frozenset[str] | None:
        try:
            heard = self._heard()
            if heard:
                return heard
            ready, _, _ = select.select([self._connection.fileno(), self._woken], [], [], limit_s)
            if self._woken in ready:
                with suppress(BlockingIOError):
                    os.read(self._woken, 64)
            return self._heard()
        except psycopg.Error as failure:
            raise meaning_of(failure) from failure

    def wake(self) -> None:
        with suppress(OSError):  # it is full, or closed
            os.write(self._wakes, b"!")

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._connection.close()
        for each in (self._woken, self._wakes):
            os.close(each)

    def _heard(self) -> frozenset[str]:
        self._connection.pgconn.consume_input()
        heard = set()
        while (notice := self._connection.pgconn.notifies()) is not None:
            node, _, what = notice.extra.decode("utf-8", "replace").partition(" ")
            if node != self._node:
                heard.add(what)
        return frozenset(heard)
