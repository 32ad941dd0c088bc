"""A connection to PostgreSQL that meets the stores' contract.

The driver's errors are put into words here, at once: nothing above knows the driver. A connection for reading that was
lost is made again, and its statement asked again, where no transaction was open: whoever reads does not see that the
database was restarted. A writing connection is made again only at the beginning of a transaction (`session`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader

from countenance.store.failures import DatabaseError
from countenance.store.postgres.dialect import translated
from countenance.store.sql import ConstraintBroken, Cursor

CONNECT_S: Final = 5
"""How long a connection may take to be made: several attempts of TCP within a data centre."""
SILENT_MS: Final = 10_000
"""How long sent data may stay unacknowledged before the connection counts as lost (tcp_user_timeout of libpq)."""
KEEPALIVE_IDLE_S, KEEPALIVE_AGAIN_S, KEEPALIVE_COUNT = 5, 2, 3
"""A node finds out within 11 s that the machine of the database is gone while it waits for an answer."""
PORTION: Final = 4_096
"""Rows that a cursor of the server hands over at once."""
UTF8: Final = "UTF8"
STANDBY: Final = "The database takes no changes: it is a standby."
STANDBY_HINT: Final = "Name the primary in the setting `database`."


class _WholeNumbers(NumericBinaryLoader):
    """Sums are `numeric` in PostgreSQL; all that the stores sum are whole numbers."""

    def load(self, data: Any) -> Any:
        return int(super().load(data))


class _Rows(psycopg.RawCursor[Any]):
    """A cursor that has no rows where the statement gave none, as SQLite's, instead of an error."""

    def fetchone(self) -> Any:
        return None if self.description is None else super().fetchone()

    def fetchmany(self, size: int | None = None) -> list[Any]:
        return [] if self.description is None else super().fetchmany(size or PORTION)

    def fetchall(self) -> list[Any]:
        return [] if self.description is None else super().fetchall()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(self.fetchall())


def connect(url: str, *, settings: dict[str, str], name: str) -> psycopg.Connection[Any]:
    """A connection outside of a transaction, with these settings of the session beside those of the address.

    Never one to a standby: what it says is late, and who reads there would find what was deleted.

    Raises:
        DatabaseError: there is none to be had.
    """
    try:
        told = conninfo_to_dict(url)
    except psycopg.Error:
        raise DatabaseError(
            "The setting `database` is no address that PostgreSQL's library can read.",
            hint="postgresql://user@host/name?sslmode=verify-full, with what else libpq takes",
        ) from None  # it would carry the address
    own = [f"-c {each}={value}" for each, value in settings.items()]
    of_address = str(told.get("options") or os.environ.get("PGOPTIONS", ""))
    hosts = str(told.get("host") or told.get("hostaddr") or "")
    several: dict[str, Any] = {"target_session_attrs": "primary"} if "," in hosts else {}
    try:
        made = psycopg.connect(
            url,
            **several,
            autocommit=True,
            connect_timeout=CONNECT_S,
            tcp_user_timeout=SILENT_MS,
            application_name=name,
            options=" ".join(filter(None, [of_address, *own])),
            keepalives=1,
            keepalives_idle=KEEPALIVE_IDLE_S,
            keepalives_interval=KEEPALIVE_AGAIN_S,
            keepalives_count=KEEPALIVE_COUNT,
        )
    except psycopg.Error as failure:
        raise _refusal(failure) from None  # the chain would carry the address, and a password in it
    if made.info.parameter_status("in_hot_standby") == "on":
        made.close()
        raise DatabaseError(STANDBY, hint=STANDBY_HINT)
    made.adapters.register_dumper(int, Int8BinaryDumper)
    made.adapters.register_loader("numeric", _WholeNumbers)
    return made


class PostgresConnection:
    """What the stores get. Belongs to one thread at a time.

    Args:
        make: makes the connection, at the first use and after it was lost.
        heals: whether it is made anew by itself when it was lost, and a statement outside of a transaction asked again:
            for reading only. Otherwise `renew` makes it, and nothing else.
    """

    def __init__(self, make: Callable[[], psycopg.Connection[Any]], *, heals: bool) -> None:
        self._make = make
        self._heals = heals
        self._driver: psycopg.Connection[Any] | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether one is open, one that failed included; false once the connection is lost."""
        return self._driver is not None and self._driver.info.transaction_status in (
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
            TransactionStatus.ACTIVE,
        )

    @property
    def is_lost(self) -> bool:
        """Whether there is no connection."""
        return self._driver is None or self._driver.closed or self._driver.broken

    def execute(self, said: str, parameters: Sequence[Any] | None = None, /) -> _Rows:
        was_inside = self.in_transaction
        try:
            return self._run(said, parameters)
        except psycopg.Error as failure:
            if not self._heals or was_inside or not self.is_lost:
                raise meaning_of(failure) from _shown(failure)
        try:
            return self._run(said, parameters)
        except psycopg.Error as failure:
            raise meaning_of(failure) from _shown(failure)

    def executemany(self, said: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        try:
            cursor = _Rows(self._open())
            cursor.executemany(translated(said), parameters)
        except psycopg.Error as failure:
            raise meaning_of(failure) from _shown(failure)
        return cursor

    def stream(self, said: str, parameters: Sequence[Any]) -> Iterator[list[Any]]:
        """Rows in portions from a cursor of the server: a client's would hold all of them. In a transaction only."""
        try:
            with psycopg.RawServerCursor(self._open(), "countenance") as cursor:
                cursor.execute(translated(said), parameters, binary=True)
                while rows := cursor.fetchmany(PORTION):
                    yield rows
        except psycopg.Error as failure:
            raise meaning_of(failure) from _shown(failure)

    def copy_in(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Put rows into a table at once, with COPY: several times as fast as one by one."""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        said = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
        try:
            with self._open().cursor() as cursor, cursor.copy(said) as copy:
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as failure:
            raise meaning_of(failure) from _shown(failure)

    def rewrite(self, table: str) -> bool:
        """Write a table anew, outside of a transaction; whether nothing is left in it of rows that are gone. As long as
        a snapshot of whoever is connected can see them, they are copied as well."""
        left: list[int] = []

        def note(told: errors.Diagnostic) -> None:
            # "0 dead row versions cannot be removed yet.", in whatever language
            if (found := re.search(r"\d+", told.message_detail or "")) is not None:
                left.append(int(found[0]))

        try:
            driver = self._open()
            driver.add_notice_handler(note)
            try:
                self._run(f"VACUUM (FULL, VERBOSE) {table}", None)
            finally:
                driver.remove_notice_handler(note)
        except psycopg.Error as failure:
            raise meaning_of(failure) from _shown(failure)
        return bool(left) and not any(left)

    def renew(self) -> None:
        """Let go of the connection, if there is one, and make another. Raises DatabaseError."""
        self.close()
        self._driver = self._make()

    def close(self) -> None:
        """Let go of the connection; never raises."""
        driver, self._driver = self._driver, None
        if driver is not None:
            with suppress(psycopg.Error):  # it is gone
                driver.close()

    def _run(self, statement: str, parameters: Sequence[Any] | None) -> _Rows:
        cursor = _Rows(self._open())
        said = translated(statement)
        # without parameters, several statements may come at once, which the extended protocol does not take
        if parameters:
            cursor.execute(said, parameters, binary=True)
        elif ";" in said.rstrip("; \n"):
            cursor.execute(said)
        else:
            cursor.execute(said, binary=True)
        return cursor

    def _open(self) -> psycopg.Connection[Any]:
        if self.is_lost and not self._heals:
            # A new one has no transaction open: what was begun would go on outside of any, statement by statement.
            raise psycopg.OperationalError("the connection was lost")
        if self.is_lost:
            self.renew()
        assert self._driver is not None
        return self._driver


def meaning_of(failure: psycopg.Error) -> Exception:
    """What a failure of the driver means, in words that carry no SQL, no row and no address."""
    state = failure.sqlstate or ""
    if isinstance(failure, errors.IntegrityError):
        return ConstraintBroken(f"A row breaks a constraint of its table ({state}).")
    if (known := _in_words(state)) is not None:
        return known
    if isinstance(failure, psycopg.OperationalError):
        return DatabaseError(
            "The database cannot be reached, or the connection to it was lost.",
            hint="Look whether PostgreSQL runs and what its log says; the address is the setting `database`.",
        )
    return DatabaseError(
        f"The database refused a statement ({state or type(failure).__name__}).",
        hint="This is a defect: please report it.",
    )


def _shown(failure: psycopg.Error) -> psycopg.Error | None:
    """What may be logged as the cause: not what names values of the row, as "Key (user_id)=(...) already exists"."""
    return None if isinstance(failure, errors.IntegrityError | errors.DataError) else failure


def _refusal(failure: psycopg.Error) -> Exception:
    """What it means that no connection was made: libpq hands out no SQLSTATE for that, only what the server said."""
    for said, state in _AT_THE_DOOR:
        if re.search(said, str(failure)) and (known := _in_words(state)) is not None:
            return known
    return meaning_of(failure)


def _in_words(state: str) -> DatabaseError | None:
    for begins, message, hint in _WORDS:
        if state.startswith(begins):
            return DatabaseError(message, hint=hint)
    return None


_AT_THE_DOOR: Final = (
    ('authentication failed|no password supplied|no pg_hba.conf entry|role ".*" does not exist', "28"),
    ('database ".*" does not exist', "3D000"),
    ("permission denied for database", "42501"),
    ("too many clients|remaining connection slots", "53300"),
    ("in hot standby mode", "25006"),
)
"""What a server says in English that lets nobody in, and the SQLSTATE of it."""
_WORDS: Final = (
    ("53100", "The disk under PostgreSQL is full; nothing was changed.", "Free space there and try again."),
    ("53200", "PostgreSQL ran out of memory; nothing was changed.", "Give it more memory."),
    ("53300", "PostgreSQL has no connection left.", "Raise max_connections: a node takes one for each worker thread."),
    ("55P03", "Others held the database for too long; nothing was changed.", "Try again."),
    ("57014", "A statement took too long and was given up; nothing was changed.", "Try again."),
    ("25P03", "This node was away for too long while it wrote; nothing was changed.", "Try again."),
    ("25006", STANDBY, STANDBY_HINT),
    ("28", "PostgreSQL does not let this node in.", "Look at the user and the password in the setting `database`."),
    ("3D000", "There is no database of that name.", "`createdb` makes one; its name is in the setting `database`."),
    (
        "42501",
        "The database's user may not do this.",
        "It has to own the schema: GRANT CREATE, or ALTER SCHEMA ... OWNER.",
    ),
    ("XX001", "The database is damaged.", "Stop the nodes, keep a copy of its files, and restore the latest backup."),
    ("XX002", "An index of the database is damaged.", "Stop the nodes and look at it with amcheck; REINDEX mends it."),
)
"""Beginnings of SQLSTATE (PostgreSQL, appendix A), what they mean, and what to do."""
