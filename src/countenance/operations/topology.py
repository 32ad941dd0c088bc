"""How an operator looks at who shares the database: which nodes, what each holds, who does what only one may do.

Changes nothing and tells of no account, so it is no act that the ledger has. What a node holds is what it last said of
itself, some moments ago.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from countenance import __version__
from countenance.gallery import Share, are_covered, lacking, share_of
from countenance.ledger import microseconds
from countenance.operations.instruction import Instruction, told_time
from countenance.store.leases import LEASE_S, UPKEEP, Node, nodes

SHOWN: Final = "topology.show"


def topology_show(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Tells who is here, and whether each of them finds every part of the collections at somebody who is."""
    here = nodes(on.database) if on.database.is_shared else _alone(on)
    searching = [(each, share) for each in here if _is_live(each) and (share := share_of(each.told)) is not None]
    asked = [share for each, share in searching if each.told.get("url")]
    failing = [share for _, share in searching if not are_covered([*asked, share])]
    return {
        "nodes": [_told(each, microseconds(on.at)) for each in here],
        "leases": [{"duty": duty, "node": each.node} for each in here for duty in each.duties],
        "covered": bool(searching) and not failing,
        "missing": [str(each) for each in lacking([*asked, *failing[:1]])] if failing else [],
    }


def _alone(on: Instruction) -> list[Node]:
    """The one process of an embedded database, if it is a server."""
    if on.gallery is None:
        return []
    told = {"version": __version__, "url": "", **asdict(on.gallery.holding())}
    return [Node(on.database.node, told, 0, int((time.monotonic() - on.database.opened) * 1_000_000), (UPKEEP,))]


def _is_live(node: Node) -> bool:
    return node.seen_us < LEASE_S * 1_000_000


def _told(node: Node, now_us: int) -> dict[str, Any]:
    said: Mapping[str, Any] = node.told
    share: Share | None = share_of(said)
    return {
        "node": node.node,
        "version": said.get("version"),
        "url": said.get("url") or None,
        "live": _is_live(node),
        "since": told_time(now_us - node.here_us),
        "seen": told_time(now_us - node.seen_us),
        "part": None if share is None else "all" if share.is_whole else str(share),
        "collections": said.get("collections"),
        "rows": said.get("rows"),
        "memory_bytes": said.get("index_bytes"),
        "behind": said.get("behind"),
        "listening": said.get("is_listening"),
        "duties": list(node.duties),
    }


VERBS: Final = {SHOWN: topology_show}
"""What operators ask about nodes."""
