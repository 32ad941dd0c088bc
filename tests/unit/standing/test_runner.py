"""Screening in processes, and what is remembered from one time to the next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.standing.test_lists import COMPANY, uk

from countenance.standing import runner
from countenance.standing.listed import Schema, ScreenedParty, entry_of
from countenance.standing.matching import Hit
from countenance.standing.runner import Runner, ScreeningFailed, Wanted
from countenance.standing.snapshots import SnapshotMissing, Snapshots

pytestmark = pytest.mark.skipif(not runner.is_installed(), reason="the extra is not installed: make standing")

PARTIES = [ScreenedParty(f"p{at}", Schema.LEGAL_ENTITY, (name,)) for at, name in enumerate(("Qwyxz Trading", "Zzyzx"))]


def taken(data: Path, *names: str) -> list[Wanted]:
    lines = [
        json.dumps({"id": name, "schema": "Company", "properties": {"name": [name], "topics": ["sanction"]}})
        for name in names
    ]
    digest = Snapshots(data).keep({"list": "\n".join(lines).encode()})
    return [Wanted("own", "ftm-json", digest)]


def found(hits: Sequence[tuple[Hit, ...]]) -> list[list[str]]:
    return [[hit.entry_id for hit in each] for each in hits]


def test_what_was_compared_is_not_compared_again_and_nothing_else_changes(tmp_path: Path) -> None:
    before, after = taken(tmp_path, "Qwyxz Trading"), taken(tmp_path, "Qwyxz Trading", "Zzyzx")
    one, told = Runner(tmp_path), list[tuple[int, int]]()
    first = one(before, PARTIES, lambda done, of: told.append((done, of)))
    assert (found(first), told) == ([["Qwyxz Trading"], []], [(2, 2)])
    second = one(after, PARTIES)
    assert found(second) == [["Qwyxz Trading"], ["Zzyzx"]]
    assert [hit.outcome for each in second for hit in each] == [
        hit.outcome for each in Runner(tmp_path)(after, PARTIES) for hit in each
    ]
    kept = one._before[second[1][0].party_hash]
    assert len(kept.compared) == len(set(kept.compared)) >= 1
    assert found(one(before, PARTIES)) == [["Qwyxz Trading"], []]  # an entry that left is no hit any more


def test_a_list_that_is_gone_fails_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(SnapshotMissing, match="not there"):
        Runner(tmp_path)([Wanted("own", "ftm-json", "00" * 32)], PARTIES)


def test_a_process_that_ends_early_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_work", _ended)
    with pytest.raises(ScreeningFailed, match="before it was done"):
        Runner(tmp_path)(taken(tmp_path, "Somebody"), PARTIES)


def _ended(chunk: object) -> None:
    """As the kernel ends what takes too much memory."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def test_whom_an_entry_names_as_parent_or_subsidiary_is_for_review(tmp_path: Path) -> None:
    """The UK's list says so in columns of its own; the company is not listed, and a person decides."""
    row = {**COMPANY, "Parent company": "BIG HOLDING PJSC", "Subsidiaries": "SMALLWATER SYSTEMS LLC"}
    wanted = [Wanted("uk-sl", "uk-csv", Snapshots(tmp_path).keep({"list": uk([row])}))]
    party = ScreenedParty("p", Schema.LEGAL_ENTITY, ("Smallwater Systems LLC",))
    ((hit,),) = Runner(tmp_path)(wanted, [party])
    assert (hit.tier, hit.score) == ("review", 1.0)
    assert hit.entry_id == "subsidiary SMALLWATER SYSTEMS LLC of RUS0001"
    assert entry_of(hit.entry_id) == entry_of("RUS0001") == "RUS0001"
    let_go = Wanted("uk-sl", "uk-csv", wanted[0].sha256, ())
    assert list(runner.entities(tmp_path, [let_go])) == []
    assert [each.names[0].text for each in runner.entities(tmp_path, wanted)] == [
        "EXAMPLE TRADING LLC", "BIG HOLDING PJSC", "SMALLWATER SYSTEMS LLC",
    ]  # fmt: skip
