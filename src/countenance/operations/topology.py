"""How an operator looks at the processes that share the store. Changes nothing, so it is no act of the ledger."""

from __future__ import annotations

from typing import Any, Final

from countenance.gallery import Share, are_covered, lacking, share_of
from countenance.operations.instruction import Instruction
from countenance.store.leases import UPKEEP, Node, nodes

SHOWN: Final = "topology.show"


def topology_show(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Who shares the store, what each has in memory, which of them does what only one may do, and whether each finds
    every part of the collections at somebody who is here."""
    database = on.database
    if not database.is_shared:
        here = [{"node": database.node, "role": "server", "duties": [UPKEEP]}]
        return {"is_shared": False, "answered_by": database.node, "nodes": here, "covered": True, "missing": []}
    found = nodes(database)
    missing = _missing(found)
    return {
        "is_shared": True,
        "answered_by": database.node,
        "nodes": [each.shown() for each in found],
        "covered": missing == [],
        "missing": missing or [],
    }


def _missing(found: list[Node]) -> list[str] | None:
    """Parts that some node finds at nobody; None when no node answers searches. One that says no address is asked by no
    other node."""
    searching = [(each, share) for each in found if each.is_live and (share := share_of(each.told)) is not None]
    asked: list[Share] = [share for each, share in searching if each.told.get("url")]
    failing = [share for _, share in searching if not are_covered([*asked, share])]
    if not searching:
        return None
    return [str(each) for each in lacking([*asked, *failing[:1]])] if failing else []


VERBS: Final = {SHOWN: topology_show}
