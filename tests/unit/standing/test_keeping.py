"""Documents and files of lists, by their hashes; and what the record makes of acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from countenance.errors import Error
from countenance.standing.documents import DocumentMissing, Documents
from countenance.standing.record import DAY_US, Record, Terms
from countenance.standing.snapshots import SnapshotMissing, Snapshots, digest_of
from countenance.store import Database, SqliteDatabase


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = SqliteDatabase(tmp_path / "countenance.db")
    yield made
    made.close()


def test_a_document_is_found_by_its_hash_and_no_other_is(database: Database) -> None:
    documents = Documents(database)
    kept = documents.keep({"b": 1, "a": ["ü", None]})
    assert documents.keep({"a": ["ü", None], "b": 1}) == kept
    assert Documents(database).find(kept) == {"a": ["ü", None], "b": 1}
    with pytest.raises(DocumentMissing, match="not there"):
        documents.find("00" * 32)
    database.maintain(lambda connection: connection.execute("UPDATE standing_document SET content = x'7b7d'").close())
    again = Documents(database)
    with pytest.raises(DocumentMissing, match="damaged"):
        again.find(kept)
    assert again.damaged() == [kept]
    again.keep({"b": 1, "a": ["ü", None]})
    assert again.damaged() == []


def test_files_are_kept_as_they_came(tmp_path: Path) -> None:
    snapshots, files = Snapshots(tmp_path), {"primary": b"a" * 10_000, "aliases": b"\x00\xff"}
    digest = snapshots.keep(files)
    assert digest == digest_of(files) == snapshots.keep(files)
    assert snapshots.find(digest) == files
    with pytest.raises(SnapshotMissing, match="not there"):
        snapshots.find("00" * 32)
    (snapshots.folder / digest / "aliases.gz").unlink()
    with pytest.raises(SnapshotMissing, match="damaged"):
        snapshots.find(digest)
    assert snapshots.keep(files) == digest
    assert snapshots.find(digest) == files
    (snapshots.folder / digest / "primary.gz").write_bytes(b"no gzip")
    with pytest.raises(SnapshotMissing, match="cannot be read"):
        snapshots.find(digest)
    for name in ("../x", "", "a/b", ".hidden"):
        with pytest.raises(Error, match="cannot be the name"):
            snapshots.keep({name: b""})


@dataclass
class Act:
    operation: str
    at_us: int
    details: Mapping[str, int | str] = field(default_factory=dict)
    account: str = "1"
    request_id: str = "r"


REPORTS: dict[str, Sequence[Mapping[str, Any]]] = {
    "clear": [],
    "hit": [{"case": "c1", "about": "x", "tier": "block"}],
    "other": [{"case": "c2", "about": "x", "tier": "review"}],
}


def taken(list_id: str, digest: str, at_us: int, removed: int = 0) -> Act:
    said: dict[str, int | str] = {"list_id": list_id, "format": "un-xml", "sha256": digest, "report_date": "2026-01-01"}
    said |= {"entities": 1, "source": "operator", "removed": removed, "removed_sha256": "d" if removed else ""}
    return Act("list.take", at_us, said, "", f"take {digest}")


def screened(report: str, at_us: int, party: str = "p1") -> Act:
    said: dict[str, int | str] = {"party_sha256": party, "inputs_sha256": "i", "report_sha256": report, "outcome": "x"}
    return Act("screening.done", at_us, {**said, "lists": "l", "cause": "asked"})


def verdict(standing: str, at_us: int, party: str = "p1") -> Act:
    said = {"standing": standing, "sector": "", "end_user_sectors": "", "reason": "x", "by": "a", "and": "b"}
    return Act("account.standing", at_us, {**said, "declaration": party})


def judged(case: str, judgement: str, at_us: int) -> Act:
    return Act("case.judge", at_us, {"case": case, "judgement": judgement, "reason": "x", "by": "a", "and": "b"})


def record_of(*acts: Act) -> Record:
    record = Record(lambda report: REPORTS[report], Terms())
    for act in acts:
        record.take(act)
    return record


OPENED = Act("account.create", 1, {"party_sha256": "p1", "owner": 0})
CLEARED = (OPENED, taken("l", "s1", 2), screened("clear", 3), verdict("cleared", 4))


def test_a_standing_is_that_of_its_moment() -> None:
    record = record_of(*CLEARED, screened("hit", 10), judged("c1", "cleared", 20), screened("other", 30))
    found = {at: record.standing("1", at).standing for at in (0, 3, 4, 9, 10, 19, 20, 29, 30)}
    assert found == {
        0: "pending", 3: "pending", 4: "cleared", 9: "cleared", 10: "suspended", 19: "suspended", 20: "cleared",
        29: "cleared", 30: "review",
    }  # fmt: skip
    record.take(judged("c2", "refused", 40))
    assert record.standing("1", 39).standing == "review"
    assert record.standing("1", 40).standing == "refused"
    assert record.standing("1", 12).standing == "suspended"


def test_what_came_later_was_not_known_then() -> None:
    record = record_of(*CLEARED)
    assert record.standing("1", 5).standing == "cleared"
    record.take(Act("account.declare", 6, {"party_sha256": "p2"}))
    assert record.standing("1", 5).standing == "cleared"
    now = record.standing("1", 7)
    assert (now.standing, len(now.why)) == ("review", 2)
    record.take(screened("clear", 8, "p2"))
    assert record.standing("1", 9).why == ("it declared something else since it was cleared",)
    record.take(verdict("cleared", 10, "p2"))
    assert record.standing("1", 11).standing == "cleared"


def test_decisions_that_were_lost_count_for_nothing_after() -> None:
    record = record_of(*CLEARED, screened("hit", 10), judged("c1", "cleared", 20))
    record.forget(30)
    assert record.standing("1", 29).standing == "cleared"
    assert record.standing("1", 31).standing == "pending"
    record.take(verdict("cleared", 40))
    assert record.standing("1", 41).standing == "suspended"


def test_an_owner_needs_no_screening_and_an_old_list_counts_for_nobody() -> None:
    record = record_of(*CLEARED, Act("account.create", 1, {"owner": 1}, "2"))
    assert record.standing("2", 50).standing == "owner"
    assert record.standing("1", 9 * DAY_US).standing == "cleared"
    assert record.standing("1", 11 * DAY_US).why == ("the list l is too old",)
    record.take(Act("list.seen", 9 * DAY_US, {"list_id": "l"}, ""))
    assert record.standing("1", 11 * DAY_US).standing == "cleared"
    record.take(taken("l", "s2", 12 * DAY_US))
    assert record.standing("1", 12 * DAY_US + 5).standing == "cleared"  # there is a day to screen again
    assert record.standing("1", 14 * DAY_US).why == ("nobody screened it with the list l of 2026-01-01",)


def test_snapshots_count_until_what_they_had_is_let_go() -> None:
    record = record_of(taken("l", "s1", 1), taken("l", "s2", 2, removed=3), taken("l", "s3", 3), taken("m", "t", 4))

    def sets(at_us: int) -> tuple[dict[str, str], list[tuple[str, str]]]:
        newest = {name: each.sha256 for name, each in record.taken(at_us).items()}
        return newest, [(earlier.sha256, later.sha256) for earlier, later in record.kept_back(at_us)]

    assert sets(1) == ({"l": "s1"}, [])
    assert sets(9) == ({"l": "s3", "m": "t"}, [("s1", "s2")])
    assert [each.sha256 for each in record.waiting(9)] == ["s2"]
    record.take(Act("list.accept", 10, {"list_id": "l", "act": "take s2"}, ""))
    assert sets(10) == ({"l": "s3", "m": "t"}, [])
    assert record.waiting(10) == []
    before = record.lists_digest(10)
    record.take(Act("list.retire", 20, {"list_id": "m"}, ""))
    assert sets(20) == ({"l": "s3"}, [])
    assert record.lists_digest(20) != before == record.lists_digest(10)


def test_what_was_waited_for_too_long_is_a_moment_of_its_own() -> None:
    """A standing changes without any act when a list, a screening or a statement has waited too long."""
    seen = [Act("list.seen", at * DAY_US, {"list_id": "l"}, "") for at in range(1, 6)]
    record = record_of(taken("l", "s0", 0), *CLEARED, *seen, Act("list.seen", 20 * DAY_US, {"list_id": "l"}, ""))
    found = record.moments("1")
    assert found[0] == 1  # where the account begins: what was listed before is no moment of it
    assert 15 * DAY_US + 1 in found  # ten days after it was looked at last
    assert 20 * DAY_US in found
    assert not {each.at_us for each in seen} & set(found)
    assert [record.standing("1", at).standing for at in (15 * DAY_US, 15 * DAY_US + 1, 20 * DAY_US)] == [
        "cleared", "review", "cleared",
    ]  # fmt: skip
    every = sorted({*found, *range(1, 40 * DAY_US, DAY_US // 4)})
    told = record.standing("1", 1)
    for at in every:
        if (now := record.standing("1", at)) != told:
            assert any(told_at <= at < told_at + DAY_US // 4 for told_at in found), at
            told = now


def test_a_statement_that_nobody_screened_with_has_the_account_reviewed() -> None:
    record = record_of(taken("l", "s1", 2), OPENED)
    first = screened("clear", 3)
    record.take(Act("screening.done", 3, {**first.details, "statements": record.statements_digest(3)}))
    record.take(verdict("cleared", 4))
    record.take(Act("ownership.record", 5, {"statement_sha256": "o", "by": "a"}, ""))
    latest = record.screening("1", 5)
    assert latest is not None
    assert latest.statements == record.statements_digest(4) != record.statements_digest(5)
    assert record.standing("1", DAY_US).standing == "cleared"  # there is a day to screen again
    assert record.standing("1", DAY_US + 6).why == ("nobody screened it since more was known of who owns whom",)
    assert DAY_US + 6 in record.moments("1")
