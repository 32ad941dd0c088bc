"""At the start the log is compared with what mirrors and witnesses have seen of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from countenance_audit.keeping import mirror
from countenance_audit.policy import TrustPolicy
from tests.unit.ledger.logs import NOW_S, Opened

from countenance.ledger import Log, LogBehind, Witnessing, history
from countenance.ledger.witness import Witness
from countenance.ledger.witness_client import WitnessClient
from countenance.server.witness import witness_app, witness_server


class Served:
    """A witness behind a socket."""

    def __init__(self, folder: Path, log: Log) -> None:
        from countenance_audit.note import Signer

        self.signer = Signer("witness.example/a", b"a" * 32)
        witness = Witness(folder, self.signer, {log.origin: log.signer.verifier}, now_s=lambda: NOW_S)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.server = witness_server(witness_app(witness, body_timeout_s=0.5))
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)

    def client(self) -> WitnessClient:
        return WitnessClient(self.url, self.signer.witness)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "data")
    yield made
    made.database.close()


@pytest.fixture
def served(opened: Opened, tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path / "witness", opened.log)
    yield made
    made.close()


def test_a_mirror_and_a_witness_that_saw_the_same_let_it_start(opened: Opened, served: Served, tmp_path: Path) -> None:
    opened.grow(3)
    mirror(opened.fetch, tmp_path / "mirror", opened.policy())
    opened.grow(300)
    history.compare_outside(opened.log, mirrors=[str(tmp_path / "mirror")], witnesses=[served.client()])
    assert opened.log.checkpoint()[1].count("—".encode()) == 2  # the witness signed at once


def test_a_rollback_is_refused_by_what_a_mirror_kept(opened: Opened, tmp_path: Path) -> None:
    opened.grow(3)
    opened.keep()
    opened.grow(5)
    mirror(opened.fetch, tmp_path / "mirror", opened.policy())
    opened.put_back(unseen=True)
    opened.open()
    with pytest.raises(LogBehind, match=r"has 4 leaves; the checkpoint at the mirror .* is over 9"):
        history.compare_outside(opened.log, mirrors=[str(tmp_path / "mirror")])


def test_another_history_of_the_same_length_is_refused_by_what_a_mirror_kept(opened: Opened, tmp_path: Path) -> None:
    opened.keep()
    opened.grow(5)
    mirror(opened.fetch, tmp_path / "mirror", opened.policy())
    opened.put_back(unseen=True)
    opened.open()
    opened.grow_in_clear(8)
    with pytest.raises(LogBehind, match="not those that the checkpoint at the mirror"):
        history.compare_outside(opened.log, mirrors=[str(tmp_path / "mirror")])


def test_a_rollback_is_refused_by_what_a_witness_signed(opened: Opened, served: Served) -> None:
    opened.keep()
    opened.grow(5)
    history.compare_outside(opened.log, witnesses=[served.client()])
    opened.put_back(unseen=True)
    opened.open()
    with pytest.raises(LogBehind, match="signed 6 leaves of this log, which has 1") as refused:
        history.compare_outside(opened.log, witnesses=[served.client()])
    assert "ledger recover" in (refused.value.hint or "")


def test_a_mirror_of_another_log_is_refused(opened: Opened, tmp_path: Path) -> None:
    other = Opened(tmp_path / "other")
    try:
        mirror(other.fetch, tmp_path / "mirror", other.policy())
    finally:
        other.database.close()
    with pytest.raises(LogBehind, match="cannot be verified"):
        history.compare_outside(opened.log, mirrors=[str(tmp_path / "mirror")])


def test_those_that_are_away_or_silent_do_not_keep_it_from_starting(opened: Opened, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        from countenance_audit.note import Signer

        away = WitnessClient(url, Signer("w.example/b", b"b" * 32).witness)
        history.compare_outside(
            opened.log, mirrors=[str(tmp_path / "nowhere"), url + "/log"], witnesses=[away], patience_s=0.3
        )


# -- the witnesses afterwards


def policy_of(served: Served, quorum: str) -> TrustPolicy:
    return TrustPolicy.parse(f"witness a {served.signer.witness} {served.url}\nquorum {quorum}\n")


def test_what_was_cosigned_before_a_start_is_known_after_it(opened: Opened, served: Served) -> None:
    opened.log.publish()
    history.compare_outside(opened.log, witnesses=[served.client()])
    opened.grow(20)  # checkpoints that nobody cosigned
    opened.database.close()
    opened.open()
    known = Witnessing(opened.log, policy_of(served, "a"), now_s=lambda: NOW_S + 3600.0)
    assert known.cosigned is not None
    assert known.quorum_s == NOW_S
    assert known.warnings() == []


def test_a_day_without_a_quorum_is_warned_of_whoever_signed(opened: Opened, served: Served) -> None:
    hour = 3600.0
    late = Witnessing(opened.log, policy_of(served, "a"), now_s=lambda: NOW_S + 25 * hour)
    assert late.warnings() == ["UNWITNESSED: no quorum of witnesses has cosigned for 25 h"]
    assert Witnessing(opened.log, policy_of(served, "none"), now_s=lambda: NOW_S + 25 * hour).warnings() == []
    assert Witnessing(opened.log, None, now_s=lambda: NOW_S + 25 * hour).warnings() == []


def test_a_running_server_s_witness_that_refuses_is_told(opened: Opened, served: Served) -> None:
    opened.keep()
    opened.grow(5)
    history.compare_outside(opened.log, witnesses=[served.client()])
    opened.put_back(unseen=True)
    opened.open()
    asking = Witnessing(opened.log, policy_of(served, "a"), now_s=lambda: float(NOW_S))
    asking.start()
    try:
        deadline = time.monotonic() + 30
        while not asking.refusals and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        asking.stop()
    assert asking.warnings()[0].startswith("witness a refused: ")
