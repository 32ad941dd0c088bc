"""Answers other nodes' questions about the part of the collections that this one has.

Knows the shelf and who may ask (`asking`); does not know HTTP but for its statuses. The call that a question belongs to
is recorded by the node that asks, before its caller is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from countenance.gallery import asking
from countenance.gallery.asking import Gatekeeper, NotAnswered, Question, Secrets
from countenance.gallery.faults import CollectionNotFound
from countenance.gallery.identify import searched
from countenance.gallery.share import Share
from countenance.gallery.shelf import Shelf

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the node that asked; `mac` is empty where it has not shown that it may ask."""

    status: int
    mac: str = ""
    body: bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        """What goes into the head of the answer."""
        return {asking.MAC: self.mac} if self.mac else {}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A question whose body may be read.

    Attributes:
        length: of the body, bytes.
        finish: what is answered to the body.
    """

    length: int
    finish: Callable[[bytes], Answer]


class Answering:
    """The answering side of a node. Safe from any thread."""

    path: Final = asking.PATH

    def __init__(self, secrets: Secrets, node: str, shelf: Shelf, share: Share) -> None:
        self._secrets = secrets
        self._gatekeeper = Gatekeeper(secrets, node)
        self._shelf = shelf
        self._share = share

    def admit(self, headers: Mapping[str, str]) -> Admitted | Answer:
        """Look at the head of a request, before anything of its body is read: whether it is admitted, or how refused.

        Args:
            headers: by their names in lower case.
        """
        words, mac = headers.get(asking.QUESTION, ""), headers.get(asking.MAC, "")
        try:
            question = self._gatekeeper.admit(words, mac)
            if not self._share.is_whole and question.share != self._share:
                raise NotAnswered("another part was asked for", asking.REPEATED)
        except NotAnswered as refusal:
            if refusal.status == asking.FORBIDDEN:
                return Answer(refusal.status)
            _LOG.warning("a node's question was refused: %s", refusal)
            return self._signed(mac, refusal.status)
        return Admitted(asking.body_bytes(question), partial(self._answer, question, mac))

    def _answer(self, question: Question, mac: str, body: bytes) -> Answer:
        """The best of this node's part for each probe of an admitted question."""
        try:
            probes = asking.probes_of(question, body)
            rankings = searched(self._shelf, question.uid, question.revision, probes, question.count)
            return self._signed(mac, asking.OK, asking.answer_bytes(rankings))
        except NotAnswered as refusal:
            return self._signed(mac, refusal.status)
        except CollectionNotFound:
            return self._signed(mac, asking.NOT_FOUND)
        except Exception:  # noqa: BLE001 -- the node that asks must be told, and nothing of ours
            _LOG.exception("a node's question could not be answered")
            return self._signed(mac, asking.FAILED)

    def _signed(self, mac: str, status: int, body: bytes = b"") -> Answer:
        return Answer(status, self._secrets.of_answer(mac, status, body), body)
