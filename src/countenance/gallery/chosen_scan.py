"""The exact ranking for one probe or a few, from the rows that FAISS chooses of each scan.

FAISS's scans read codes and fp16 rows at the speed of memory, for one probe at a time. Where rounding could have
hidden a row that belongs into the answer, the choice of that scan is widened until it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.comparison import Ranking
from countenance.gallery.selection import Kept, Part, Probes, Scan, clipped, floor_of, settled
from countenance.gallery.shared_scan import shared

_WIDEN: Final = 4
_WIDEST: Final = 16_384
"""Rows chosen of one scan, beyond which FAISS's selection costs more than a shared scan."""


def alone(parts: Sequence[Part], probes: Probes, count: int, spare: int) -> list[Ranking]:
    """The same for one probe or two, from FAISS's choice of each scan. Every scan has a chooser.

    Args:
        spare: rows chosen beyond `count`, so that rounding at the last place rarely needs a second look.
    """
    count = min(count, sum(part.living for part in parts))
    if count == 0:
        return [Ranking([], [])] * len(probes)
    scans = [(number, scan) for number, part in enumerate(parts) for scan in part.scans]
    chosen = [_choose(scan, probes, range(len(probes)), count + spare) for _, scan in scans]
    terms = [probes.terms(scan) for _, scan in scans]
    rankings = []
    for probe in range(len(probes)):
        choices = [
            _Choice.of(parts, number, scan, probe, (products[probe], positions[probe]), term)
            for (number, scan), (products, positions), term in zip(scans, chosen, terms, strict=True)
        ]
        while True:
            kept = Kept.joined([each.kept for each in choices])
            floor = clipped(floor_of(kept, count, len(probes)))[probe]
            # Where every row was chosen nothing is hidden, though the floor be as low.
            hidden = [at for at, each in enumerate(choices) if -np.inf < each.unseen_at_most >= floor]
            if not hidden:
                break
            for at in hidden:
                (number, scan), width = scans[at], choices[at].width * _WIDEN
                if width > _WIDEST:
                    return shared(parts, probes, count)
                products, positions = _choose(scan, probes, range(probe, probe + 1), width)
                choices[at] = _Choice.of(parts, number, scan, probe, (products[0], positions[0]), terms[at])
        rankings.append(settled(parts, probes, kept.only(kept.upper >= floor), count)[probe])
    return rankings


@dataclass(frozen=True, slots=True)
class _Choice:
    """What FAISS chose of one scan for one probe."""

    kept: Kept
    width: int
    unseen_at_most: float
    """No row that was not chosen scores more; -inf when all were."""

    @classmethod
    def of(
        cls,
        parts: Sequence[Part],
        number: int,
        scan: Scan,
        probe: int,
        chosen: tuple[NDArray[np.float32], NDArray[np.int64]],
        terms: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    ) -> _Choice:
        _, factor, error = terms  # FAISS takes the codes' offset off itself
        products, positions = chosen
        scores = products.astype(np.float64) * factor[probe]
        unseen = scores[-1] + error[probe] if len(scores) < len(scan.data) else -np.inf
        at = positions + scan.start
        alive = parts[number].alive
        if alive is not None:
            is_living = alive[at]
            scores, at = scores[is_living], at[is_living]
        same = np.full((2, len(at)), [[probe], [number]], np.intp)
        kept = Kept(same[0], same[1], at, scores - error[probe], scores + error[probe])
        return cls(kept, len(products), float(unseen))


def _choose(scan: Scan, probes: Probes, which: range, width: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """FAISS's best `width` rows: products without shift, and positions in the scan; (probes, width) each."""
    ready = probes.exact if scan.block is None else probes.levels
    found = scan.chooser.search(ready[which.start : which.stop], min(width, len(scan.data)))
    return found[0], found[1]
