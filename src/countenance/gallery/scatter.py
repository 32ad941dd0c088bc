"""One search over all parts of a collection: this node's own here, every other at a node that has it, then merged.

The parts are those of one partition, each asked of one node, so that every reference is scored once. A node that has
everything can stand in for any part: of what it answers only that part is taken, and nothing is missed, since it ranks
all references and only the best of all are wanted. Scores are canonical, ties go by face id: the answer is that of one
node with everything, bit for bit.

A part that nobody answers fails the search. There is no answer with a part missing.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery import asking
from countenance.gallery.asking import NotAnswered, Question, Secrets
from countenance.gallery.comparison import Ranking
from countenance.gallery.faults import CollectionNotFound, GalleryError
from countenance.gallery.node_client import NodeClient
from countenance.gallery.share import Share, ShareError, are_covered, lacking
from countenance.gallery.values import Holding
from countenance.store import Database
from countenance.store.leases import nodes

ANSWER_S: Final = 5.0
"""How long a node may take to answer. A scan takes some ten milliseconds; catching up with others, up to seconds."""
TRIES: Final = 3
"""Nodes asked for one part, one after the other. A process that was killed stands in the list for half a minute."""
AVOIDED_S: Final = 5.0
"""How long a node that did not answer is asked last."""
KNOWN_FOR_S: Final = 0.25
"""How long a node goes by the list of nodes that it read."""
ASKS: Final = 64
"""Questions under way at once; the searches of a node are fewer (worker_threads), with a few parts each."""

_LOG = logging.getLogger(__name__)


class PartUnavailable(GalleryError):
    """No live node has a part of the collection, or none of them answered."""


@dataclass(frozen=True, slots=True)
class SearchNode:
    """A process that answers searches of its part."""

    node: str
    url: str
    share: Share
    is_live: bool
    """Whether it said so within the length of a lease."""


def announcement(secrets: Secrets, node: str, url: str, holding: Holding) -> dict[str, Any]:
    """What a node says of itself to be asked; `search_nodes` reads it."""
    return {"url": url, "mac": secrets.of_address(node, url, holding.part), **asdict(holding)}


def search_nodes(database: Database, secrets: Secrets) -> list[SearchNode]:
    """Those that say that they answer searches, and have the master key; this process included."""
    found = []
    for each in nodes(database):
        share, url, mac = share_of(each.told), str(each.told.get("url") or ""), str(each.told.get("mac"))
        if share is None or not url:
            continue
        wanted = secrets.of_address(each.node, url, str(each.told["part"]))
        if hmac.compare_digest(wanted.encode(), mac.encode()):
            found.append(SearchNode(each.node, url, share, is_live=each.is_live))
    return found


def share_of(told: Any) -> Share | None:
    """The part that a node says it has; None of one that does not search yet."""
    try:
        return Share.parse(str(told["part"]))
    except (KeyError, TypeError, ShareError):
        return None


class Directory:
    """Who else is here to be asked, read again when it is older than `KNOWN_FOR_S`. Safe from any thread."""

    def __init__(self, database: Database, share: Share, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets
        self._share = share
        self._lock = threading.Lock()
        self._known: tuple[float, list[SearchNode]] = (-1.0, [])
        self._failed: dict[str, float] = {}

    def plan(self) -> list[tuple[Share, list[SearchNode]]]:
        """For each part but this node's own the nodes that can be asked, the likeliest first.

        Raises:
            PartUnavailable: a part is nobody's.
        """
        others = self._others()
        partitions = [self._share.siblings()]
        partitions += [one.siblings() for one in sorted({each.share for each in others}, key=str)]
        for parts in partitions:
            wanted = [each for each in parts if each != self._share]
            able = [(part, [node for node in others if node.share == part or node.share.is_whole]) for part in wanted]
            if all(found for _, found in able):
                return able
        missing = ", ".join(map(str, lacking([self._share, *(each.share for each in others)])))
        raise PartUnavailable(
            f"No node has part {missing} of the collections.", hint="`countenance topology` shows who has what"
        )

    def is_covered(self) -> bool:
        """Whether live nodes have every part; this one has its own. Reads the database."""
        if self._share.is_whole:
            return True
        shares = [each.share for each in search_nodes(self._database, self._secrets) if each.is_live]
        return are_covered([*shares, self._share])

    def failed(self, node: str) -> bool:
        """Ask a node last for a while; whether it did answer lately."""
        with self._lock:
            is_new = self._failed.get(node, -1.0) < time.monotonic()
            self._failed[node] = time.monotonic() + AVOIDED_S
            self._known = (-1.0, [])
        return is_new

    def _others(self) -> list[SearchNode]:
        with self._lock:
            at, found = self._known
        now = time.monotonic()
        if now - at > KNOWN_FOR_S or at < 0:
            found = [each for each in search_nodes(self._database, self._secrets) if each.node != self._database.node]
            with self._lock:
                self._known = now, found
                self._failed = {node: until for node, until in self._failed.items() if until > now}
        avoided = self._failed
        return sorted(found, key=lambda each: (each.node in avoided, not each.is_live, each.share.is_whole, each.node))


class Scatter:
    """Searches of a node that has one part only. Safe from any thread; `close` it."""

    def __init__(self, directory: Directory, share: Share, secrets: Secrets, client: NodeClient) -> None:
        self.directory = directory
        self._share = share
        self._secrets = secrets
        self._client = client
        self._pool = ThreadPoolExecutor(ASKS, thread_name_prefix="ask")

    def search(
        self,
        uid: int,
        revision: int,
        probes: NDArray[np.float32],
        count: int,
        here: Callable[[], list[Ranking]],
    ) -> list[Ranking]:
        """The best `count` of the whole collection for each probe.

        Args:
            revision: that the search saw: every part has at least that.
            here: searches this node's part.

        Raises:
            PartUnavailable: there is no whole answer.
        """
        if not len(probes) or not count:
            return here()
        plan = self.directory.plan()
        asked = [self._pool.submit(self._part, part, able, uid, revision, probes, count) for part, able in plan]
        try:
            answers = [here()] if all(part.of == self._share.of for part, _ in plan) else []
            answers += [_outcome(each) for each in asked]
        finally:
            for each in asked:
                each.cancel()
        return [merged([answer[at] for answer in answers], count) for at in range(len(probes))]

    def close(self) -> None:
        """End what is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _part(
        self,
        part: Share,
        able: Sequence[SearchNode],
        uid: int,
        revision: int,
        probes: NDArray[np.float32],
        count: int,
    ) -> list[Ranking]:
        for node in able[:TRIES]:
            try:
                found: list[Ranking] = []
                portion = max(1, min(asking.MOST_PROBES, asking.MOST_PLACES // count))
                for start in range(0, len(probes), portion):
                    found += self._ask(node, uid, revision, probes[start : start + portion], count)
            except NotAnswered as failure:
                if self.directory.failed(node.node):
                    _LOG.warning("node %s at %s does not answer for part %s: %s", node.node, node.url, part, failure)
                continue
            return found if node.share == part else [_of_part(each, part) for each in found]
        raise PartUnavailable(
            f"No node answers for part {part} of the collections.", hint="`countenance topology` shows who has what"
        )

    def _ask(self, node: SearchNode, uid: int, revision: int, probes: NDArray[np.float32], count: int) -> list[Ranking]:
        question = Question(node.node, uid, revision, node.share, len(probes), probes.shape[1], count)
        body, sent = asking.probe_bytes(probes), {"": ""}

        def headers() -> dict[str, str]:
            nonlocal sent
            sent = asking.ask(self._secrets, question, body)
            return sent

        reply = self._client.post(node.url, headers, body, most=asking.most_answer_bytes(question), limit_s=ANSWER_S)
        wanted = self._secrets.of_answer(sent[asking.MAC], reply.status, reply.body)
        if not (reply.mac.isascii() and hmac.compare_digest(wanted, reply.mac)):
            raise NotAnswered(f"something that has not the master key answered ({reply.status})")
        if reply.status == asking.NOT_FOUND:
            raise CollectionNotFound("The collection is gone.")
        if reply.status != asking.OK:
            raise NotAnswered(f"it answered {reply.status}")
        return asking.rankings_of(question, reply.body)


def merged(rankings: Sequence[Ranking], count: int) -> Ranking:
    """The best of several rankings that share no face: score descending, then face id ascending."""
    pairs = sorted(
        (-score, face_id) for each in rankings for face_id, score in zip(each.face_ids, each.scores, strict=True)
    )[:count]
    return Ranking([face_id for _, face_id in pairs], [-score for score, _ in pairs])


def _of_part(ranking: Ranking, part: Share) -> Ranking:
    kept = [at for at, face_id in enumerate(ranking.face_ids) if part.has(face_id)]
    return Ranking([ranking.face_ids[at] for at in kept], [ranking.scores[at] for at in kept])


def _outcome(asked: Future[list[Ranking]]) -> list[Ranking]:
    try:
        return asked.result(TRIES * (ANSWER_S + 1))
    except TimeoutError:
        raise PartUnavailable("A part of the collections was not answered in time.") from None
