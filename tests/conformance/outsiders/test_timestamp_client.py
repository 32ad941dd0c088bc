"""The server's own timestamps: an authority made of openssl stamps, and `openssl ts` and the auditor accept it."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from countenance_audit.checkpoint import open_checkpoint

from countenance.ledger.timestamp import REPLY_TYPE, Authority, NotStamped, Timestamping
from tests.conformance.outsiders import timestamp
from tests.conformance.outsiders.presence import REQUIRED
from tests.conformance.outsiders.test_timestamp import Authority as Issuer
from tests.conformance.outsiders.test_timestamp import authority_in
from tests.unit.ledger.logs import Opened

pytestmark = pytest.mark.skipif(
    timestamp.is_missing() and not REQUIRED, reason=f"openssl is missing: {timestamp.PACKAGES}"
)

Answer = Callable[[bytes], tuple[int, str, bytes]]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server on this machine that answers every POST."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["content-length"]))
            status, kind, body = answer(query)
            self.send_response(status)
            self.send_header("content-type", kind)
            if status == 302:
                self.send_header("location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsa"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def honest(issuer: Issuer) -> Answer:
    def answer(query: bytes) -> tuple[int, str, bytes]:
        (issuer.folder / "query").write_bytes(query)
        issuer.reply(issuer.folder / "query", issuer.folder / "reply")
        return 200, REPLY_TYPE, (issuer.folder / "reply").read_bytes()

    return answer


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return authority_in(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "data")
    made.grow(3)
    yield made
    made.database.close()


def keeper(opened: Opened, url: str, issuer: Issuer) -> Timestamping:
    return Timestamping(opened.log, Authority(url, issuer.root.read_bytes(), timeout_s=5.0), every_s=3600)


def test_openssl_and_the_auditor_accept_what_the_server_kept(opened: Opened, issuer: Issuer, tmp_path: Path) -> None:
    with answering(honest(issuer)) as url:
        assert keeper(opened, url, issuer).once()
    kept = opened.log.storage.timestamp(4)
    assert kept is not None
    (tmp_path / "note").write_bytes(kept[0])
    (tmp_path / "answer").write_bytes(kept[1])
    assert timestamp.verify(tmp_path / "note", tmp_path / "answer", issuer.root)
    assert open_checkpoint(kept[0], opened.log.signer.verifier).size == 4
    latest = opened.log.storage.latest_timestamp()
    assert latest is not None
    at = datetime.fromtimestamp(latest[1] / 1_000_000, UTC)
    assert abs(at - timestamp.stamped_at(tmp_path / "answer")) < timedelta(seconds=1)
    (tmp_path / "policy").write_text(f"log {opened.log.signer.verifier}\nquorum none\n")
    words = ("timestamp", "verify", tmp_path / "answer", tmp_path / "note", "--roots", issuer.root)
    assert audit(*words, "--trust", tmp_path / "policy") == 0
    assert audit(*words) == 3  # nobody said whose log it is
    (tmp_path / "note").write_bytes(kept[0].replace(b"\n4\n", b"\n5\n"))
    assert audit(*words, "--trust", tmp_path / "policy") == 1


def audit(*words: object) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "countenance_audit", *map(str, words)], capture_output=True, timeout=60
    )
    return done.returncode


def test_nothing_new_is_not_stamped_again_and_the_thread_goes_on(opened: Opened, issuer: Issuer) -> None:
    asked: list[bytes] = []

    def counting(query: bytes) -> tuple[int, str, bytes]:
        asked.append(query)
        return honest(issuer)(query)

    with answering(counting) as url:
        stamping = keeper(opened, url, issuer)
        assert stamping.once()
        assert stamping.once()
        assert len(asked) == 1
        opened.grow(1)
        stamping.start()
        deadline = time.monotonic() + 20
        while opened.log.storage.timestamps() != [4, 5] and time.monotonic() < deadline:
            time.sleep(0.02)
        stamping.stop()
    assert opened.log.storage.timestamps() == [4, 5]


@pytest.mark.parametrize(
    "lie", ["another nonce", "another note", "garbage", "nothing", "huge", "redirect", "error", "page", "refusal"]
)
def test_an_authority_that_lies_gives_no_timestamp(opened: Opened, issuer: Issuer, tmp_path: Path, lie: str) -> None:
    (tmp_path / "note").write_bytes(opened.log.checkpoint()[1] if lie != "another note" else b"another")
    timestamp.query(tmp_path / "note", tmp_path / "other.tsq")

    def answer(query: bytes) -> tuple[int, str, bytes]:
        if lie in ("another nonce", "another note"):
            return honest(issuer)((tmp_path / "other.tsq").read_bytes())
        if lie == "refusal":
            return honest(issuer)(query[:-3])  # no query that openssl can read: it answers with a refusal
        return {
            "garbage": (200, REPLY_TYPE, b"\x30\x03\x02\x01\x00" * 7),
            "nothing": (200, REPLY_TYPE, b""),
            "huge": (200, REPLY_TYPE, bytes(200_000)),
            "redirect": (302, REPLY_TYPE, b""),
            "error": (500, REPLY_TYPE, b"no"),
            "page": (200, "text/html", b"<h1>welcome</h1>"),
        }[lie]

    with answering(answer) as url:
        authority = Authority(url, issuer.root.read_bytes(), timeout_s=5.0)
        with pytest.raises(NotStamped):
            authority.stamp(opened.log.checkpoint()[1])
        assert not keeper(opened, url, issuer).once()
    assert opened.log.storage.timestamps() == []


def test_an_authority_that_nobody_vouches_for_gives_no_timestamp(
    opened: Opened, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = authority_in(tmp_path_factory.mktemp("other"))
    with answering(honest(issuer)) as url, pytest.raises(NotStamped, match="does not hold"):
        Authority(url, other.root.read_bytes()).stamp(opened.log.checkpoint()[1])


def test_one_that_is_slow_holds_up_neither_the_log_nor_the_stop(opened: Opened, issuer: Issuer) -> None:
    released = threading.Event()

    def slow(query: bytes) -> tuple[int, str, bytes]:
        released.wait(30)
        return 500, REPLY_TYPE, b""

    with answering(slow) as url:
        stamping = Timestamping(opened.log, Authority(url, issuer.root.read_bytes(), timeout_s=0.5), every_s=3600)
        stamping.start()
        opened.grow(2)
        assert opened.log.size == 6
        stamping.stop()
        released.set()


@pytest.mark.parametrize(("url", "roots"), [("ftp://tsa", b""), ("http://tsa", b"no certificate")])
def test_what_cannot_be_one_is_refused(url: str, roots: bytes) -> None:
    with pytest.raises(NotStamped):
        Authority(url, roots)
