"""How many calls of an operation an account may make in a second: a token bucket for each, or none; and how many
collections, faces and users there may be.

Knows rates and clocks; does not know HTTP. A bucket holds one second's worth of calls (one at least), so that a client
that was quiet may send them at once, and SDKs that try again find room soon after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from countenance.errors import Error
from countenance.operations import OPERATIONS
from countenance.operations.buckets import Buckets, OwnBuckets

ANY: Final = "*"
UNLIMITED: Final = "unlimited"
MAX_RATE: Final = 1_000_000.0
MIN_RATE: Final = 0.001
"""About a call every quarter of an hour."""
AWS: Final[Mapping[str, float]] = {
    "CompareFaces": 100.0,
    "DetectFaces": 100.0,
    **dict.fromkeys(
        (
            "DeleteFaces",
            "IndexFaces",
            "ListFaces",
            "ListUsers",
            "SearchFaces",
            "SearchFacesByImage",
            "SearchUsers",
            "SearchUsersByImage",
        ),
        50.0,
    ),
    **dict.fromkeys(
        (
            "AssociateFaces",
            "CreateCollection",
            "CreateUser",
            "DeleteCollection",
            "DeleteUser",
            "DescribeCollection",
            "DisassociateFaces",
            "ListCollections",
            "ListTagsForResource",
            "TagResource",
            "UntagResource",
        ),
        5.0,
    ),
}
"""Transactions a second of an account in us-east-1, us-west-2 and eu-west-1: AWS General Reference, "Amazon
Rekognition endpoints and quotas". ListUsers and DeleteFaces are not in the copy that was read; they are taken to go
with ListFaces."""


COLLECTIONS: Final = "collections"
FACES: Final = "faces"
USERS: Final = "users"
COUNTS: Final = (COLLECTIONS, FACES, USERS)
"""What is counted instead: collections of an account, faces and users of a collection."""
AWS_COUNTS: Final[Mapping[str, int]] = {FACES: 20_000_000, USERS: 10_000_000}
"""Rekognition Developer Guide, "Guidelines and quotas": face vectors and user vectors of a collection. Of collections
it states no number."""
MOST_COUNTED: Final = 1_000_000_000_000


class QuotaError(Error):
    """The setting `quotas` cannot be read."""


class Quotas:
    """Rates by account and operation. Safe to use from any thread.

    Args:
        rules: (account or "", operation or `ANY`) -> calls a second, None for as many as they like; and (account or "",
            one of `COUNTS`) -> how many there may be.
        clock: seconds, never going back; the same for all who share the buckets.
        buckets: where what is left is kept; None: in this process alone.
    """

    def __init__(
        self,
        rules: Mapping[tuple[str, str], float | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        buckets: Buckets | None = None,
    ) -> None:
        self._rules = dict(rules or {})
        self._clock = clock
        self._buckets: Buckets = buckets or OwnBuckets()

    @classmethod
    def parse(
        cls, items: Iterable[str], clock: Callable[[], float] = time.monotonic, buckets: Buckets | None = None
    ) -> Quotas:
        """From the setting: `aws`, `OPERATION=RATE`, `ACCOUNT:OPERATION=RATE`, with `*` for every operation, one of
        `COUNTS` and a number in their places, and `unlimited` for either.

        Raises:
            QuotaError: an item is none of these.
        """
        rules: dict[tuple[str, str], float | None] = {}
        given = [each.strip() for each in items if each.strip()]
        if "aws" in given:
            rules |= {("", operation): rate for operation, rate in AWS.items()}
            rules |= {("", what): float(count) for what, count in AWS_COUNTS.items()}
        for each in given:
            if each != "aws":
                who, rate = _rule(each)
                rules[who] = rate
        return cls(rules, clock, buckets)

    @property
    def limits(self) -> bool:
        """Whether there is any rule."""
        return bool(self._rules)

    def rate(self, account: str, operation: str) -> float | None:
        """Calls a second; None: as many as they like. What names the account goes before what names nobody, what names
        the operation before what names all."""
        for who in ((account, operation), (account, ANY), ("", operation), ("", ANY)):
            if who in self._rules:
                return self._rules[who]
        return None

    def most(self, account: str, what: str) -> int | None:
        """How many of `COUNTS` there may be; None: as many as they like."""
        for who in ((account, what), ("", what)):
            if who in self._rules:
                found = self._rules[who]
                return None if found is None else int(found)
        return None

    def take(self, account: str, operation: str) -> bool:
        """Whether one more call is within the rate; if so, it is counted."""
        rate = self.rate(account, operation)
        if rate is None:
            return True
        most, of = max(1.0, rate), (account, operation)
        with self._buckets.alone(of):
            now = self._clock()
            left, at = self._buckets.get(of) or (most, now)
            left = min(most, left + (now - at) * rate)
            is_within = left >= 1.0
            self._buckets.put(of, (left - is_within, now))
        return is_within


def _rule(item: str) -> tuple[tuple[str, str], float | None]:
    who, equals, told = item.partition("=")
    account, colon, operation = who.rpartition(":")
    if not equals or (colon and not (len(account) == 12 and account.isascii() and account.isdigit())):
        raise _wrong(item)
    if operation in COUNTS:
        if told == UNLIMITED:
            return (account, operation), None
        if not told.isascii() or not told.isdigit() or int(told) > MOST_COUNTED:
            raise _wrong(item)
        return (account, operation), float(told)
    if operation != ANY and operation not in OPERATIONS:
        raise QuotaError(
            f"The setting quotas names the operation {operation[:60]!r}, which this server does not have.",
            hint="names are as in docs/reference/compatibility.md, such as IndexFaces, or * for all of them",
        )
    if told == UNLIMITED:
        return (account, operation), None
    try:
        rate = float(told)
    except ValueError:
        raise _wrong(item) from None
    if not MIN_RATE <= rate <= MAX_RATE:  # false for NaN as well
        raise _wrong(item)
    return (account, operation), rate


def _wrong(item: str) -> QuotaError:
    return QuotaError(
        f"The setting quotas holds {item[:80]!r}, which is no quota.",
        hint="aws, OPERATION=RATE or ACCOUNT:OPERATION=RATE, in calls a second (aws,123456789012:*=200); faces=COUNT",
    )
