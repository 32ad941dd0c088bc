"""Asking other nodes: who is asked, what is done when one does not answer, and what is never believed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.congruence.nodes import beside, listening, node
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from countenance.gallery import PartUnavailable, Share, asking, scatter
from countenance.gallery.asking import NotAnswered, Question, Secrets
from countenance.gallery.comparison import Ranking
from countenance.gallery.node_client import NodeClient, refuse_unusable
from countenance.gallery.scatter import KNOWN_FOR_S, merged
from countenance.store import Keyring
from countenance.store.leases import Presence

ROWS = unit_rows(300, 16, 51)


def found(opened: World, count: int = 300) -> list[tuple[str, float]]:
    (one,) = opened.gallery.identify(ACCOUNT, "c", ROWS[:1], max_candidates=count)
    return [(each.reference.face_id, each.comparison_score) for each in one]


def filled(opened: World) -> None:
    opened.create()
    opened.gallery.enrol(ACCOUNT, "c", enrolments(range(300), ROWS), entry=entry())


@contextmanager
def claiming(opened: World, url: str, told: Callable[[World], dict[str, Any]] | None = None) -> Iterator[None]:
    """A process that says that it is at an address."""
    presence = Presence(opened.database, lambda: told(opened) if told else dict(opened.gallery.announcement(url)))
    presence.start()
    try:
        time.sleep(2 * KNOWN_FOR_S)
        yield
    finally:
        presence.stop()


@contextmanager
def answering_with(reply: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    reply(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def says(status: int, body: bytes, mac: str = "0" * 64) -> Callable[[socket.socket], None]:
    def reply(peer: socket.socket) -> None:
        peer.recv(65_536)
        head = f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n{asking.MAC}: {mac}\r\n\r\n"
        peer.sendall(head.encode() + body)

    return reply


def test_whoever_says_to_have_a_part_without_the_key_is_not_asked(tmp_path: Path, postgres_url: str) -> None:
    asked: list[bytes] = []
    with ExitStack() as stack:
        first = stack.enter_context(node(tmp_path, postgres_url, "1/2"))
        filled(first)
        address = stack.enter_context(answering_with(lambda peer: asked.append(peer.recv(65_536))))
        other = stack.enter_context(world(beside(tmp_path, "b"), postgres_url=postgres_url, share=Share(2, 2)))

        def told(opened: World) -> dict[str, Any]:
            return {**opened.gallery.announcement("http://127.0.0.1:9"), "url": address}

        stack.enter_context(claiming(other, "", told))
        with pytest.raises(PartUnavailable, match="No node has part 2/2"):
            found(first)
        assert not first.gallery.is_covered()
    assert asked == []


@pytest.mark.parametrize(
    "reply",
    [
        says(200, b""),
        says(200, bytes(4) * 1),
        says(403, b""),
        says(500, b""),
        says(200, bytes(1_000_000)),
        lambda peer: peer.sendall(b"SSH-2.0-OpenSSH\r\n"),
        lambda peer: None,
    ],
    ids=["empty", "no mac", "refusal", "failure", "too long", "no http", "hangs up"],
)
def test_what_is_no_answer_fails_the_search_and_another_node_is_asked(
    tmp_path: Path, postgres_url: str, reply: Callable[[socket.socket], None]
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(node(tmp_path, postgres_url, "1/2"))
        filled(first)
        address = stack.enter_context(answering_with(reply))
        liar = stack.enter_context(world(beside(tmp_path, "b"), postgres_url=postgres_url, share=Share(2, 2)))
        stack.enter_context(claiming(liar, address))
        with pytest.raises(PartUnavailable, match="No node answers for part 2/2"):
            found(first)
        stack.enter_context(node(beside(tmp_path, "c"), postgres_url, "2/2"))
        assert len(found(first)) == 300


def test_one_that_takes_its_time_is_given_up(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scatter, "ANSWER_S", 0.3)

    def slowly(peer: socket.socket) -> None:
        peer.recv(65_536)
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 6004\r\n\r\n")
        for _ in range(100):
            time.sleep(0.05)
            try:
                peer.sendall(b"x")
            except OSError:
                return

    with ExitStack() as stack:
        first = stack.enter_context(node(tmp_path, postgres_url, "1/2"))
        filled(first)
        address = stack.enter_context(answering_with(slowly))
        slow = stack.enter_context(world(beside(tmp_path, "b"), postgres_url=postgres_url, share=Share(2, 2)))
        stack.enter_context(claiming(slow, address))
        began = time.monotonic()
        with pytest.raises(PartUnavailable):
            found(first)
        assert time.monotonic() - began < 4  # it would have sent for five seconds


def test_a_search_sees_what_was_acknowledged_before_it_at_every_part(tmp_path: Path, postgres_url: str) -> None:
    with ExitStack() as stack:
        nodes = [stack.enter_context(node(tmp_path, postgres_url, "1/2"))]
        nodes.append(stack.enter_context(node(beside(tmp_path, "b"), postgres_url, "2/2")))
        time.sleep(2 * KNOWN_FOR_S)
        nodes[0].create()
        for name in range(60):
            nodes[name % 2].gallery.enrol(ACCOUNT, "c", enrolments([name], ROWS[name : name + 1]), entry=entry())
            assert len(found(nodes[name // 2 % 2])) == name + 1
            if name % 10 == 9:
                nodes[0].gallery.erase(ACCOUNT, "c", [name_id(name)], entry=entry())
                assert name_id(name) not in dict(found(nodes[1]))
                nodes[1].gallery.enrol(ACCOUNT, "c", enrolments([name], ROWS[name : name + 1]), entry=entry())


def test_many_probes_go_in_portions_and_come_back_in_order(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MOST_PLACES", 1_000)
    with ExitStack() as stack:
        first = stack.enter_context(node(tmp_path, postgres_url, "1/2"))
        stack.enter_context(node(beside(tmp_path, "b"), postgres_url, "2/2"))
        time.sleep(2 * KNOWN_FOR_S)
        filled(first)
        many = first.gallery.identify(ACCOUNT, "c", ROWS[:200], max_candidates=40)
        assert [one[0].reference.face_id for one in many] == [name_id(at) for at in range(200)]
        assert all(len(one) == 40 for one in many)


def test_a_deleted_collection_is_gone_for_whoever_asks(tmp_path: Path, postgres_url: str) -> None:
    with ExitStack() as stack:
        second = stack.enter_context(node(tmp_path, postgres_url, "2/2"))
        filled(second)
        secrets = Secrets(second.keyring)
        body = asking.probe_bytes(ROWS[:1])
        question = Question(second.database.node, 1, 1, Share(2, 2), 1, 16, 5)
        url = stack.enter_context(listening(second))
        client = NodeClient()

        def ask() -> int:
            headers = lambda: asking.ask(secrets, question, body)  # noqa: E731
            return client.post(url, headers, body, most=1_000, limit_s=5).status

        assert [ask(), ask()] == [200, 200]  # over one connection
        second.gallery.delete_collection(ACCOUNT, "c", entry=entry())
        assert ask() == 404


def test_merging_orders_by_score_and_then_by_face_id() -> None:
    a, b, c, d = (bytes([each]) * 16 for each in (1, 2, 3, 4))
    one, other = Ranking([a, d], [0.5, 0.25]), Ranking([b, c], [0.5, 0.5])
    assert merged([one, other], 3) == merged([other, one], 3) == Ranking([a, b, c], [0.5, 0.5, 0.5])
    assert merged([one, other], 9).face_ids == [a, b, c, d]
    assert merged([Ranking([], []), Ranking([], [])], 3) == Ranking([], [])


def test_an_answer_reads_back_as_it_was_and_not_when_it_is_cut() -> None:
    rankings = [Ranking([b"a" * 16, b"b" * 16], [float(np.float32(0.1)), -0.5]), Ranking([], [])]
    question = Question("n", 1, 1, Share(1, 2), 2, 4, 2)
    body = asking.answer_bytes(rankings)
    assert asking.rankings_of(question, body) == rankings
    for cut in range(len(body)):
        with pytest.raises(NotAnswered):
            asking.rankings_of(question, body[:cut])
    with pytest.raises(NotAnswered):
        asking.rankings_of(question, body + b"\0")
    with pytest.raises(NotAnswered):
        asking.rankings_of(Question("n", 1, 1, Share(1, 2), 2, 4, 1), body)


def test_numbers_of_questions_are_forgotten_when_they_could_not_come_again() -> None:
    now = [1_000_000.0]

    def clock() -> float:
        return now[0]

    secrets = Secrets(Keyring(bytes(32)))
    keeper = asking.Gatekeeper(secrets, "n", clock=clock)
    body = asking.probe_bytes(ROWS[:1])
    old = asking.ask(secrets, Question("n", 1, 1, Share(1, 2), 1, 16, 5), body, clock=clock)
    keeper.admit(old[asking.QUESTION], old[asking.MAC])
    for _ in range(100):
        now[0] += 1.0
        with pytest.raises(NotAnswered) as refused:
            keeper.admit(old[asking.QUESTION], old[asking.MAC])
        assert refused.value.status == 409
        fresh = asking.ask(secrets, Question("n", 1, 1, Share(1, 2), 1, 16, 5), body, clock=clock)
        keeper.admit(fresh[asking.QUESTION], fresh[asking.MAC])
        assert len(keeper._seen) <= asking.WINDOW_S + 2


def test_a_question_says_nothing_of_the_probe_but_its_hash() -> None:
    headers = asking.ask(Secrets(Keyring(bytes(32))), Question("n", 1, 1, Share(1, 2), 1, 16, 5), b"probe")
    assert set(json.loads(headers[asking.QUESTION])) == {
        "v", "to", "uid", "revision", "share", "rows", "dimension", "count", "digest", "nonce", "at_us",
    }  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:80",
        "http://node.example",
        "ftp://127.0.0.1",
        "http://",
        "x",
        "http://u@localhost",
        "http://localhost?x",
    ],
)
def test_addresses_that_no_probe_goes_to(url: str) -> None:
    with pytest.raises(NotAnswered):
        refuse_unusable(url, allows_plain=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:80", "http://[::1]:80", "http://localhost", "https://10.0.0.1"])
def test_addresses_that_a_probe_may_go_to(url: str) -> None:
    refuse_unusable(url, allows_plain=False)
    refuse_unusable("http://10.0.0.1:80", allows_plain=True)
