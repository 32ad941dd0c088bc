"""The errors of this package. A message says what is wrong, a hint says what to do about it.

AuditError
+-- Malformed     the bytes are not what the format says
+-- Rejected      well-formed, but the check fails
+-- Unavailable   something needed for the check cannot be had, so nothing was decided
"""

from __future__ import annotations


class AuditError(Exception):
    """Something a person can understand.

    Args:
        message: what is wrong, one sentence.
        hint: what to do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class Malformed(AuditError):
    """The bytes are not what the format says."""


class Rejected(AuditError):
    """The bytes are well-formed, but a signature, a hash or a proof does not hold."""


class Unavailable(AuditError):
    """A log, a file or a key needed for the check cannot be had: nothing was decided."""
