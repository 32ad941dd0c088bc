"""Two witnesses over loopback: growth is signed, forks and rollbacks are not, whatever crashes or lies."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from countenance_audit.checkpoint import Checkpoint, cosign, open_checkpoint, sign, verify_cosignature
from countenance_audit.merkle import consistency_proof, leaf_hash, range_root, root_of
from countenance_audit.note import Signer, VerifierKey
from countenance_audit.policy import TrustPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

from countenance.cli.options import Root
from countenance.cli.witness import witness as verbs
from countenance.errors import Error
from countenance.ledger import witness as module
from countenance.ledger.witness import MAX_BODY_BYTES, SIZE_TYPE, Answer, Witness, WitnessStateError
from countenance.ledger.witness_client import WitnessClient, WitnessRefused, WitnessUnavailable
from countenance.ledger.witness_key import open_signer
from countenance.server.witness import witness_app, witness_server

LOG = Signer("log.example/w", b"l" * 32)
NAME = "w.example"
SIGNER = Signer(NAME, b"w" * 32)
TIME_S = 1_790_000_000
HONEST = [leaf_hash(b"leaf %d" % number) for number in range(400)]
FORKED = [*HONEST[:5], *(leaf_hash(b"other %d" % number) for number in range(395))]


class Tree:
    """A log of given leaf hashes."""

    def __init__(self, hashes: list[bytes]) -> None:
        self.hashes = hashes

    def subtree(self, level: int, index: int) -> bytes:
        return root_of(self.hashes[index << level : (index + 1) << level])

    def root(self, size: int) -> bytes:
        return range_root(0, size, self.subtree)

    def note(self, size: int) -> bytes:
        return sign(Checkpoint(LOG.name, size, self.root(size)), LOG)

    def proof(self, old: int, size: int) -> list[bytes]:
        return consistency_proof(old, size, self.subtree)

    def submit(self, client: WitnessClient, size: int, old: int | None = None) -> str:
        return client.submit(self.note(size), size, lambda known: self.proof(known, size), old)

    def body(self, old: int, size: int, proof: list[bytes] | None = None) -> bytes:
        given = (self.proof(old, size) if 0 < old < size else []) if proof is None else proof
        lines = [f"old {old}", *(base64.b64encode(each).decode() for each in given)]
        return "\n".join(lines).encode() + b"\n\n" + self.note(size)


TREE, FORK = Tree(HONEST), Tree(FORKED)


class Served:
    """A witness behind a socket."""

    def __init__(self, folder: Path, name: str) -> None:
        self.signer = Signer(f"witness.example/{name}", name.encode() * 32)
        self.witness = Witness(folder / name, self.signer, {LOG.name: LOG.verifier}, now_s=lambda: TIME_S)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.server = witness_server(witness_app(self.witness, body_timeout_s=0.5))
        self._thread = threading.Thread(target=self.server.run, args=([self.listener],), daemon=True)
        self._thread.start()
        while not self.server.started:
            time.sleep(0.005)

    def client(self) -> WitnessClient:
        return WitnessClient(f"http://127.0.0.1:{self.port}/", self.signer.witness)

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join()
        self.listener.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[Served]]:
    made = [Served(tmp_path, name) for name in ("a", "b")]
    yield made
    for each in made:
        each.close()


@pytest.fixture
def alone(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "alone", SIGNER, {LOG.name: LOG.verifier}, now_s=lambda: TIME_S)


# -- over HTTP


def test_growth_is_signed_by_both_and_meets_a_quorum(two: list[Served]) -> None:
    clients = [each.client() for each in two]
    for size in (0, 1, 5, 5, 17, 40):
        note = TREE.note(size)
        for client in clients:
            note += TREE.submit(client, size).encode()
    lines = [
        f"log {LOG.verifier}",
        *(f"witness {name} {each.signer.witness}" for name, each in zip("ab", two, strict=True)),
    ]
    policy = TrustPolicy.parse("\n".join([*lines, "group both all a b", "quorum both"]) + "\n")
    cosigned = policy.cosigned(note)
    assert cosigned.satisfied
    assert set(cosigned.witnesses.values()) == {TIME_S}
    # One that has the other's lines already is signed by this one all the same.
    assert clients[0].submit(note, 40, lambda _: [], 40)


@pytest.mark.parametrize("old", [None, 0, 3, 17, 99])
def test_a_client_that_forgot_goes_on_from_the_witness_s_size(two: list[Served], old: int | None) -> None:
    TREE.submit(two[0].client(), 17)
    TREE.submit(two[0].client(), 40, old)
    assert two[0].witness.latest(LOG.name).size == 40


def test_both_refuse_a_fork_and_a_rollback(two: list[Served]) -> None:
    for each in two:
        TREE.submit(each.client(), 17)
        for size in (17, 30):
            for old in (0, 17):
                with pytest.raises(WitnessRefused, match="another history of the first 17 leaves"):
                    FORK.submit(each.client(), size, old)
        with pytest.raises(WitnessRefused, match="signed 17 leaves of this log, which has 9"):
            TREE.submit(each.client(), 9)
        assert each.witness.latest(LOG.name) == Checkpoint(LOG.name, 17, TREE.root(17))
        TREE.submit(each.client(), 18)


def test_a_witness_not_set_up_for_the_log_is_no_alarm(two: list[Served]) -> None:
    other = Signer("other.example", b"o" * 32)
    for signer, status in ((other, 404), (Signer(LOG.name, b"x" * 32), 403)):
        note = sign(Checkpoint(signer.name, 1, HONEST[0]), signer)
        with pytest.raises(WitnessUnavailable, match=f"answered {status}") as caught:
            two[0].client().submit(note, 1, lambda _: [])
        assert "verifier key" in (caught.value.hint or "")


def test_the_answers_look_as_the_protocol_has_them(two: list[Served]) -> None:
    def ask(method: str, path: str, body: bytes = b"") -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", two[0].port, timeout=5)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.getheader("content-type"), answer.read()
        finally:
            connection.close()

    assert ask("GET", "/healthz")[0] == 200
    assert ask("GET", "/add-checkpoint")[0] == 405
    assert ask("POST", "/")[0] == 404
    status, _, line = ask("POST", "/add-checkpoint", TREE.body(0, 7))
    assert status == 200
    assert verify_cosignature(TREE.note(7) + line, two[0].signer.witness) == TIME_S
    assert ask("POST", "/add-checkpoint", TREE.body(0, 9)) == (409, SIZE_TYPE, b"7\n")
    assert ask("POST", "/add-checkpoint", b"x" * (MAX_BODY_BYTES + 1))[0] == 400


def test_a_body_that_does_not_come_ends(two: list[Served]) -> None:
    with socket.create_connection(("127.0.0.1", two[0].port), timeout=5) as slow:
        slow.sendall(b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 100\r\n\r\nold 0")
        assert b" 408 " in slow.recv(1000).splitlines()[0] + b" "
    TREE.submit(two[0].client(), 3)


def test_a_state_that_cannot_be_kept_is_answered_without_a_signature(
    two: list[Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "sync_folder", full)
        for _ in range(2):  # the second finds the file of the first, which was never synced
            with pytest.raises(WitnessUnavailable, match="answered 500: The witness cannot use its state"):
                TREE.submit(two[0].client(), 3)
    TREE.submit(two[0].client(), 3)


# -- the protocol's cases


def test_every_case_of_the_protocol_has_its_status(alone: Witness) -> None:
    assert alone.add_checkpoint(TREE.body(0, 7)).status == 200
    other = Signer("other.example", b"o" * 32)
    unknown = sign(Checkpoint(other.name, 7, HONEST[0]), other)
    forged = sign(Checkpoint(LOG.name, 9, HONEST[0]), Signer(LOG.name, b"x" * 32))
    renamed = TREE.note(9).replace(b"\xe2\x80\x94 log.example/w", b"\xe2\x80\x94 log.example/v")
    for status, body in (
        (404, b"old 0\n\n" + unknown),
        (403, b"old 7\n\n" + forged),
        (403, b"old 7\n\n" + renamed),
        (409, TREE.body(6, 9)),
        (409, TREE.body(0, 9)),
        (409, TREE.body(8, 9)),
        (400, TREE.body(9, 8, [])),
        (422, TREE.body(7, 9, [HONEST[0]])),
        (422, TREE.body(7, 9, [])),
        (422, TREE.body(7, 9, [*TREE.proof(7, 9), HONEST[0]])),
        (422, TREE.body(7, 7, [HONEST[0]])),
        (422, FORK.body(7, 9)),
        (409, FORK.body(7, 7)),
        (400, b""),
        (400, b"old 7\n"),
        (400, b"old 7\n\n"),
        (400, b"old 07\n\n" + TREE.note(9)),
        (400, b"old -1\n\n" + TREE.note(9)),
        (400, b"old  7\n\n" + TREE.note(9)),
        (400, b"old 7\r\n\n" + TREE.note(9)),
        (400, b"old \xd9\xa7\n\n" + TREE.note(9)),
        (400, b"old " + b"9" * 30 + b"\n\n" + TREE.note(9)),
        (400, b"old 7\nnonsense\n\n" + TREE.note(9)),
        (400, b"old 7\n" + b"A" * 43 + b"\xff\n\n" + TREE.note(9)),
        (400, b"old 7\n" + b"AAAA\n" + b"\n" + TREE.note(9)),
        (400, TREE.body(7, 9, [HONEST[0]] * 64)),
        (400, b"old 7\n\n" + TREE.note(9)[:-1]),
        (400, b"old 7\n\n" + TREE.note(9).replace(b"\n9\n", b"\n09\n")),
        (400, b"x" * (MAX_BODY_BYTES + 1)),
    ):
        assert alone.add_checkpoint(body).status == status, body[:60]
    assert alone.add_checkpoint(TREE.body(0, 9)) == Answer(409, SIZE_TYPE, b"7\n")
    assert alone.latest(LOG.name).size == 7
    assert alone.add_checkpoint(TREE.body(7, 7)).status == 200  # signs what it signed again
    assert alone.add_checkpoint(TREE.body(7, 9)).status == 200


def test_nothing_can_be_proved_from_the_empty_tree(alone: Witness) -> None:
    assert alone.add_checkpoint(TREE.body(0, 9, [HONEST[0]])).status == 422
    assert alone.latest(LOG.name).size == 0


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_bytes_bring_it_down_or_to_sign_a_fork(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    witness = Witness(tmp_path_factory.getbasetemp() / "hostile", SIGNER, {LOG.name: LOG.verifier})
    if witness.latest(LOG.name).size == 0:
        witness.add_checkpoint(TREE.body(0, 7))
    body = bytearray(FORK.body(data.draw(st.sampled_from([0, 7, 9])), 9))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"\n\n", b"\xe2\x80\x94 ", b"old ", b"\x00"])
        )
    assert witness.add_checkpoint(bytes(body)).status in (400, 403, 404, 409, 422)
    assert witness.latest(LOG.name) == Checkpoint(LOG.name, 7, TREE.root(7))


def test_what_proves_a_fork_is_kept_and_only_once(alone: Witness, tmp_path: Path) -> None:
    alone.add_checkpoint(TREE.body(0, 7))
    for _ in range(2):
        assert alone.add_checkpoint(FORK.body(7, 7)).status == 409
    roots = []
    for kind in ("kept", "refused"):
        (file,) = (tmp_path / "alone").glob(f"*.fork-{kind}")
        found = open_checkpoint(file.read_bytes(), LOG.verifier)
        assert found.size == 7
        roots.append(found.root)
    assert roots == [TREE.root(7), FORK.root(7)]


def test_lines_of_others_are_not_kept(alone: Witness) -> None:
    note = TREE.note(7) + cosign(TREE.note(7), Signer("x.example", b"x" * 32), TIME_S).encode()
    assert alone.add_checkpoint(b"old 0\n\n" + note).status == 200
    assert alone._file(LOG.name, "checkpoint").read_bytes() == TREE.note(7)


@pytest.mark.parametrize("key", [LOG.witness, Signer("other.example", b"o" * 32).verifier])
def test_a_key_that_cannot_sign_for_the_log_is_not_trusted(tmp_path: Path, key: VerifierKey) -> None:
    with pytest.raises(WitnessStateError):
        Witness(tmp_path, SIGNER, {LOG.name: key})


# -- crashes


def test_the_state_survives_reopening(alone: Witness, tmp_path: Path) -> None:
    alone.add_checkpoint(TREE.body(0, 9))
    again = Witness(tmp_path / "alone", SIGNER, {LOG.name: LOG.verifier})
    assert again.latest(LOG.name) == Checkpoint(LOG.name, 9, TREE.root(9))
    assert again.add_checkpoint(TREE.body(9, 12)).status == 200
    rotated = Signer(LOG.name, b"r" * 32)  # the log's key may change; what was signed under the one before stays
    later = Witness(tmp_path / "alone", SIGNER, {LOG.name: rotated.verifier})
    assert later.latest(LOG.name).size == 12


def test_the_state_is_on_disk_before_the_signature_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> str:
        raise KeyboardInterrupt

    witness = Witness(tmp_path, SIGNER, {LOG.name: LOG.verifier})
    with monkeypatch.context() as patched:
        patched.setattr(module, "cosign", crash)
        with pytest.raises(KeyboardInterrupt):
            witness.add_checkpoint(TREE.body(0, 9))
    again = Witness(tmp_path, SIGNER, {LOG.name: LOG.verifier})
    assert again.latest(LOG.name).size == 9
    assert again.add_checkpoint(FORK.body(0, 9)).status == 409
    assert again.add_checkpoint(FORK.body(9, 9)).status == 409
    assert again.add_checkpoint(TREE.body(9, 9)).status == 200


def test_a_crash_while_writing_leaves_the_old_state(alone: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    alone.add_checkpoint(TREE.body(0, 5))
    for name in ("os.fsync", "pathlib.Path.replace"):
        with monkeypatch.context() as patched:
            patched.setattr(name, lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
            with pytest.raises(OSError, match="Input/output"):
                alone.add_checkpoint(TREE.body(5, 9))
        assert alone.latest(LOG.name).size == 5
    assert alone.add_checkpoint(FORK.body(5, 9)).status == 200  # nothing was signed at 9


def test_the_file_and_its_name_are_synced_before_it_is_signed(alone: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def noted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def step(*given: object) -> object:
            done = real(*given)
            steps.append(name)
            return done

        return step

    monkeypatch.setattr(module, "sync_folder", noted("folder", lambda _: None))
    monkeypatch.setattr(os, "fsync", noted("file", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("replace", Path.replace))
    monkeypatch.setattr(module, "cosign", noted("cosign", cosign))
    alone.add_checkpoint(TREE.body(0, 5))
    assert steps == ["file", "replace", "folder", "cosign"]
    # Seen, but perhaps not there to stay: a process that did not write it itself writes it again.
    steps.clear()
    Witness(alone._folder, SIGNER, {LOG.name: LOG.verifier}).add_checkpoint(TREE.body(5, 5))
    assert steps == ["file", "replace", "folder", "cosign"]
    steps.clear()
    alone.add_checkpoint(TREE.body(5, 5))
    assert steps == ["cosign"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda kept: kept[:-10],
        lambda kept: kept.replace(b"\n9\n", b"\n8\n"),
        lambda _: sign(Checkpoint("other.example", 1, HONEST[0]), Signer("other.example", b"o" * 32)),
    ],
)
def test_a_damaged_state_stops_it(alone: Witness, damage: Callable[[bytes], bytes]) -> None:
    alone.add_checkpoint(TREE.body(0, 9))
    file = alone._file(LOG.name, "checkpoint")
    file.write_bytes(damage(file.read_bytes()))
    for old in (0, 1, 8, 9):
        with pytest.raises(WitnessStateError, match="damaged"):
            alone.add_checkpoint(TREE.body(old, 12))


@pytest.mark.parametrize("folders", [1, 2])
def test_of_two_that_come_at_once_only_one_history_is_signed(tmp_path: Path, folders: int) -> None:
    """Through one object, and through two on one folder as two processes would have."""
    for turn in range(5):
        made = [Witness(tmp_path / str(turn), SIGNER, {LOG.name: LOG.verifier}) for _ in range(folders)]
        statuses: list[int] = []
        start = threading.Barrier(8)

        def work(witness: Witness, body: bytes, start: threading.Barrier, statuses: list[int]) -> None:
            start.wait()
            statuses.append(witness.add_checkpoint(body).status)

        threads = [
            threading.Thread(
                target=work, args=(made[n % folders], (TREE if n % 4 < 2 else FORK).body(0, 12), start, statuses)
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] + [409] * 7


_SERVE = """
import sys
from pathlib import Path
from countenance_audit.note import VerifierKey
from countenance.server.witness import serve_witness
key = VerifierKey.parse(sys.argv[2])
sys.exit(serve_witness(Path(sys.argv[1]), "127.0.0.1", 0, {key.name: key}, name="w.example"))
"""


@contextmanager
def process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, VerifierKey]]:
    """A witness in a process of its own, on a free port."""
    command = [sys.executable, "-c", _SERVE, str(folder), str(LOG.verifier)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        try:
            key = VerifierKey.parse(running.stdout.readline().strip())
            said = running.stderr.readline()
            yield running, int(said.partition("http://127.0.0.1:")[2].partition("/")[0]), key
        finally:
            running.kill()


def test_killed_at_any_moment_it_never_signs_two_histories(tmp_path: Path) -> None:
    dice = random.Random(6962)
    signed: dict[int, set[bytes]] = defaultdict(set)
    keys: set[VerifierKey] = set()
    size = 0
    for _ in range(6):
        with process(tmp_path) as (running, port, key):
            keys.add(key)

            def work(tree: Tree, first: int, port: int, key: VerifierKey) -> None:
                client = WitnessClient(f"http://127.0.0.1:{port}", key, timeout_s=5)
                # Each goes on from where the last process was killed; both ask for the same sizes.
                for wanted in range(first + 1, min(first + 60, len(HONEST))):
                    try:
                        line = tree.submit(client, wanted)
                    except WitnessRefused:
                        continue
                    except WitnessUnavailable as error:
                        if "cannot be reached" in error.message:
                            return
                        continue
                    verify_cosignature(tree.note(wanted) + line.encode(), key)
                    signed[wanted].add(tree.root(wanted))

            threads = [threading.Thread(target=work, args=(tree, size, port, key)) for tree in (TREE, FORK, TREE)]
            for thread in threads:
                thread.start()
            time.sleep(dice.uniform(0.02, 0.25))
            running.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
        kept = Witness(tmp_path / "state", SIGNER, {LOG.name: LOG.verifier}).latest(LOG.name)
        assert kept.size >= max(signed, default=0)  # what was signed was kept
        size = kept.size
    assert len(keys) == 1
    assert len(signed) > 5
    assert all(len(roots) == 1 for roots in signed.values())
    grown = [tree for tree in (TREE, FORK) if all(roots == {tree.root(at)} for at, roots in signed.items())]
    assert grown, "the signed roots are of one history"


def test_a_process_stops_when_told_and_keeps_key_and_state(tmp_path: Path) -> None:
    keys = set()
    for size in (5, 12):
        with process(tmp_path / "new") as (running, port, key):
            keys.add(key)
            TREE.submit(WitnessClient(f"http://127.0.0.1:{port}", key), size)
            running.send_signal(signal.SIGTERM)
            assert running.wait(15) == 0
    assert len(keys) == 1
    assert stat.S_IMODE((tmp_path / "new" / "key").stat().st_mode) == 0o600


# -- witnesses that are away or lie


@contextmanager
def liar(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something at an address that answers each connection in its own way."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        answer(connection)
                        connection.shutdown(socket.SHUT_WR)
                        connection.settimeout(2)
                        while connection.recv(65536):
                            pass
                    except OSError:
                        pass

        threading.Thread(target=work, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def says(status: str, body: bytes, *headers: str) -> Callable[[socket.socket], None]:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""])
    return lambda connection: connection.sendall(head.encode() + body)


def dribbles(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    for _ in range(100):
        connection.sendall(b"y")
        time.sleep(0.02)


OTHER_LINE = cosign(TREE.note(3), Signer("other.example", b"o" * 32), TIME_S).encode()
OLDER_LINE = cosign(TREE.note(2), SIGNER, TIME_S).encode()
OWN_LINE = cosign(TREE.note(3), SIGNER, TIME_S).encode()
SIZE_HEADER = f"content-type: {SIZE_TYPE}"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (says("200 OK", OTHER_LINE), "something else than its signature"),
        (says("200 OK", OLDER_LINE), "something else than its signature"),
        (says("200 OK", OWN_LINE + OLDER_LINE), "something else than its signature"),
        (says("200 OK", b""), "something else than its signature"),
        (says("200 OK", b"\xff\n"), "something else than its signature"),
        (says("200 OK", b"line\n\n" + OWN_LINE), "something else than its signature"),
        (says("200 OK", b"x" * 100_000), "too long"),
        (says("302 Found", b"", "location: file:///etc/passwd"), "answered 302"),
        (says("500 No", b"\x1b[2J"), r"answered 500: \?\[2J"),
        (says("409 Conflict", b"7 or so\n", SIZE_HEADER), "answered 409"),
        (says("409 Conflict", b"2\n", SIZE_HEADER), "answered 409"),  # and again when asked from there
        (says("409 Conflict", b"0\n", SIZE_HEADER), "answered 409"),  # which was said
        (lambda connection: connection.sendall(b"\x00\x01\x02\r\n\r\n"), "cannot be reached"),
        (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"), "Witness"),
        (lambda connection: None, "cannot be reached"),
        (dribbles, "no answer in 0.5 s"),
    ],
)
def test_a_witness_that_lies_is_unavailable(answer: Callable[[socket.socket], None], message: str) -> None:
    with liar(answer) as url:
        client = WitnessClient(url, SIGNER.witness, timeout_s=0.5)
        started = time.monotonic()
        with pytest.raises(WitnessUnavailable, match=message):
            TREE.submit(client, 3)
        assert time.monotonic() - started < 1.5


def test_lines_of_others_are_left_out() -> None:
    with liar(says("200 OK", OTHER_LINE + OWN_LINE)) as url:
        assert TREE.submit(WitnessClient(url, SIGNER.witness), 3).encode() == OWN_LINE


def test_of_many_lines_of_its_own_one_is_taken() -> None:
    many = "".join(cosign(TREE.note(3), SIGNER, TIME_S + second) for second in range(120)).encode()
    with liar(says("200 OK", many)) as url:
        lines = TREE.submit(WitnessClient(url, SIGNER.witness), 3)
    assert lines.count("\n") == 1


def test_one_that_keeps_a_request_waiting_is_not_asked_another() -> None:
    with liar(dribbles) as url:
        client = WitnessClient(url, SIGNER.witness, timeout_s=0.1)
        for message in ("no answer", "still keeps an earlier request waiting"):
            with pytest.raises(WitnessUnavailable, match=message):
                TREE.submit(client, 3)


def test_one_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(WitnessUnavailable, match="cannot be reached"):
        TREE.submit(WitnessClient(f"http://127.0.0.1:{port}", SIGNER.witness), 4)


def test_no_proxy_of_the_environment_is_asked_for_a_witness_here(
    two: list[Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    TREE.submit(two[0].client(), 3)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://w.example", "w.example", "http://", "http://[", "http://w?x"]
)
def test_other_addresses_than_http_are_refused(url: str) -> None:
    with pytest.raises(WitnessUnavailable, match="not one of HTTP"):
        WitnessClient(url, SIGNER.witness)


def test_a_log_s_key_is_no_witness_s() -> None:
    with pytest.raises(WitnessUnavailable, match="not a witness's"):
        WitnessClient("http://w.example", SIGNER.verifier)


def test_a_note_of_another_size_is_not_sent() -> None:
    client = WitnessClient("http://127.0.0.1:1", SIGNER.witness)
    for note in (TREE.note(4), b"nonsense"):
        with pytest.raises(ValueError, match="checkpoint"):
            client.submit(note, 3, lambda _: [])


# -- the key and the verbs


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    with pytest.raises(WitnessStateError, match="no witness's key"):
        open_signer(tmp_path)
    made = open_signer(tmp_path, name=NAME, create=True)
    assert open_signer(tmp_path).witness == open_signer(tmp_path, name=NAME, create=True).witness == made.witness
    assert sorted(each.name for each in tmp_path.iterdir()) == ["key", "state"]
    with pytest.raises(WitnessStateError, match=r"is named w\.example"):
        open_signer(tmp_path, name="other.example")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(WitnessStateError, match="open to other users"):
        open_signer(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"PRIVATE+KEY+a+b\n", b"PRIVATE+KEY+a+b+\n", b"x" * 9999])
def test_a_damaged_key_is_told(tmp_path: Path, content: bytes) -> None:
    open_signer(tmp_path, create=True)
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(WitnessStateError, match="damaged"):
        open_signer(tmp_path, create=True)


def test_a_witness_that_forgot_does_not_start(tmp_path: Path) -> None:
    open_signer(tmp_path, create=True)
    (tmp_path / "state").rmdir()
    with pytest.raises(WitnessStateError, match="but not its state"):
        open_signer(tmp_path, create=True)


def test_a_state_without_its_key_gets_no_new_one(tmp_path: Path) -> None:
    signer = open_signer(tmp_path, create=True)
    Witness(tmp_path / "state", signer, {LOG.name: LOG.verifier}).add_checkpoint(TREE.body(0, 3))
    (tmp_path / "key").unlink()
    with pytest.raises(WitnessStateError, match="but no key"):
        open_signer(tmp_path, create=True)


def test_a_name_that_no_key_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Error, match="name"):
        open_signer(tmp_path, name="with space", create=True)
    assert not (tmp_path / "key").exists()


def _run(*words: str, server: object = None) -> tuple[int, str, str]:
    root = Root("countenance")
    root.add_command(verbs)
    result = CliRunner().invoke(root, ["witness", *words], obj=SimpleNamespace(witness=server))
    return result.exit_code, result.stdout, result.stderr


def test_the_verb_key_prints_the_verifier_key(tmp_path: Path) -> None:
    assert _run("key", "--dir", str(tmp_path))[0] == 3
    signer = open_signer(tmp_path, create=True)
    assert _run("key", "--dir", str(tmp_path))[1] == f"{signer.witness}\n"
    answer = json.loads(_run("key", "--dir", str(tmp_path), "--json")[1])
    assert answer == {
        "name": signer.name,
        "key_id": sha256(f"{signer.name}\n\x04".encode() + signer.witness.public).hexdigest()[:8],
        "verifier_key": str(signer.witness),
    }


def test_the_verb_serve_hands_everything_to_the_server(tmp_path: Path) -> None:
    calls: list[object] = []

    def server(*given: object, **named: object) -> int:
        calls.append((given, named))
        return 0

    where = ("serve", "--dir", str(tmp_path))
    assert _run(*where, "--trust", str(LOG.verifier), "--name", NAME, server=server)[0] == 0
    assert calls == [((tmp_path, "127.0.0.1", 8081, {LOG.name: LOG.verifier}), {"name": NAME})]
    second = Signer(LOG.name, b"r" * 32).verifier
    for bad in (
        (),
        ("--trust", "x"),
        ("--trust", str(LOG.witness)),
        ("--trust", str(LOG.verifier), "--trust", str(second)),
    ):
        assert _run(*where, *bad, server=server)[0] == 2
    assert len(calls) == 1
