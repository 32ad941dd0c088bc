"""How long a search waits for its turn: one queue before some equal servers, calls that come at random.

The model is M/D/c: Poisson arrivals, a service that always takes the same time, c servers, first come first served.
It has no closed form that is short, so two classical results stand in for it. How often a call waits at all is Erlang's
C formula (of M/M/c; A. K. Erlang, 1917). How long, when it waits, is exponential with the mean of heavy traffic,
D / (2 c (1 - u)) (J. F. C. Kingman, 1961 and 1962; for M/D/1 the mean that follows is exact, Pollaczek and Khinchine).
tests/unit/cli/test_capacity.py holds both to a simulation.

Knows numbers only.
"""

from __future__ import annotations

import math


def chance_of_waiting(servers: int, load: float) -> float:
    """Erlang's C: the share of calls that find every server busy.

    Args:
        servers: at least 1.
        load: work that arrives, in servers kept busy; below `servers`.
    """
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    utilisation = load / servers
    return blocked / (1 - utilisation * (1 - blocked))


def waiting(servers: int, load: float, service: float, quantile: float) -> float:
    """The time, in the unit of `service`, that the given share of calls does not wait longer than.

    Infinite when more work arrives than is done.
    """
    if load >= servers:
        return math.inf
    if load <= 0:
        return 0.0
    waits = chance_of_waiting(servers, load)
    if waits <= 1 - quantile:
        return 0.0
    mean_of_those = service / (2 * servers * (1 - load / servers))
    return mean_of_those * math.log(waits / (1 - quantile))
