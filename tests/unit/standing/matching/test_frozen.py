"""The scorer that is installed is the one whose figures are committed, and it still reaches them.

After an upgrade: `python -m bench.screening > tests/accuracy/screening.json`, read the difference, and say so in the
changelog. Findings of another scorer are other findings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import screening

from countenance.standing.matching import Scorer

FROZEN: dict[str, Any] = json.loads((Path(__file__).parents[3] / "accuracy" / "screening.json").read_text("utf-8"))


def test_the_frozen_figures_meet_the_targets() -> None:
    assert round(screening.f1(FROZEN["cases"]["block"]), 3) >= screening.F1_TARGET
    assert FROZEN["recall"] >= screening.RECALL_TARGET
    assert min(FROZEN["probes"].values()) >= FROZEN["config"]["threshold"]


def test_the_installed_scorer_is_the_frozen_one(scorer: Scorer) -> None:
    # ICU belongs to the operating system; what it changes of the figures shows in them.
    assert scorer.name.partition(" icu/")[0] == FROZEN["scorer"].partition(" icu/")[0]
    assert json.loads(json.dumps(scorer.config)) == FROZEN["config"]
    assert scorer.config_hash == FROZEN["config_hash"]


def test_labelled_pairs_come_out_as_frozen(scorer: Scorer, measuring_data: Path) -> None:
    cases = screening.rows(measuring_data / "name_bench" / "nomenklatura_cases.csv")
    assert {tier: screening.labelled(scorer, cases, tier) for tier in ("block", "review")} == FROZEN["cases"]
    pairs = measuring_data / "name_bench" / "watchman_cross_script_pairs.csv"
    assert screening.cross_script(scorer, pairs) == FROZEN["cross_script"]


def test_shell_probes_come_out_as_frozen(scorer: Scorer) -> None:
    found = {name: screening.probe(scorer, name, listed) for name, listed in screening.NAMED_PROBES}
    assert found == FROZEN["probes"]
