"""Reading whole logs, honest and tampered with."""

from __future__ import annotations

import functools
import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from countenance_audit import checkpoint, leaf, merkle
from countenance_audit.errors import AuditError, Malformed, Rejected, Unavailable
from countenance_audit.fetching import folder_fetch, http_fetch, open_location
from countenance_audit.keeping import CONFLICT, mirror
from countenance_audit.mirror import Log
from countenance_audit.note import Signer
from countenance_audit.policy import TrustPolicy
from tests.unit.audit.samples import LOG, ORIGIN, POLICY, TIME_US, Server, heartbeat

TRUST = TrustPolicy.parse(POLICY)
MINUTE = 60_000_000


def leaves(count: int) -> list[bytes]:
    return [leaf.opaque(number.to_bytes(32, "big")) for number in range(count)]


def read(server: Server) -> tuple[list[bytes], Log]:
    log = Log(server.fetch, TRUST)
    return [item.data for item in log.leaves(log.checkpoint().checkpoint)], log


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 511, 700])
def test_an_honest_log_is_read_whole(count: int) -> None:
    server = Server(leaves(count))
    found, log = read(server)
    assert found == leaves(count)
    assert log.findings == []


def test_a_log_of_two_levels_of_full_tiles() -> None:
    server = Server(leaves(65_536 + 300))
    found, _ = read(server)
    assert found == server.leaves
    assert "tile/1/001.p/1" in server.fetched


@pytest.mark.parametrize("path", ["tile/entries/000", "tile/entries/001.p/44", "tile/0/001.p/44", "tile/1/000.p/1"])
def test_a_changed_byte_is_found_before_a_leaf_is_handed_out(path: str) -> None:
    server = Server(leaves(300))
    changed = bytearray(server.files[path])
    changed[-1] ^= 1
    server.files[path] = bytes(changed)
    log = Log(server.fetch, TRUST)
    seen = []
    with pytest.raises(Rejected):
        seen += [item.data for item in log.leaves(log.checkpoint().checkpoint)]
    assert seen == []
    server.files[path] = bytes(changed[:-1])
    with pytest.raises(Malformed):
        read(server)


def test_a_partial_tile_may_have_become_full() -> None:
    small, large = Server(leaves(300)), Server(leaves(600))
    small.files = {**{p: f for p, f in large.files.items() if ".p/" not in p}, "checkpoint": small.files["checkpoint"]}
    small.files["tile/1/000.p/1"] = large.files["tile/1/000.p/2"][:32]
    found, _ = read(small)
    assert found == leaves(300)


def test_what_a_person_should_know_is_listed() -> None:
    server = Server(
        [
            heartbeat(TIME_US),
            heartbeat(TIME_US + 5 * MINUTE),
            b"\x07 no leaf",
            heartbeat(TIME_US + 20 * MINUTE),
            heartbeat(TIME_US + 19 * MINUTE),
            leaf.public({"v": 1, "kind": "stop", "time": TIME_US + 21 * MINUTE, "reason": "asked to"}),
            heartbeat(TIME_US + 31 * MINUTE),
        ]
    )
    found, log = read(server)
    assert len(found) == 7
    assert [(f.kind, f.index, f.serious) for f in log.findings] == [
        ("malformed", 2, True),
        ("heartbeat", 3, False),
        ("time", 4, True),
        ("downtime", 6, False),
    ]


def test_consistency_between_checkpoints() -> None:
    small, large, fork = Server(leaves(300)), Server(leaves(900)), Server([b"\x01" * 33, *leaves(899)])
    log = Log(large.fetch, TRUST)
    old, new, other = (TRUST.cosigned(s.files["checkpoint"]).checkpoint for s in (small, large, fork))
    log.check_consistency(old, new)
    log.check_consistency(checkpoint.Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT), new)
    with pytest.raises(Rejected, match="shorter"):
        log.check_consistency(new, old)
    with pytest.raises(Rejected):
        Log(fork.fetch, TRUST).check_consistency(old, other)
    with pytest.raises(Rejected, match="different logs"):
        log.check_consistency(checkpoint.Checkpoint("other", 300, old.root), new)


def test_a_leaf_can_be_had_with_its_proof() -> None:
    server = Server(leaves(700))
    root = merkle.root_of(server.hashes)
    for index in (0, 255, 256, 511, 512, 699):
        found, proof = Log(server.fetch, TRUST).leaf_at(index, 700)
        merkle.verify_inclusion(index, 700, merkle.leaf_hash(found), proof, root)
        assert found == server.leaves[index]
    with pytest.raises(Rejected):
        Log(server.fetch, TRUST).leaf_at(700, 700)


def test_a_copy_is_the_log_and_grows_with_it(tmp_path: Path) -> None:
    first, second = Server(leaves(300)), Server(leaves(800))
    assert mirror(first.fetch, tmp_path, TRUST).previous_size == 0
    kept = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert kept == first.files
    result = mirror(second.fetch, tmp_path, TRUST)
    assert (result.previous_size, result.findings) == (300, ())
    assert "tile/entries/000" not in second.fetched
    again = Log(folder_fetch(tmp_path), TRUST)
    assert [item.data for item in again.leaves(again.checkpoint().checkpoint)] == second.leaves


@pytest.mark.parametrize("count", [200, 900])
def test_a_log_that_forgets_is_refused_and_its_checkpoint_kept(tmp_path: Path, count: int) -> None:
    first, fork = Server(leaves(300)), Server([b"\x01" * 33, *leaves(count)])
    mirror(first.fetch, tmp_path, TRUST)
    with pytest.raises(Rejected):
        mirror(fork.fetch, tmp_path, TRUST)
    assert (tmp_path / "checkpoint").read_bytes() == first.files["checkpoint"]
    assert (tmp_path / CONFLICT).read_bytes() == fork.files["checkpoint"]


def test_a_hash_tile_served_wrong_is_listed(tmp_path: Path) -> None:
    server = Server(leaves(300))
    server.files["tile/0/000"] = bytes(8192)
    findings = mirror(server.fetch, tmp_path, TRUST).findings
    assert [(f.kind, f.serious) for f in findings] == [("tile", True)]


def test_a_log_of_somebody_else_is_refused(tmp_path: Path) -> None:
    server = Server(leaves(3))
    policy = TrustPolicy.parse(f"log {type(LOG)(ORIGIN, b'x' * 32).verifier}\nquorum none\n")
    with pytest.raises(Rejected):
        mirror(server.fetch, tmp_path, policy)
    assert list(tmp_path.iterdir()) == []


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        body = {"/log/zip": gzip.compress(b"x" * 100), "/log/bomb": gzip.compress(bytes(2_000_000))}.get(self.path)
        if body is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/log"
        server.shutdown()
        thread.join()


def test_over_http(address: str, tmp_path: Path) -> None:
    mirror(Server(leaves(300)).fetch, tmp_path / "log", TRUST)
    log = Log(open_location(address + "/"), TRUST)
    assert len(list(log.leaves(log.checkpoint().checkpoint))) == 300
    fetch = http_fetch(address, max_bytes=8_000)
    assert fetch("zip") == b"x" * 100
    with pytest.raises(Unavailable, match="404"):
        fetch("tile/9/000")
    for path in ("bomb", "tile/entries/000"):
        with pytest.raises(Malformed, match="longer than"):
            fetch(path)


def test_other_places_are_refused(tmp_path: Path) -> None:
    for location in ("file:///etc", "ftp://a.example", str(tmp_path / "none")):
        with pytest.raises(AuditError):
            open_location(location)
    with pytest.raises(Unavailable):
        http_fetch("http://127.0.0.1:1/log", timeout_s=1)("checkpoint")


def test_a_day_without_a_new_cosignature_is_marked_from_where_it_began() -> None:
    def beat(hours: int, cosigned: str | None) -> bytes:
        at = TIME_US + hours * 60 * MINUTE
        return leaf.public({"v": 1, "kind": "heartbeat", "time": at, "cosigned": cosigned})

    server = Server([
        beat(0, None),
        beat(25, None),
        beat(30, None),
        beat(31, "aa" * 32),
        beat(55, "aa" * 32),
        beat(56, "bb" * 32),
        beat(90, "bb" * 32),
    ])  # fmt: skip
    _, log = read(server)
    spans = [(each.index, each.serious, each.text) for each in log.findings if each.kind == "unwitnessed"]
    assert [(index, serious) for index, serious, _ in spans] == [(2, False), (6, False)]
    assert "from leaf 0" in spans[0][2]
    assert "30 h" in spans[0][2]
    assert "from leaf 5" in spans[1][2]
    assert "34 h" in spans[1][2]


def test_a_kept_copy_goes_on_when_the_log_s_key_was_replaced(tmp_path: Path) -> None:
    first = Server(leaves(300))
    mirror(first.fetch, tmp_path, TRUST)
    other = Signer(ORIGIN, b"n" * 32)
    trust = TrustPolicy.parse(f"log {other.verifier}\nquorum none\n")
    longer = Server(leaves(400), signer=other)
    assert mirror(longer.fetch, tmp_path, trust).previous_size == 300
    forked = Server([*leaves(350)[1:], b"\x01" + bytes(32), *leaves(150)], signer=other)
    with pytest.raises(Rejected):
        mirror(forked.fetch, tmp_path, trust)
    another = Signer("other.example/log", b"o" * 32)
    with pytest.raises(Rejected, match="does not name"):
        mirror(
            Server(leaves(3), signer=another).fetch,
            tmp_path,
            TrustPolicy.parse(f"log {another.verifier}\nquorum none\n"),
        )
