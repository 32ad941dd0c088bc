"""How much of somebody ends up with a holder, through all chains, cross-holdings and treasury shares. Advisory only.

No regime's test uses it: OFAC's counts whole stakes of whoever is blocked, not products. It says how near a structure
is to a threshold that it stays under. Y = diag(V)^-1 (V - I) with V = (I - A)^-1, the integrated ownership of Brioschi,
Buzzacchi and Colombo (1989) as corrected for cycles by Baldone, Brioschi and Paleari (1998).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from countenance.standing.ownership.interval import WHOLE, Interval
from countenance.standing.ownership.regimes import Graph
from countenance.standing.ownership.statements import OWNING

WARNING: Final = (400_000, 500_000)
"""Millionths; from 40 % to below 50 %, somebody should look: a stake just under a threshold is a red flag (OTSI,
January 2025)."""


def integrated(graph: Graph, holder: str, *, treasury: bool = True) -> dict[str, Interval]:
    """Node -> the share that ends up with a holder, by the lower and the upper ends of what is said; without nodes of
    which that is nothing, and empty where cycles of whole ownership leave no answer.

    Args:
        treasury: shares that companies hold in themselves and each other raise everybody else's.
    """
    low, high = (_solved(graph, holder, is_high=is_high, treasury=treasury) for is_high in (False, True))
    return {
        node: Interval(min(low.get(node, 0), value), value)
        for node, value in sorted(high.items())
        if value and node != holder
    }


def _solved(graph: Graph, holder: str, *, is_high: bool, treasury: bool) -> dict[str, int]:
    nodes = sorted(_within(graph, holder))
    place = {node: at for at, node in enumerate(nodes)}
    stakes = np.zeros((len(nodes), len(nodes)))
    for each in graph.statements:
        if each.interest in OWNING and each.share is not None and each.owner in place and each.owned in place:
            if each.owner == each.owned and not treasury:
                continue
            at = place[each.owner], place[each.owned]
            stakes[at] = max(stakes[at], (each.share.high if is_high else each.share.low) / WHOLE)
    try:
        paths = np.linalg.inv(np.eye(len(nodes)) - stakes)
    except np.linalg.LinAlgError:
        return {}
    if not np.isfinite(paths).all() or (paths < -1e-9).any():
        return {}  # stakes of more than the whole somewhere: the sum does not converge
    row = place[holder]
    shares = (paths[row] - np.eye(len(nodes))[row]) / paths[row, row]
    return {node: min(WHOLE, round(float(shares[at]) * WHOLE)) for node, at in place.items()}


def _within(graph: Graph, holder: str) -> set[str]:
    """Whom the holder has anything in, through any chain, and who else holds in them: nothing else has a part in it."""
    out: dict[str, list[str]] = {}
    for each in graph.statements:
        out.setdefault(each.owner, []).append(each.owned)
    found, new = {holder}, [holder]
    while new:
        for node in out.get(new.pop(), ()):
            if node not in found:
                found.add(node)
                new.append(node)
    return found
