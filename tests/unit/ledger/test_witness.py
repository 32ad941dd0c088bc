"""Two witnesses over loopback: growth is signed, forks and rollbacks are not, whatever crashes."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from countenance_audit.checkpoint import Checkpoint, sign
from countenance_audit.merkle import consistency_proof, leaf_hash, range_root, root_of
from countenance_audit.note import Signer
from countenance_audit.policy import TrustPolicy

from countenance.ledger.witness import (
    MAX_BODY_BYTES,
    SIZE_TYPE,
    Witness,
    WitnessClient,
    WitnessRefused,
    WitnessUnavailable,
)

LOG = Signer("log.example/w", b"l" * 32)
HONEST = [leaf_hash(b"leaf %d" % number) for number in range(40)]
FORKED = [*HONEST[:5], *(leaf_hash(b"other %d" % number) for number in range(35))]


class Tree:
    """A log of given leaf hashes."""

    def __init__(self, hashes: list[bytes]) -> None:
        self.hashes = hashes

    def subtree(self, level: int, index: int) -> bytes:
        return root_of(self.hashes[index << level : (index + 1) << level])

    def note(self, size: int) -> bytes:
        return sign(Checkpoint(LOG.name, size, range_root(0, size, self.subtree) if size else root_of([])), LOG)

    def proof(self, old: int, size: int) -> list[bytes]:
        return consistency_proof(old, size, self.subtree)

    def submit(self, client: WitnessClient, size: int) -> str:
        return client.submit(self.note(size), size, lambda old: self.proof(old, size))

    def body(self, old: int, size: int, proof: list[bytes] | None = None) -> bytes:
        given = (self.proof(old, size) if 0 < old < size else []) if proof is None else proof
        lines = [f"old {old}", *(base64.b64encode(each).decode() for each in given)]
        return "\n".join(lines).encode() + b"\n\n" + self.note(size)


class Served:
    """A witness behind a socket."""

    def __init__(self, folder: Path, name: str) -> None:
        self.signer = Signer(f"witness.example/{name}", name.encode() * 32)
        self.witness = Witness(folder / name, self.signer, {LOG.name: LOG.verifier}, now_s=lambda: 1_790_000_000)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = outer.witness.add_checkpoint(body)
                self.send_response(answer.status)
                self.send_header("content-type", answer.content_type)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def client(self) -> WitnessClient:
        return WitnessClient(f"http://127.0.0.1:{self.server.server_port}/", self.signer.witness)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[Served]]:
    made = [Served(tmp_path, name) for name in ("a", "b")]
    yield made
    for each in made:
        each.close()


def test_growth_is_signed_by_both_and_meets_a_quorum(two: list[Served]) -> None:
    tree, clients = Tree(HONEST), [each.client() for each in two]
    for size in (1, 5, 5, 17, 40):
        note = tree.note(size)
        for client in clients:
            note += tree.submit(client, size).encode()
    lines = [
        f"log {LOG.verifier}",
        *(f"witness {name} {each.signer.witness}" for name, each in zip("ab", two, strict=True)),
    ]
    policy = TrustPolicy.parse("\n".join([*lines, "group both all a b", "quorum both"]) + "\n")
    cosigned = policy.cosigned(note)
    assert cosigned.satisfied
    assert set(cosigned.witnesses.values()) == {1_790_000_000}


def test_a_client_that_forgot_goes_on_from_the_witness_s_size(two: list[Served]) -> None:
    tree = Tree(HONEST)
    tree.submit(two[0].client(), 17)
    tree.submit(two[0].client(), 40)
    assert two[0].witness.latest(LOG.name).size == 40


def test_both_refuse_a_fork_and_a_rollback(two: list[Served]) -> None:
    honest, forked = Tree(HONEST), Tree(FORKED)
    for each in two:
        honest.submit(each.client(), 17)
        for size in (17, 30):
            with pytest.raises(WitnessRefused):
                forked.submit(each.client(), size)
        with pytest.raises(WitnessRefused, match="signed 17 leaves of this log, which has 9"):
            honest.submit(each.client(), 9)
        assert each.witness.latest(LOG.name) == Checkpoint(LOG.name, 17, range_root(0, 17, honest.subtree))
        honest.submit(each.client(), 18)


def test_every_case_of_the_protocol_has_its_status(tmp_path: Path) -> None:
    tree = Tree(HONEST)
    witness = Witness(tmp_path, Signer("w.example", b"w" * 32), {LOG.name: LOG.verifier})
    assert witness.add_checkpoint(tree.body(0, 7)).status == 200
    other = Signer("other.example", b"o" * 32)
    unknown = sign(Checkpoint(other.name, 7, HONEST[0]), other)
    forged = sign(Checkpoint(LOG.name, 9, HONEST[0]), Signer(LOG.name, b"x" * 32))
    for status, body in (
        (404, b"old 0\n\n" + unknown),
        (403, b"old 7\n\n" + forged),
        (409, tree.body(6, 9)),
        (409, tree.body(0, 9)),
        (400, tree.body(9, 8, [])),
        (422, tree.body(7, 9, [HONEST[0]])),
        (422, tree.body(7, 9, [])),
        (422, tree.body(7, 7, [HONEST[0]])),
        (409, Tree(FORKED).body(7, 7)),
        (400, b""),
        (400, b"old 7\n"),
        (400, b"old 07\n\n" + tree.note(9)),
        (400, b"old -1\n\n" + tree.note(9)),
        (400, b"old " + b"9" * 30 + b"\n\n" + tree.note(9)),
        (400, b"old 7\nnonsense\n\n" + tree.note(9)),
        (400, b"old 7\n" + b"AAAA\n" * 64 + b"\n" + tree.note(9)),
        (400, b"x" * (MAX_BODY_BYTES + 1)),
    ):
        assert witness.add_checkpoint(body).status == status, body[:60]
    refused = witness.add_checkpoint(tree.body(0, 9))
    assert (refused.content_type, refused.body) == (SIZE_TYPE, b"7\n")
    assert witness.add_checkpoint(tree.body(7, 7)).status == 200  # signs what it signed again


def test_the_state_is_on_disk_before_the_signature_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> str:
        raise KeyboardInterrupt

    tree, signer = Tree(HONEST), Signer("w.example", b"w" * 32)
    witness = Witness(tmp_path, signer, {LOG.name: LOG.verifier})
    with monkeypatch.context() as patched:
        patched.setattr("countenance.ledger.witness.cosign", crash)
        with pytest.raises(KeyboardInterrupt):
            witness.add_checkpoint(tree.body(0, 9))
    again = Witness(tmp_path, signer, {LOG.name: LOG.verifier})
    assert again.latest(LOG.name).size == 9
    assert again.add_checkpoint(Tree(FORKED).body(0, 9)).status == 409
    assert again.add_checkpoint(Tree(FORKED).body(9, 9)).status == 409
    assert again.add_checkpoint(tree.body(9, 9)).status == 200


def test_of_two_that_come_at_once_only_one_history_is_signed(tmp_path: Path) -> None:
    witness = Witness(tmp_path, Signer("w.example", b"w" * 32), {LOG.name: LOG.verifier})
    statuses: list[int] = []
    start = threading.Barrier(8)

    def work(body: bytes) -> None:
        start.wait()
        statuses.append(witness.add_checkpoint(body).status)

    threads = [threading.Thread(target=work, args=(Tree(HONEST if n % 2 else FORKED).body(0, 12),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) == 1
    assert statuses.count(409) == 7


def test_a_witness_that_is_not_there_or_lies_is_unavailable(two: list[Served]) -> None:
    tree, client = Tree(HONEST), two[0].client()
    client.key = two[1].signer.witness
    with pytest.raises(WitnessUnavailable, match="something else than its signature"):
        tree.submit(client, 3)
    port = two[0].server.server_port
    two[0].close()
    with pytest.raises(WitnessUnavailable, match="cannot be reached"):
        tree.submit(WitnessClient(f"http://127.0.0.1:{port}", two[0].signer.witness, timeout_s=2), 4)
