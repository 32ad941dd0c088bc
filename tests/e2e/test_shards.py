"""A collection over two nodes, as clients see it: the answers of one node, and none at all when a part is missing."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from botocore.exceptions import ClientError

from countenance.gallery import Share, asking
from countenance.gallery.asking import Question, Secrets
from countenance.store import Keyring

from .conftest import People, Server, start
from .test_tls import certificate as certificate  # a fixture

LIMIT_S = 30.0


@dataclass
class Shards:
    """Nodes of one database."""

    folder: Path
    url: str
    nodes: list[Server] = field(default_factory=list)
    credentials: tuple[str, str] = ("", "")

    def join(self, part: str = "", *flags: str, **settings: str) -> Server:
        data = self.folder / f"node{len(self.nodes)}"
        data.mkdir(parents=True)
        if self.nodes:
            shutil.copy2(self.nodes[0].data / "master.key", data / "master.key")
        return self._started(data, part, *flags, **settings)

    def again(self, node: Server, part: str) -> Server:
        """A node that died, in its own folder."""
        self.nodes.remove(node)
        return self._started(node.data, part)

    def _started(self, data: Path, part: str, *flags: str, **settings: str) -> Server:
        environ = {"COUNTENANCE_DATABASE": self.url, **settings}
        if part:
            environ["COUNTENANCE_SEARCH_SHARD"] = part
        made = start(data, *flags, environ=environ)
        if not self.nodes:
            self.credentials = made.credentials
        self.nodes.append(made)
        return made

    def client(self, node: Server, **options: Any) -> Any:
        return node.client(self.credentials, **options)

    def topology(self, node: Server) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "countenance", "topology", "--json", "--data", str(node.data)],
            capture_output=True,
            text=True,
            env=node.environment() | {"COUNTENANCE_DATABASE": self.url},
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def shards(tmp_path: Path, postgres_url: str) -> Iterator[Shards]:
    made = Shards(tmp_path, postgres_url)
    yield made
    for each in made.nodes:
        if each.process.poll() is None:
            each.stop()


def until(what: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not what():
        assert time.monotonic() < began + LIMIT_S, "it never came to be"
        time.sleep(0.05)
    return time.monotonic() - began


def ready(node: Server) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{node.endpoint}/readyz") as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def enrol(shards: Shards, people: People, node: Server | None = None) -> dict[str, str]:
    """Every person's photographs but the last, at the nodes in turn; FaceId -> who."""
    found = {}
    for number, (name, paths) in enumerate((n, p) for n, ps in people.items() for p in [ps[:-1]]):
        for path in paths:
            at = node or shards.nodes[number % len(shards.nodes)]
            answer = shards.client(at).index_faces(
                CollectionId="people", Image={"Bytes": path.read_bytes()}, MaxFaces=1, ExternalImageId=name
            )
            found.update({each["Face"]["FaceId"]: name for each in answer["FaceRecords"]})
    return found


def answers(shards: Shards, node: Server, people: People, faces: dict[str, str]) -> list[Any]:
    """What a node finds for photographs and for faces: ids, similarities, in order."""
    client, seen = shards.client(node), []
    for paths in people.values():
        answer = client.search_faces_by_image(
            CollectionId="people", Image={"Bytes": paths[-1].read_bytes()}, MaxFaces=100, FaceMatchThreshold=0
        )
        seen.append([(each["Face"]["FaceId"], each["Similarity"]) for each in answer["FaceMatches"]])
    for face_id in sorted(faces)[:8]:
        answer = client.search_faces(CollectionId="people", FaceId=face_id, MaxFaces=5, FaceMatchThreshold=0)
        seen.append([(each["Face"]["FaceId"], each["Similarity"]) for each in answer["FaceMatches"]])
    return seen


def refused(shards: Shards, node: Server, face_id: str) -> bool:
    """Whether a search is answered InternalServerError. Any other failure is the test's."""
    try:
        shards.client(node).search_faces(CollectionId="people", FaceId=face_id)
    except ClientError as failure:
        told = failure.response
    else:
        return False
    assert told["Error"]["Code"] == "InternalServerError"
    assert told["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "part" not in told["Error"]["Message"].lower()
    return True


def test_two_halves_answer_as_one_node_does(shards: Shards, people: People) -> None:
    first = shards.join("1/2")
    assert ready(first)[0] == 503
    assert not ready(first)[1]["parts_covered"]
    code, told = shards.topology(first)
    assert (code, told["covered"], told["missing"]) == (1, False, ["2/2"])
    shards.client(first).create_collection(CollectionId="people")
    second = shards.join("2/2")
    until(lambda: ready(first)[0] == ready(second)[0] == 200)

    faces = enrol(shards, people)
    halves = [
        sum(Share.parse(part).has(bytes.fromhex(each.replace("-", ""))) for each in faces) for part in ("1/2", "2/2")
    ]
    assert min(halves) > 0
    found = answers(shards, first, people, faces)
    assert found == answers(shards, second, people, faces)
    assert len(found[0]) == len(faces)
    for paths, matches in zip(people, found, strict=False):
        assert faces[matches[0][0]] == paths

    whole = shards.join()
    assert answers(shards, whole, people, faces) == found

    def loaded() -> list[int]:
        return [each["references_loaded"] for each in shards.topology(first)[1]["nodes"]]

    until(lambda: loaded() == [*halves, len(faces)])
    code, told = shards.topology(second)
    assert (code, told["covered"], told["missing"]) == (0, True, [])
    assert [each["part"] for each in told["nodes"]] == ["1/2", "2/2", "1/1"]
    assert {each["behind"] for each in told["nodes"]} == {0}
    assert {each["is_listening"] for each in told["nodes"]} == {True}
    assert [each["url"] for each in told["nodes"]] == [each.endpoint for each in shards.nodes]
    assert [each["duties"] for each in told["nodes"]] == [["upkeep"], [], []]
    with urllib.request.urlopen(f"{second.endpoint}/metrics") as page:
        lines = page.read().decode().splitlines()
    for wanted in (
        "countenance_nodes 3.0",
        "countenance_index_behind_revisions 0.0",
        "countenance_index_following 1.0",
        "countenance_parts_covered 1.0",
    ):
        assert wanted in lines

    gone = sorted(faces)[::3]
    assert set(shards.client(first).delete_faces(CollectionId="people", FaceIds=gone)["DeletedFaces"]) == set(gone)
    left = {each: name for each, name in faces.items() if each not in gone}
    after = answers(shards, second, people, left)
    assert not {face_id for each in after for face_id, _ in each} & set(gone)
    assert after == answers(shards, whole, people, left)


def test_without_a_part_searches_fail_until_somebody_has_it(shards: Shards, people: People) -> None:
    first, second = shards.join("1/2"), shards.join("2/2")
    shards.client(first).create_collection(CollectionId="people")
    few = dict(list(people.items())[:3])
    faces = enrol(shards, few)
    probe = min(faces)
    until(lambda: ready(first)[0] == 200)
    expected = answers(shards, first, few, faces)

    second.process.kill()
    second.process.wait()
    assert refused(shards, first, probe)
    until(lambda: ready(first)[0] == 503)
    report = ready(first)[1]
    assert [name for name, holds in report.items() if holds is False] == ["parts_covered"]
    code, told = shards.topology(first)
    assert (code, told["missing"], [each["is_live"] for each in told["nodes"]]) == (1, ["2/2"], [True, False])
    more = people[max(people)]
    answer = shards.client(first).index_faces(CollectionId="people", Image={"Bytes": more[0].read_bytes()}, MaxFaces=1)
    shards.client(first).delete_faces(CollectionId="people", FaceIds=[answer["FaceRecords"][0]["Face"]["FaceId"]])

    second = shards.again(second, "2/2")
    took = until(lambda: not refused(shards, first, probe))
    print(f"\nsearches again {took:.2f} s after it said that it was ready")
    until(lambda: ready(first)[0] == 200)
    assert answers(shards, first, few, faces) == expected == answers(shards, second, few, faces)

    second.process.kill()
    second.process.wait()
    assert refused(shards, first, probe)
    third = shards.join("2/2")
    until(lambda: not refused(shards, first, probe))
    assert answers(shards, third, few, faces) == expected
    assert third.stop() == 0
    until(lambda: refused(shards, first, probe))
    shards.join()
    until(lambda: not refused(shards, first, probe))
    assert answers(shards, first, few, faces) == expected


def test_one_that_hangs_is_passed_over(shards: Shards, people: People) -> None:
    first, second = shards.join("1/2"), shards.join("2/2")
    shards.client(first).create_collection(CollectionId="people")
    few = dict(list(people.items())[:3])
    faces = enrol(shards, few)
    until(lambda: ready(first)[0] == 200)
    expected = answers(shards, first, few, faces)
    second.process.send_signal(signal.SIGSTOP)
    try:
        assert refused(shards, first, min(faces))  # within a client's patience
        shards.join("2/2")
        assert not refused(shards, first, min(faces))
        assert answers(shards, first, few, faces) == expected
    finally:
        second.process.send_signal(signal.SIGCONT)
    assert answers(shards, second, few, faces) == expected


def test_probes_go_over_tls_and_only_to_whom_the_authority_vouches_for(
    shards: Shards, people: People, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    tls = ("--tls-cert", str(cert), "--tls-key", str(key))
    first = shards.join("1/2", *tls, COUNTENANCE_NODE_CA_FILE=str(cert))
    second = shards.join("2/2", *tls)  # trusts the system's authorities, which do not vouch for it
    faces = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_CA_BUNDLE", str(cert))
        shards.client(first).create_collection(CollectionId="people")
        for path in people[min(people)][:3]:
            answer = shards.client(first).index_faces(CollectionId="people", Image={"Bytes": path.read_bytes()})
            faces.update({each["Face"]["FaceId"]: each for each in answer["FaceRecords"]})
        time.sleep(1)
        assert not refused(shards, first, min(faces))
        assert refused(shards, second, min(faces))
        assert "CERTIFICATE_VERIFY_FAILED" in second.log.read_text()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"COUNTENANCE_SEARCH_SHARD": "1/2"}, "without database"),
        ({"COUNTENANCE_DATABASE": "postgresql://x/y", "COUNTENANCE_SEARCH_SHARD": "3/2"}, "is no part"),
        (
            {"COUNTENANCE_DATABASE": "postgresql://x/y", "COUNTENANCE_NODE_URL": "http://10.1.2.3:80"},
            "plain HTTP, and other machines use it",
        ),
        ({"COUNTENANCE_DATABASE": "postgresql://x/y", "COUNTENANCE_NODE_URL": "ftp://h"}, "not a plain URL"),
        (
            {"COUNTENANCE_DATABASE": "postgresql://x/y", "COUNTENANCE_SEARCH_SHARD": "1/2", "COUNTENANCE_WORKERS": "2"},
            "is given with workers",
        ),
        (
            {
                "COUNTENANCE_DATABASE": "postgresql://x/y",
                "COUNTENANCE_SEARCH_SHARD": "1/2",
                "COUNTENANCE_HOST": "0.0.0.0",
                "COUNTENANCE_INSECURE_HTTP": "true",
            },
            "no address that other nodes could call",
        ),
        ({"COUNTENANCE_NODE_CA_FILE": "/dev/null"}, "node_ca_file /dev/null cannot be used"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, flags: dict[str, str], said: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COUNTENANCE_")}
    done = subprocess.run(
        [sys.executable, "-m", "countenance", "serve", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        env=kept | flags,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr


def posted(node: Server, headers: dict[str, str], body: bytes, *, length: int | None = None) -> tuple[int, bytes, str]:
    """Status, body and MAC of an answer."""
    parts = urlsplit(node.endpoint)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.putrequest("POST", asking.PATH)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(body) if length is None else length))
        connection.endheaders()
        with contextlib.suppress(OSError):  # it answered and closed before it had all
            connection.send(body)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader(asking.MAC) or ""
    finally:
        connection.close()


def test_hostile_questions_get_nothing(shards: Shards) -> None:
    node = shards.join("1/2")
    shards.client(node).create_collection(CollectionId="people")
    name = shards.topology(node)[1]["nodes"][0]["node"]
    keys = Secrets(Keyring.open(node.data / "master.key", create=False))
    probe = np.zeros((1, 128), np.float32)
    probe[0, 0] = 1
    body = asking.probe_bytes(probe)
    question = Question(name, 1, 0, Share(1, 2), 1, 128, 10)
    right = asking.ask(keys, question, body)

    status, said, mac = posted(node, right, body)
    assert status == 200
    assert mac == keys.of_answer(right[asking.MAC], 200, said)
    assert asking.rankings_of(question, said)[0].face_ids == []

    def altered(**changes: Any) -> dict[str, str]:
        words = json.dumps(json.loads(right[asking.QUESTION]) | changes)
        return {asking.QUESTION: words, asking.MAC: right[asking.MAC]}

    def signed(words: str) -> dict[str, str]:
        return {asking.QUESTION: words, asking.MAC: keys.of_question(words.encode())}

    foreign = Secrets(Keyring(secrets.token_bytes(32)))
    unknown: list[dict[str, str]] = [
        {},
        {asking.QUESTION: right[asking.QUESTION]},
        {asking.MAC: right[asking.MAC]},
        {**right, asking.MAC: "0" * 64},
        {**right, asking.MAC: ""},
        {**right, asking.MAC: "ä" * 32},
        asking.ask(foreign, question, body),
        altered(uid=2),
        altered(count=8000),
        altered(nonce="00" * 16),
        {asking.QUESTION: "x" * 5_000, asking.MAC: "0" * 64},
    ]
    for headers in unknown:
        assert posted(node, headers, body)[:2] == (403, b"")
    assert posted(node, {**right, asking.MAC: "0" * 64}, b"x" * (1 << 20), length=1 << 34)[:2] == (403, b"")

    fresh = [asking.ask(keys, question, body) for _ in range(8)]
    long_ago = time.time() - 2 * asking.WINDOW_S
    for headers, sent, status in [
        (right, body, 409),  # a second time
        (asking.ask(keys, question, body, clock=lambda: long_ago), body, 409),
        (asking.ask(keys, question, body, clock=lambda: time.time() + 2 * asking.WINDOW_S), body, 409),
        (asking.ask(keys, Question("another", 1, 0, Share(1, 2), 1, 128, 10), body), body, 409),
        (asking.ask(keys, Question(name, 1, 0, Share(2, 2), 1, 128, 10), body), body, 409),
        (asking.ask(keys, Question(name, 1, 0, Share(1, 2), 1 << 40, 128, 10), body), body, 413),
        (asking.ask(keys, Question(name, 1, 0, Share(1, 2), 1024, 1 << 20, 1), body), body, 413),
        (asking.ask(keys, Question(name, 99, 0, Share(1, 2), 1, 128, 10), body), body, 404),
        (asking.ask(keys, Question(name, 1, 0, Share(1, 2), 0, 128, 10), b""), b"", 400),
        (fresh[0], body[:-1], 400),
        (fresh[1], body + b"x", 400),
        (fresh[2], body + b"x" * (8 << 20), 400),
        (fresh[3], bytes(len(body)), 400),
        (asking.ask(keys, question, bytes(len(body))), bytes(len(body)), 400),  # a probe of no length
        (asking.ask(keys, question, b"\xff" * len(body)), b"\xff" * len(body), 400),  # NaN
        (signed("{}"), body, 400),
        (signed("[" * 900), body, 400),
        (signed('{"v":1,"to":null}'), body, 400),
        (signed(right[asking.QUESTION].replace('"uid":1', '"uid":-1')), body, 400),
        (signed(right[asking.QUESTION].replace('"uid":1', '"uid":1e3')), body, 400),
    ]:
        told = posted(node, headers, sent)
        assert told[:2] == (status, b""), headers[asking.QUESTION][:300]
    with pytest.raises(TimeoutError):  # cut off in the middle of the body: nobody is left to answer
        posted_and_gone(node, fresh[4], body[:100], len(body))
    assert ready(node)[1]["store_open"]
    assert posted(node, fresh[5], body)[0] == 200
    assert hashlib.sha256(body).hexdigest() in right[asking.QUESTION]
    assert "Traceback" not in node.log.read_text()


def posted_and_gone(node: Server, headers: dict[str, str], body: bytes, length: int) -> None:
    parts = urlsplit(node.endpoint)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)
    connection.putrequest("POST", asking.PATH)
    for name, value in {**headers, "content-length": str(length)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body)
    connection.getresponse()
