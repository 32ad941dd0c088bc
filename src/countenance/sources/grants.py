"""Which account may read which bucket, in front of any source.

Knows only that there are grants, not how they are kept. A bucket that is not granted never reaches the source
behind, so nothing about it can be learnt, not even by the time an answer takes.
"""

from __future__ import annotations

from collections.abc import Callable

from countenance.sources.source import ImageSource, ObjectNotAvailable


class GrantedSource:
    """An `ImageSource` that answers for a bucket without a grant as for one that does not exist."""

    def __init__(self, inner: ImageSource, is_granted: Callable[[str, str], bool]) -> None:
        """Put grants in front of `inner`; `is_granted(account_id, bucket)` is asked on every fetch."""
        self._inner = inner
        self._is_granted = is_granted

    def fetch(self, account_id: str, bucket: str, name: str, version: str | None) -> bytes:
        """See `ImageSource.fetch`."""
        if not self._is_granted(account_id, bucket):
            raise ObjectNotAvailable(hint=f"account {account_id} has no grant for that bucket")
        return self._inner.fetch(account_id, bucket, name, version)
