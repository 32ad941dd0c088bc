"""Operators and acts as values; what may be asked of a journal; errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

from countenance.errors import Error

T = TypeVar("T")

REASON_CHARACTERS: Final = 200
_HANDLE: Final = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*")
LONGEST_HANDLE: Final = 64


class Role(StrEnum):
    """What an operator is trusted with."""

    ADMIN = "admin"
    COMPLIANCE = "compliance"
    REVIEWER = "reviewer"
    AUDITOR = "auditor"


ROLES: Final = tuple(Role)


class OperatorError(Error):
    """There is no such operator, or not with that role, or it cannot be made."""


class SessionError(Error):
    """Nobody is logged in, or not any more, or the login failed."""


class ProposalError(Error):
    """A proposal cannot be made, approved or withdrawn."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who works here.

    Attributes:
        handle: names the person, in records for good.
        can_log_in: a password and a second factor are set.
    """

    handle: str
    roles: frozenset[Role]
    is_active: bool
    can_log_in: bool


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done by decision, as the log has it.

    Attributes:
        account: 12 digits, or "" for what concerns the whole server.
        at_us: microseconds since 1970.
    """

    operation: str
    account: str
    request_id: str
    at_us: int
    details: Mapping[str, int | str]


class Said(Protocol):
    """An act as a journal gives it out; see `Act`."""

    @property
    def operation(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def request_id(self) -> str: ...
    @property
    def at_us(self) -> int: ...
    @property
    def details(self) -> Mapping[str, int | str]: ...


class Kept(Said, Protocol):
    """An act that is in a journal."""

    @property
    def place(self) -> tuple[int, int]:
        """Later ones have a larger one."""
        ...


class Journal(Protocol):
    """Where acts are kept, in order, and cannot be changed."""

    def acts(self, operations: Sequence[str], after: tuple[int, int] = (-1, -1)) -> Iterator[Kept]:
        """Those of some operations, the oldest first; only those after one with this place."""
        ...

    def unsealed(self, operations: Sequence[str]) -> Iterator[Said]:
        """Acts of some operations that somebody else put into the rows; `acts` passes over them."""
        ...

    def last_us(self) -> int:
        """Time of the last entry, microseconds since 1970: entries never go back, whatever the clock does."""
        ...

    def lost_us(self) -> int:
        """When a recovery last could not bring every entry back, as leaves say: acts may be among them. Microseconds
        since 1970; 0 for never."""
        ...

    def append(
        self,
        operation: str,
        account: str,
        request_id: str,
        at_us: int,
        details: Mapping[str, int | str],
        *,
        party: Sequence[tuple[str, str, str]] = (),
        external_image_ids: Sequence[str] = (),
        also: Callable[[Any], None] | None = None,
    ) -> tuple[int, int]:
        """Make one durable, and whatever `also` does to the database with it; its place."""
        ...

    def note(self, operation: str, account: str, request_id: str, at_us: int, details: Mapping[str, int | str]) -> None:
        """Like `append`, of what rests on nothing that other processes decide."""
        ...

    def again(self, work: Callable[[], T], *, repeats: bool = False) -> T:
        """What `work` returns, tried again when another process decided something meanwhile; with `repeats`, whatever
        it had written before."""
        ...


def check_handle(handle: str) -> str:
    """The handle. Raises OperatorError when it cannot be one."""
    if len(handle) > LONGEST_HANDLE or not _HANDLE.fullmatch(handle):
        raise OperatorError(
            f"{handle[:40]!r} cannot be an operator's name.",
            hint="lower-case letters and digits with . _ - between them, as in a.jones; it stays in records for good",
        )
    return handle


def check_roles(roles: Sequence[str]) -> tuple[Role, ...]:
    """The roles, sorted. Raises OperatorError for none, or one that there is not."""
    try:
        found = tuple(sorted({Role(each) for each in roles}))
    except ValueError as error:
        raise OperatorError(f"There is no such role: {error}.", hint=f"there are {', '.join(ROLES)}") from None
    if not found:
        raise OperatorError("An operator has at least one role.", hint=f"there are {', '.join(ROLES)}")
    return found


def check_reason(reason: str) -> str:
    """The reason. Raises ProposalError when there is none, or none that can be recorded."""
    text = reason.strip()
    if not text or len(text) > REASON_CHARACTERS or not text.isprintable():
        raise ProposalError(
            f"Give a reason of at most {REASON_CHARACTERS} printable characters.", hint="it stays in the records"
        )
    return text
