"""What nodes say to each other when one searches another's part of a collection, and how they know each other.

An asking node sends, in two headers, what it asks for and a MAC over that, and the probes as the body, whose hash is in
what the MAC covers. The answer is face ids and scores, with a MAC over the question's MAC and itself. Both keys are
derived from the master key, so that whoever answers, and whoever is answered, has it. So is that of the addresses that
nodes leave in the database: no probe goes where nobody with the key said to be. No template of a stored face is
in either. Whoever has no key is refused before a byte of the body is read.

A question names the process that it is for, says when it was asked, and has a number that is never used again: each is
answered once, by one process, within `WINDOW_S`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.comparison import Ranking
from countenance.gallery.enrolment import LENGTH_TOLERANCE
from countenance.gallery.faults import GalleryError
from countenance.gallery.share import Share, ShareError
from countenance.gallery.values import MAX_CANDIDATES
from countenance.store import Keyring

PATH: Final = "/nodes/search"
QUESTION: Final = "x-countenance-question"
MAC: Final = "x-countenance-mac"
WINDOW_S: Final = 30.0
"""How far the clocks of two nodes may differ, the time on the wire included."""
MOST_PROBES: Final = 1_024
"""In one question: 2 MB of 512 features."""
MOST_BYTES: Final = MOST_PROBES * 1_024 * 4
"""Of a question's body: no model has more than 1,024 features."""
MOST_PLACES: Final = 1_000_000
"""Probes times candidates of one question: an answer of 20 MB."""
_MOST_WORDS: Final = 1_024
"""Characters of a question's header; it has about 300."""
_PLACE_BYTES: Final = 20
"""16 of the face id, 4 of the score."""
_VERSION: Final = 1

OK, BAD, FORBIDDEN, NOT_FOUND, REPEATED, TOO_LARGE, FAILED = 200, 400, 403, 404, 409, 413, 500


class NotAnswered(GalleryError):
    """A question was refused, or its answer is none. Carries the status of HTTP."""

    def __init__(self, message: str, status: int = BAD) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Question:
    """Part of a search.

    Attributes:
        to: the process that is asked.
        uid: the collection.
        revision: that whoever asks has seen: the answer is of this or a later one.
        share: the part that is asked for.
        rows, dimension: of the probes.
        count: candidates of each probe.
    """

    to: str
    uid: int
    revision: int
    share: Share
    rows: int
    dimension: int
    count: int
    digest: str = ""
    nonce: str = ""
    at_us: int = 0


class Secrets:
    """The keys of both directions, and of addresses."""

    def __init__(self, keyring: Keyring) -> None:
        self._question = keyring.derive("search nodes v1: questions")
        self._answer = keyring.derive("search nodes v1: answers")
        self._address = keyring.derive("search nodes v1: addresses")

    def __repr__(self) -> str:
        return "Secrets(...)"

    def of_address(self, node: str, url: str, part: str) -> str:
        """The MAC of where a node says it is: probes go to nobody else, whatever is written into the database."""
        words = json.dumps([node, url, part]).encode()
        return hmac.new(self._address, words, hashlib.sha256).hexdigest()

    def of_question(self, words: bytes) -> str:
        """The MAC of a question's header, hexadecimal."""
        return hmac.new(self._question, words, hashlib.sha256).hexdigest()

    def of_answer(self, mac: str, status: int, body: bytes) -> str:
        """The MAC of the answer to the question of that MAC, hexadecimal."""
        return hmac.new(self._answer, f"{mac} {status}\n".encode() + body, hashlib.sha256).hexdigest()


def ask(
    secrets_: Secrets, question: Question, probes: bytes, *, clock: Callable[[], float] = time.time
) -> dict[str, str]:
    """The headers of a question whose body is `probes`; others each time."""
    said = {
        "v": _VERSION,
        "to": question.to,
        "uid": question.uid,
        "revision": question.revision,
        "share": str(question.share),
        "rows": question.rows,
        "dimension": question.dimension,
        "count": question.count,
        "digest": hashlib.sha256(probes).hexdigest(),
        "nonce": secrets.token_hex(16),
        "at_us": int(clock() * 1_000_000),
    }
    words = json.dumps(said, separators=(",", ":"), sort_keys=True)
    return {QUESTION: words, MAC: secrets_.of_question(words.encode())}


class Gatekeeper:
    """Lets questions in that nodes of this database ask of this process, each once. Safe from any thread."""

    def __init__(self, secrets_: Secrets, node: str, *, clock: Callable[[], float] = time.time) -> None:
        self._secrets = secrets_
        self._node = node
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        """Numbers and until when they could come again, in the order of their coming; only such as had a right MAC."""

    def admit(self, words: str, mac: str) -> Question:
        """The question, before its body is read.

        Raises:
            NotAnswered: it has no right MAC, or is not for this process, too old, seen before, or too large.
        """
        if len(words) > _MOST_WORDS or not words.isascii() or not mac.isascii():
            raise NotAnswered("not a question of a node", FORBIDDEN)
        if not hmac.compare_digest(self._secrets.of_question(words.encode()), mac):
            raise NotAnswered("not a question of a node", FORBIDDEN)
        question = _question(words)
        now = self._clock()
        if question.to != self._node:
            raise NotAnswered("the question is for another process", REPEATED)
        if abs(now - question.at_us / 1_000_000) > WINDOW_S:
            raise NotAnswered("the clocks of two nodes differ, or a question is old", REPEATED)
        if question.rows * question.dimension * 4 > MOST_BYTES or question.rows * question.count > MOST_PLACES:
            raise NotAnswered("the question is too large", TOO_LARGE)
        with self._lock:
            while self._seen and next(iter(self._seen.values())) < now:
                self._seen.pop(next(iter(self._seen)))
            if question.nonce in self._seen:
                raise NotAnswered("the question was asked before", REPEATED)
            self._seen[question.nonce] = question.at_us / 1_000_000 + WINDOW_S
        return question


def body_bytes(question: Question) -> int:
    """How long the body of a question is."""
    return question.rows * question.dimension * 4


def probes_of(question: Question, body: bytes) -> NDArray[np.float32]:
    """The probes in a body. Raises NotAnswered: it is another, or has no features."""
    if len(body) != body_bytes(question) or hashlib.sha256(body).hexdigest() != question.digest:
        raise NotAnswered("the body is not the question's")
    probes = np.frombuffer(body, "<f4").reshape(question.rows, question.dimension).astype(np.float32)
    lengths = np.linalg.norm(probes, axis=1)
    if not bool(np.all(np.abs(lengths - 1.0) <= LENGTH_TOLERANCE)):  # false for NaN as well
        raise NotAnswered("the probes are not of length 1")
    return probes


def probe_bytes(probes: NDArray[np.float32]) -> bytes:
    """The body of a question."""
    return np.ascontiguousarray(probes, "<f4").tobytes()


def most_answer_bytes(question: Question) -> int:
    """How long an answer can be."""
    return question.rows * (4 + question.count * _PLACE_BYTES)


def answer_bytes(rankings: Sequence[Ranking]) -> bytes:
    """Face ids and scores: how many of each probe, then all ids, then all scores."""
    counts = struct.pack(f"<{len(rankings)}I", *(len(each.face_ids) for each in rankings))
    scores = np.asarray([score for each in rankings for score in each.scores], "<f4")  # canonical ones are float32
    return counts + b"".join(face_id for each in rankings for face_id in each.face_ids) + scores.tobytes()


def rankings_of(question: Question, body: bytes) -> list[Ranking]:
    """What an answer says. Raises NotAnswered: it is none."""
    head = 4 * question.rows
    if len(body) < head:
        raise NotAnswered("the answer is cut off")
    counts = struct.unpack(f"<{question.rows}I", body[:head])
    total = sum(counts)
    if max(counts, default=0) > question.count or len(body) != head + total * _PLACE_BYTES:
        raise NotAnswered("the answer has another length")
    ids = body[head : head + 16 * total]
    scores = np.frombuffer(body[head + 16 * total :], "<f4").tolist()
    rankings, at = [], 0
    for count in counts:
        face_ids = [ids[16 * place : 16 * place + 16] for place in range(at, at + count)]
        rankings.append(Ranking(face_ids, scores[at : at + count]))
        at += count
    return rankings


def _question(words: str) -> Question:
    """Raises NotAnswered."""
    try:
        said: dict[str, Any] = json.loads(words)
        if said["v"] != _VERSION:
            raise NotAnswered("the question is of another version")
        question = Question(
            to=str(said["to"]),
            uid=_whole(said["uid"]),
            revision=_whole(said["revision"]),
            share=Share.parse(str(said["share"])),
            rows=_whole(said["rows"]),
            dimension=_whole(said["dimension"]),
            count=_whole(said["count"]),
            digest=str(said["digest"]),
            nonce=str(said["nonce"]),
            at_us=_whole(said["at_us"]),
        )
    except (ValueError, TypeError, KeyError, ShareError):
        raise NotAnswered("the question is none") from None
    if not (question.rows and question.dimension) or question.count > 2 * MAX_CANDIDATES:
        raise NotAnswered("the question is none")
    return question


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(value)
    return value
