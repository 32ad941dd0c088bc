"""GrantedSource: a bucket without a grant cannot be told from one that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from countenance.sources import FolderSource, GrantedSource, ImageSource, ObjectNotAvailable


class CountingSource:
    def __init__(self, inner: ImageSource) -> None:
        self.inner = inner
        self.calls = 0

    def fetch(self, account_id: str, bucket: str, name: str, version: str | None) -> bytes:
        self.calls += 1
        return self.inner.fetch(account_id, bucket, name, version)


def test_only_granted_buckets_are_read(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"one")
    behind = CountingSource(FolderSource(tmp_path, max_bytes=10))
    grants = {("111111111111", "photos")}
    source = GrantedSource(behind, lambda account_id, bucket: (account_id, bucket) in grants)

    assert source.fetch("111111111111", "photos", "a.jpg", None) == b"one"
    with pytest.raises(ObjectNotAvailable) as ungranted:
        source.fetch("222222222222", "photos", "a.jpg", None)
    assert behind.calls == 1, "a bucket without a grant must not reach the source"
    grants.add(("222222222222", "missing"))
    with pytest.raises(ObjectNotAvailable) as missing:
        source.fetch("222222222222", "missing", "a.jpg", None)
    assert type(ungranted.value) is type(missing.value)
    assert str(ungranted.value) == str(missing.value)
    assert ungranted.value.args == missing.value.args


def test_a_grant_counts_from_the_next_fetch_and_its_end_too(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"one")
    granted = False
    source = GrantedSource(FolderSource(tmp_path, max_bytes=10), lambda _account_id, _bucket: granted)
    with pytest.raises(ObjectNotAvailable):
        source.fetch("111111111111", "photos", "a.jpg", None)
    granted = True
    assert source.fetch("111111111111", "photos", "a.jpg", None) == b"one"
    granted = False
    with pytest.raises(ObjectNotAvailable):
        source.fetch("111111111111", "photos", "a.jpg", None)
