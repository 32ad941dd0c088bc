from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from countenance.store import Entry


def made(**changes: Any) -> Entry:
    values: dict[str, Any] = {
        "operation": "CreateCollection",
        "account_id": "012345678901",
        "access_key_id": "",
        "request_id": "r",
        "at": datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=2))),
        "details": {"b": 2, "a": "Müller"},
    }
    return Entry(**(values | changes))


def test_a_row_is_in_utc_and_its_details_are_canonical() -> None:
    row = made().row()
    assert row[4] == "2026-03-01T10:00:00.000005+00:00"
    assert row[5] == '{"a":"Müller","b":2}'
    assert Entry.from_row(row) == made()


@pytest.mark.parametrize(
    "changes",
    [
        {"account_id": "12345678901"},
        {"account_id": "01234567890a"},
        {"at": datetime(2026, 3, 1)},  # noqa: DTZ001 - the point of the case
        {"details": {"score": 0.5}},
        {"details": {"flag": True}},
        {"details": {"template": b"x"}},
        {"details": {"nested": {"a": 1}}},
    ],
)
def test_an_entry_refuses_what_the_record_cannot_hold(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="entry's"):
        made(**changes)
