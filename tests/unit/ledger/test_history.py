"""At the start the log is compared with what mirrors and witnesses have seen of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from countenance_audit.checkpoint import cosign, verify_cosignature
from countenance_audit.errors import Malformed
from countenance_audit.keeping import mirror
from countenance_audit.note import Signer
from countenance_audit.policy import TrustPolicy
from tests.unit.ledger.logs import NOW_S, Opened, call

from countenance.ledger import Log, LogBehind, Witnessing, history, witnessing
from countenance.ledger.copies import Copies
from countenance.ledger.recover import close
from countenance.ledger.tree import Tree
from countenance.ledger.witness import Witness
from countenance.ledger.witness_client import WitnessClient
from countenance.server.witness import witness_app, witness_server
from countenance.store import SqliteDatabase


class Served:
    """A witness behind a socket."""

    def __init__(self, folder: Path, log: Log) -> None:
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


@pytest.mark.parametrize(
    "junk", [b"", b"<html>404</html>\n", b"\xff\xfe", b"a.example/log\n1\n\n\xe2\x80\x94 a AAAAAA==\n"]
)
def test_what_is_no_checkpoint_of_this_log_does_not_keep_it_from_starting(
    opened: Opened, tmp_path: Path, junk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "checkpoint").write_bytes(junk)
    history.compare_outside(opened.log, mirrors=[str(tmp_path / "mirror")])
    assert "was not compared with" in caplog.text


def test_the_mirror_of_a_log_that_ended_is_not_compared_with(
    opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened.grow(3)
    mirror(opened.fetch, tmp_path / "mirror", opened.policy())
    opened.database.close()
    database = SqliteDatabase(opened.folder / "countenance.db")
    close(database, opened.keyring, opened.folder, Copies(), reason="moved", successor="log.example/second")
    database.close()
    opened.origin = None
    opened.open()
    history.compare_outside(opened.log, mirrors=[str(tmp_path / "mirror")])
    assert "it is of log.example/unit, not of log.example/second" in caplog.text


def test_nothing_is_signed_or_kept_before_the_comparison(opened: Opened, tmp_path: Path) -> None:
    opened.grow(3)
    opened.keep()
    opened.grow(5)
    mirror(opened.fetch, tmp_path / "mirror", opened.policy())
    opened.put_back(unseen=True)
    database = SqliteDatabase(opened.folder / "countenance.db")

    def look(log: Log) -> None:
        history.compare_outside(log, mirrors=[str(tmp_path / "mirror")])

    with pytest.raises(LogBehind):
        Log(database, opened.keyring, opened.folder, before_writing=look)
    assert database.read().execute("SELECT max(size) FROM log_checkpoints").fetchone() == (4,)
    assert database.read().execute("SELECT count(*) FROM log_leaves").fetchone() == (4,)
    assert not (opened.folder / "high-water").exists()
    database.close()


def test_those_that_are_away_or_silent_do_not_keep_it_from_starting(opened: Opened, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
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


class Asked(WitnessClient):
    """A witness that answers when it is let."""

    def __init__(self, name: str, *, is_free: bool) -> None:
        self.signer = Signer(name, name.encode()[:1] * 32)
        super().__init__("http://127.0.0.1:9", self.signer.witness)
        self.free = threading.Event()
        self.signed: list[int] = []
        if is_free:
            self.free.set()

    def submit(self, note: bytes, size: int, proof_from: object, old: int | None = None) -> str:
        self.free.wait(30)
        self.signed.append(size)
        return cosign(note, self.signer, NOW_S)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_that_hangs_keeps_no_other_from_signing_and_its_late_signature_counts(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnessing, "EVERY_S", 0.01)
    slow, quick = Asked("slow.example", is_free=False), Asked("quick.example", is_free=True)
    policy = TrustPolicy.parse(
        f"witness s {slow.signer.witness} {slow.url}\nwitness q {quick.signer.witness} {quick.url}\n"
        "group both all s q\nquorum both\n"
    )
    opened.grow(3)
    asking = Witnessing(opened.log, policy, now_s=lambda: float(NOW_S))
    asking.clients = {"s": slow, "q": quick}
    asking.start()
    try:
        until(lambda: quick.signed == [4])
        opened.grow(2)
        until(lambda: quick.signed == [4, 6])
        assert slow.signed == []
        assert asking.quorum_s is None
        slow.free.set()
        until(lambda: 4 in slow.signed and asking.quorum_s == NOW_S)
        first = opened.log.storage.checkpoint_over(4)
        assert first is not None
        assert first.count("—".encode()) == 3
        until(lambda: slow.signed == [4, 6])
        until(lambda: opened.log.checkpoint()[1].count("—".encode()) == 3)
    finally:
        slow.free.set()
        asking.stop()
    opened.again()  # the high-water checkpoint is the latest one


def test_a_stop_does_not_wait_for_one_that_hangs(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnessing, "EVERY_S", 0.01)
    monkeypatch.setattr(witnessing, "STOP_PATIENCE_S", 0.1)
    hung = [Asked(f"{name}.example", is_free=False) for name in "ab"]
    policy = TrustPolicy.parse(
        "".join(f"witness {each.key.name} {each.key} {each.url}\n" for each in hung) + "quorum none\n"
    )
    asking = Witnessing(opened.log, policy)
    asking.clients = {each.key.name: each for each in hung}
    asking.start()
    began = time.monotonic()
    asking.stop()
    assert time.monotonic() - began < 10  # they would take 30 each
    for each in hung:
        each.free.set()


def test_a_bug_does_not_end_the_asking(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnessing, "EVERY_S", 0.01)
    witness = Asked("w.example", is_free=True)
    policy = TrustPolicy.parse(f"witness w {witness.key} {witness.url}\nquorum w\n")
    asking = Witnessing(opened.log, policy)
    asking.clients = {"w": witness}
    checkpoint, calls = opened.log.checkpoint, []

    def fails_once() -> tuple[int, bytes]:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return checkpoint()

    monkeypatch.setattr(opened.log, "checkpoint", fails_once)
    asking.start()
    until(lambda: witness.signed)
    asking.stop()


def test_a_witness_has_one_line_on_a_checkpoint_and_no_line_spoils_it(opened: Opened) -> None:
    opened.grow(3)
    size, note = opened.log.checkpoint()
    signer = Signer("w.example", b"w" * 32)
    for second in range(3):
        opened.log.cosigned(size, cosign(note, signer, NOW_S + second))
    assert verify_cosignature(opened.log.checkpoint()[1], signer.witness) == NOW_S
    for number in range(98):  # the note has room for 100
        opened.log.cosigned(size, cosign(note, Signer(f"w{number}.example", b"w" * 32), NOW_S))
    full = opened.log.checkpoint()[1]
    with pytest.raises(Malformed):
        opened.log.cosigned(size, cosign(note, Signer("more.example", b"w" * 32), NOW_S))
    assert opened.log.checkpoint()[1] == full
    assert opened.log.cosigned(size + 1, cosign(note, signer, NOW_S)) is None
    assert opened.again().checkpoint()[1] == full


@pytest.fixture
def beside(opened: Opened) -> Iterator[Log]:
    """The log of another process over the same database."""
    opened.database.close()
    database = SqliteDatabase(opened.folder / "countenance.db", is_shared=True)
    yield Log(database, opened.keyring, opened.folder, origin=opened.origin)
    database.close()


def shared(opened: Opened) -> Opened:
    opened.database = SqliteDatabase(opened.folder / "countenance.db", is_shared=True)
    opened.log = Log(opened.database, opened.keyring, opened.folder, origin=opened.origin)
    return opened


def test_what_others_write_and_sign_while_a_log_is_opened_does_not_stop_it(
    opened: Opened, beside: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Log._loaded
    overtakings = 0

    def overtaken(log: Log) -> Tree:
        nonlocal overtakings
        tree = loaded(log)
        if log is not beside:
            beside.append(call(7))
            beside.publish()
            overtakings += 1
        return tree

    monkeypatch.setattr(Log, "_loaded", overtaken)
    assert shared(opened).log.size == beside.size
    assert overtakings == 1
    opened.log.append(call(8))
    assert opened.log.publish()[0] == beside.size


def test_a_mirror_that_is_served_by_another_process_meanwhile_does_not_stop_a_start(
    opened: Opened, beside: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared(opened)
    fetched = history.mirrored_checkpoint

    def overtaken(location: str) -> bytes:
        beside.append(call(7))
        beside.publish()
        mirror(opened.fetch, Path(location), opened.policy())
        return fetched(location)

    monkeypatch.setattr(history, "mirrored_checkpoint", overtaken)
    history.compare_outside(opened.log, mirrors=[str(tmp_path / "mirror")])
    assert (tmp_path / "mirror" / "checkpoint").read_bytes() == beside.checkpoint()[1]


def test_a_witness_that_signs_for_another_process_meanwhile_does_not_stop_a_start(
    opened: Opened, beside: Log, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared(opened)
    opened.log.publish()
    client, other = served.client(), served.client()
    submit, sizes = client.submit, list[int]()

    def overtaken(note: bytes, size: int, *more: Any) -> str:
        sizes.append(size)
        if len(sizes) == 1:
            beside.append(call(7))
            longer, signed = beside.publish()
            other.submit(signed, longer, lambda old: beside.consistency(old, longer))
        return submit(note, size, *more)

    monkeypatch.setattr(client, "submit", overtaken)
    history.compare_outside(opened.log, witnesses=[client])
    assert sizes == [1, 2]
    assert opened.log.checkpoint()[0] == 2
    assert opened.log.checkpoint()[1].count("—".encode()) == 2
