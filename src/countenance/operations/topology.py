"""How an operator looks at the processes that share the store. Changes nothing, so it is no act of the ledger."""

from __future__ import annotations

from typing import Any, Final

from countenance.operations.instruction import Instruction
from countenance.store.leases import UPKEEP, nodes

SHOWN: Final = "topology.show"


def topology_show(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Who shares the store, what each has in memory, and which of them does what only one may do."""
    database = on.database
    here = [each.shown() for each in nodes(database)]
    if not database.is_shared:
        here = [{"node": database.node, "role": "server", "duties": [UPKEEP]}]
    return {"is_shared": database.is_shared, "answered_by": database.node, "nodes": here}


VERBS: Final = {SHOWN: topology_show}
