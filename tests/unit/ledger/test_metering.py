"""Units, tiers and the running count of a month."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest

from countenance.ledger.metering import (
    FREE,
    METERED,
    MeteringError,
    MonthCounters,
    PriceTable,
    day_of,
    metered_units,
    month_of,
)
from countenance.operations import OPERATIONS
from countenance.wire import model

TABLE = PriceTable.load()
ACCOUNT = "111122223333"
SMALL = """
format = 1
currency = "EUR"
source = "a test"
retrieved = "2026-11-01"
[[groups]]
name = "one"
operations = [{operations}]
tiers = [{{ up_to = 3, micro = 10 }}, {{ up_to = 5, micro = 7 }}, {{ micro = 1 }}]
""".format(operations=", ".join(f'"{name}"' for name in sorted(METERED)))


def micros(*moment: int) -> int:
    return (datetime(*moment, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_every_answered_operation_is_metered_or_free() -> None:
    assert set(OPERATIONS) <= METERED | FREE
    assert set(model.operations()) >= METERED | FREE
    assert not METERED & FREE


def test_amazons_tiers_to_the_micro_dollar() -> None:
    """The sums of https://aws.amazon.com/rekognition/pricing/, by hand: 1,000 + 3,200 + 18,000 dollars, then 400."""
    price = TABLE.price
    assert TABLE.currency == "USD"
    assert price("CompareFaces", 1, 0) == 1_000
    assert price("CompareFaces", 1_000_000, 0) == 1_000_000_000
    assert price("CompareFaces", 5_000_000, 0) == 4_200_000_000
    assert price("CompareFaces", 35_000_000, 0) == 22_200_000_000
    assert price("CompareFaces", 36_000_000, 0) == 22_600_000_000
    assert price("SearchFaces", 2, 999_999) == 1_800
    assert price("DetectFaces", 1, 4_999_999) == 800
    assert price("DetectFaces", 1, 5_000_000) == 600
    assert price("DetectFaces", 1, 10**12) == 400
    assert price("ListFaces", 0, 0) == 0


def test_any_split_of_a_month_costs_the_same() -> None:
    draw = random.Random(1)
    table = PriceTable.load(SMALL)
    for _ in range(200):
        parts = [draw.randrange(4) for _ in range(draw.randrange(1, 9))]
        already, total = 0, 0
        for units in parts:
            total += table.price("CompareFaces", units, already)
            already += units
        one_by_one = sum(10 if n < 3 else 7 if n < 5 else 1 for n in range(already))
        assert total == one_by_one == table.price("CompareFaces", already, 0)


@pytest.mark.parametrize("name", sorted(METERED))
def test_an_answered_metered_call_is_one_unit(name: str) -> None:
    assert metered_units(name, "OK") == 1
    assert metered_units(name, "AccessDeniedException") == 0
    assert metered_units(name, "ThrottlingException") == 0
    assert TABLE.group(name)


def test_what_is_free_stays_free() -> None:
    assert {metered_units(name, "OK") for name in (*FREE, "NoSuchOperation", "")} == {0}
    assert {TABLE.group(name) for name in FREE} == {""}
    with pytest.raises(MeteringError, match="not metered"):
        TABLE.price("ListFaces", 1, 0)
    with pytest.raises(MeteringError):
        TABLE.price("CompareFaces", -1, 0)
    with pytest.raises(MeteringError):
        TABLE.price("CompareFaces", 1, -1)


def test_the_version_depends_on_values_alone() -> None:
    table = PriceTable.load(SMALL)
    assert len(table.version) == 64
    assert PriceTable.load("# a remark\n" + SMALL.replace(" = ", "  =  ")).version == table.version
    assert PriceTable.load(SMALL.replace("micro = 7", "micro = 6")).version != table.version
    assert PriceTable.load(SMALL.replace("2026-11-01", "2026-11-02")).version != table.version


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("micro = 10", "micro = 1.5", "canonical"),
        ("micro = 10", "micro = -1", "whole numbers"),
        ("micro = 10", "micro = true", "whole numbers"),
        ("up_to = 5", "up_to = 3", "do not rise"),
        ("{ micro = 1 }", "{ up_to = 9, micro = 1 }", "malformed"),
        ("{ up_to = 3, micro = 10 }", "{ micro = 10 }", "malformed"),
        ('"EUR"', '"euro"', "ISO 4217"),
        ("format = 1", "format = 2", "format"),
        ('"CompareFaces", ', "", "No price for CompareFaces"),
        ('"CompareFaces", ', '"CompareFaces", "CompareFaces", ', "two prices"),
        ('"CompareFaces", ', '"CompareFaces", "ListFaces", ', "not metered"),
        ("source =", "sauce =", "sauce, source"),
        ('"2026-11-01"', "2026-11-01", "canonical"),
        ("format = 1", "format = ", "cannot be read"),
        ('[[groups]]\nname = "one"', '[[groups]]\nname = ""', "has a name"),
    ],
)
def test_a_bad_table_is_refused(old: str, new: str, says: str) -> None:
    assert old in SMALL
    with pytest.raises(MeteringError, match=says):
        PriceTable.load(SMALL.replace(old, new))


def test_months_and_days_are_utc() -> None:
    assert month_of(micros(2026, 11, 1)) == "2026-11"
    assert month_of(micros(2026, 11, 1) - 1) == "2026-10"
    assert day_of(micros(2024, 2, 29)) == "2024-02-29"
    for wrong in (-1, 10**18):
        with pytest.raises(MeteringError):
            month_of(wrong)


def test_counting_starts_anew_each_month_and_in_each_group() -> None:
    counters, table = MonthCounters(), PriceTable.load()
    counters.restore([(ACCOUNT, "image-1", "2026-10", 999_999), (ACCOUNT, "image-1", "2026-10", 1)])
    october, november = micros(2026, 10, 31, 23), micros(2026, 11, 1)
    assert counters.charge(table, ACCOUNT, "CompareFaces", october, 1) == 800
    assert counters.charge(table, ACCOUNT, "SearchFaces", october, 1) == 800
    assert counters.charge(table, ACCOUNT, "DetectFaces", october, 1) == 1_000
    assert counters.charge(table, ACCOUNT, "CompareFaces", november, 1) == 1_000
    assert counters.charge(table, "444455556666", "CompareFaces", october, 1) == 1_000
    assert counters.charge(table, ACCOUNT, "ListFaces", october, 0) == 0
    assert counters.units(ACCOUNT, "image-1", "2026-10") == 1_000_002
    again = MonthCounters()
    again.restore(counters.rows())
    assert again.rows() == counters.rows()
    assert len(counters.rows()) == 4


def test_a_call_that_was_not_written_is_taken_back() -> None:
    counters = MonthCounters()
    assert counters.charge(TABLE, ACCOUNT, "CompareFaces", 0, 1) == 1_000
    counters.withdraw(TABLE, ACCOUNT, "CompareFaces", 0, 1)
    assert counters.units(ACCOUNT, "image-1", "1970-01") == 0
    with pytest.raises(MeteringError, match="withdrawn"):
        counters.withdraw(TABLE, ACCOUNT, "CompareFaces", 0, 1)
    with pytest.raises(MeteringError):
        counters.charge(TABLE, ACCOUNT, "ListFaces", 0, 1)
    with pytest.raises(MeteringError):
        counters.restore([(ACCOUNT, "image-1", "2026-10", -1)])


def test_calls_at_once_never_share_a_place_in_the_tiers() -> None:
    counters, table = MonthCounters(), PriceTable.load(SMALL)
    amounts: list[int] = []

    def use() -> None:
        for _ in range(250):
            amounts.append(counters.charge(table, ACCOUNT, "CompareFaces", 0, 1))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(amounts) == table.price("CompareFaces", 2_000, 0)
    assert sorted(amounts, reverse=True)[:6] == [10, 10, 10, 7, 7, 1]
