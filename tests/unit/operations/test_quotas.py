"""Quotas: what the setting means, and how many calls get through."""

from __future__ import annotations

import os
import signal

import pytest

from countenance.operations import OPERATIONS
from countenance.operations.buckets import SharedBuckets
from countenance.operations.quotas import AWS, QuotaError, Quotas

A, B = "111111111111", "222222222222"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def served(quotas: Quotas, clock: Clock, operation: str, *, seconds: int, a_second: int, account: str = A) -> int:
    count = 0
    for _ in range(seconds * a_second):
        count += quotas.take(account, operation)
        clock.now += 1 / a_second
    return count


def test_without_the_setting_nothing_is_refused() -> None:
    quotas = Quotas.parse([])
    assert all(quotas.take(A, "DetectFaces") for _ in range(10_000))


def test_what_amazon_gives_is_for_every_operation() -> None:
    assert set(AWS) == set(OPERATIONS)
    assert Quotas.parse(["aws"]).rate(A, "SearchFacesByImage") == 50


def test_as_many_as_the_rate_get_through_however_many_come() -> None:
    clock = Clock()
    quotas = Quotas.parse(["aws"], clock)
    assert served(quotas, clock, "ListFaces", seconds=30, a_second=200) == pytest.approx(30 * 50 + 50, abs=1)
    assert served(quotas, clock, "ListFaces", seconds=30, a_second=40) == 30 * 40  # fewer than the rate: all of them


def test_a_quiet_client_may_send_a_second_s_worth_at_once_and_no_more() -> None:
    clock = Clock()
    quotas = Quotas.parse(["*=50"], clock)
    clock.now += 3_600
    assert sum(quotas.take(A, "ListFaces") for _ in range(200)) == 50
    clock.now += 1
    assert sum(quotas.take(A, "ListFaces") for _ in range(200)) == 50


def test_accounts_and_operations_have_buckets_of_their_own() -> None:
    quotas = Quotas.parse(["*=2"], Clock())
    for account in (A, B):
        for operation in ("ListFaces", "DetectFaces"):
            assert [quotas.take(account, operation) for _ in range(3)] == [True, True, False]


def test_how_many_there_may_be_is_of_the_account_or_everybody() -> None:
    assert Quotas.parse([]).most(A, "faces") is None
    quotas = Quotas.parse(["aws", f"{A}:collections=0", "users=3", f"{B}:users=unlimited"])
    assert (quotas.most(A, "faces"), quotas.most(A, "collections"), quotas.most(A, "users")) == (20_000_000, 0, 3)
    assert (quotas.most(B, "collections"), quotas.most(B, "users")) == (None, None)
    assert quotas.rate(A, "IndexFaces") == 50  # counts and rates do not meet


def test_less_than_a_call_a_second() -> None:
    clock = Clock()
    quotas = Quotas.parse(["DetectFaces=0.1"], clock)
    assert served(quotas, clock, "DetectFaces", seconds=100, a_second=10) == pytest.approx(11, abs=1)


def test_what_names_more_goes_first() -> None:
    quotas = Quotas.parse(["aws", f"{A}:*=7", f"{A}:ListFaces=3", "*=1", f"{B}:DetectFaces=unlimited"])
    assert quotas.rate(A, "ListFaces") == 3
    assert quotas.rate(A, "DetectFaces") == 7
    assert quotas.rate(B, "DetectFaces") is None
    assert quotas.rate(B, "ListFaces") == 50
    assert Quotas.parse(["*=1"]).rate(B, "ListFaces") == 1


@pytest.mark.parametrize(
    "item",
    ["ListFaces", "ListFaces=", "ListFaces=-1", "ListFaces=0", "ListFaces=nan", "ListFaces=1e9", "12:ListFaces=1", "=1",
     "Listfaces=1", "AWS", f"{A}:=1", f"{A}:ListFaces:x=1", "faces=", "faces=-1",
      "users=1.5", "collections=*", "faces=9999999999999"],
)  # fmt: skip
def test_what_is_no_quota_is_refused_with_an_example(item: str) -> None:
    with pytest.raises(QuotaError) as refused:
        Quotas.parse([item])
    assert refused.value.hint


def test_processes_that_share_buckets_share_what_is_left() -> None:
    shared = SharedBuckets()
    quotas = Quotas.parse(["DetectFaces=5", "ListFaces=3"], buckets=shared)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        taken = sum(quotas.take("123456789012", "DetectFaces") for _ in range(3))
        os.write(write, bytes([taken]))
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1) == b"\x03"
    assert sum(quotas.take("123456789012", "DetectFaces") for _ in range(5)) == 2
    assert sum(quotas.take("123456789012", "ListFaces") for _ in range(5)) == 3
    assert sum(quotas.take("000000000000", "DetectFaces") for _ in range(9)) == 5
    os.close(read)
    os.close(write)


def test_a_process_that_is_killed_with_a_bucket_in_its_hands_holds_nobody_up() -> None:
    shared = SharedBuckets()
    quotas = Quotas.parse(["DetectFaces=5"], buckets=shared)
    pid = os.fork()
    if pid == 0:
        with shared.alone(("123456789012", "DetectFaces")):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert quotas.take("123456789012", "DetectFaces")
