"""FolderSource: what it hands out, and that nothing outside its root can be had from it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from countenance.sources import FolderSource, ObjectNotAvailable, ObjectTooLarge, SourceUnavailable

ACCOUNT = "123456789012"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.jpg").write_bytes(b"not yours")
    root = tmp_path / "buckets"
    (root / "photos" / "2026" / "May").mkdir(parents=True)
    (root / "photos" / "a.jpg").write_bytes(b"one")
    (root / "photos" / "2026" / "May" / "ü b.jpg").write_bytes(b"two")
    (root / "others").mkdir()
    (root / "others" / "b.jpg").write_bytes(b"theirs")
    return root


@pytest.fixture
def source(root: Path) -> FolderSource:
    return FolderSource(root, max_bytes=10)


def test_an_object_is_the_bytes_of_the_file(source: FolderSource) -> None:
    assert source.fetch(ACCOUNT, "photos", "a.jpg", None) == b"one"
    assert source.fetch(ACCOUNT, "photos", "2026/May/ü b.jpg", None) == b"two"


def test_an_empty_file_is_an_empty_object(source: FolderSource, root: Path) -> None:
    (root / "photos" / "empty").touch()
    assert source.fetch(ACCOUNT, "photos", "empty", None) == b""


@pytest.mark.parametrize(
    ("bucket", "name"),
    [
        ("photos", "missing.jpg"),
        ("photos", "a.jpg/"),
        ("photos", "a.jpg/b"),
        ("photos", "2026"),
        ("photos", "2026/"),
        ("photos", ""),
        ("photos", "../../secret.jpg"),
        ("photos", "../others/b.jpg"),
        ("photos", "2026/../../others/b.jpg"),
        ("photos", "./a.jpg"),
        ("photos", "2026/./May/ü b.jpg"),
        ("photos", "2026//May/ü b.jpg"),
        ("photos", "//photos/a.jpg"),
        ("photos", "a.jpg\0"),
        ("photos", "a.jpg\0.png"),
        ("photos", "\ud800.jpg"),
        ("photos", "A.JPG"),
        ("photos", "a.Jpg"),
        ("photos", "2026/may/ü b.jpg"),
        ("photos", "x" * 300),
        ("photos", "x" * 1025),
        ("photos", "x/" * 512 + "x"),
        ("photos", "a.jpg\n"),
        ("Photos", "a.jpg"),
        ("missing", "a.jpg"),
        ("..", "secret.jpg"),
        ("...", "a.jpg"),
        ("../", "secret.jpg"),
        ("photos/2026", "May/ü b.jpg"),
        ("../buckets/photos", "a.jpg"),
        ("photos\0", "a.jpg"),
        ("photos\n", "a.jpg"),
        ("", "a.jpg"),
        ("arn:aws:s3:::photos", "a.jpg"),
    ],
)
def test_a_name_that_leads_nowhere_is_not_available(source: FolderSource, bucket: str, name: str) -> None:
    with pytest.raises(ObjectNotAvailable):
        source.fetch(ACCOUNT, bucket, name, None)


def test_an_absolute_name_is_not_available(source: FolderSource, root: Path) -> None:
    with pytest.raises(ObjectNotAvailable):
        source.fetch(ACCOUNT, "photos", str(root.parent / "secret.jpg"), None)


def test_a_version_is_not_available(source: FolderSource) -> None:
    with pytest.raises(ObjectNotAvailable) as refused:
        source.fetch(ACCOUNT, "photos", "a.jpg", "1")
    assert refused.value.hint == "folders keep no versions"


def test_links_are_refused_at_every_level(source: FolderSource, root: Path) -> None:
    (root / "photos" / "out.jpg").symlink_to(root.parent / "secret.jpg")
    (root / "photos" / "inside.jpg").symlink_to("a.jpg")
    (root / "photos" / "up").symlink_to("..")
    (root / "linked").symlink_to("photos")
    for bucket, name in [
        ("photos", "out.jpg"),
        ("photos", "inside.jpg"),
        ("photos", "up/others/b.jpg"),
        ("linked", "a.jpg"),
    ]:
        with pytest.raises(ObjectNotAvailable):
            source.fetch(ACCOUNT, bucket, name, None)


def test_the_root_itself_may_be_a_link(root: Path) -> None:
    (root.parent / "elsewhere").symlink_to(root)
    source = FolderSource(root.parent / "elsewhere", max_bytes=10)
    assert source.fetch(ACCOUNT, "photos", "a.jpg", None) == b"one"


def test_a_hard_link_under_another_case_is_a_name_of_its_own(source: FolderSource, root: Path) -> None:
    os.link(root / "photos" / "a.jpg", root / "photos" / "A.JPG")
    assert source.fetch(ACCOUNT, "photos", "A.JPG", None) == b"one"
    assert source.fetch(ACCOUNT, "photos", "a.jpg", None) == b"one"


def test_a_file_system_that_ignores_case_does_not_lend_its_spelling(
    source: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open, real_stat = os.open, os.stat

    def fold(path: object) -> object:
        return path.lower() if isinstance(path, str) and path.lower() == "a.jpg" else path

    monkeypatch.setattr(os, "open", lambda path, *rest, **named: real_open(fold(path), *rest, **named))
    monkeypatch.setattr(os, "stat", lambda path, *rest, **named: real_stat(fold(path), *rest, **named))
    assert source.fetch(ACCOUNT, "photos", "a.jpg", None) == b"one"
    with pytest.raises(ObjectNotAvailable) as refused:
        source.fetch(ACCOUNT, "photos", "A.JPG", None)
    assert "another case" in str(refused.value.hint)


def test_pipes_sockets_and_folders_are_not_objects_and_do_not_wait(
    source: FolderSource, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "photos" / "pipe.jpg")
    monkeypatch.chdir(root / "photos")  # a socket's path may be no longer than 108 bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        for name in ("pipe.jpg", "socket.jpg", "2026"):
            with pytest.raises(ObjectNotAvailable):
                source.fetch(ACCOUNT, "photos", name, None)


def test_devices_are_not_objects() -> None:
    source = FolderSource(Path("/"), max_bytes=10)
    with pytest.raises(ObjectNotAvailable) as refused:
        source.fetch(ACCOUNT, "dev", "zero", None)
    assert refused.value.hint == "that is not a regular file"


def test_the_largest_object_is_had_and_one_byte_more_is_not(source: FolderSource, root: Path) -> None:
    (root / "photos" / "ten").write_bytes(b"x" * 10)
    (root / "photos" / "eleven").write_bytes(b"x" * 11)
    assert len(source.fetch(ACCOUNT, "photos", "ten", None)) == 10
    with pytest.raises(ObjectTooLarge) as refused:
        source.fetch(ACCOUNT, "photos", "eleven", None)
    assert refused.value.max_bytes == 10


def test_a_file_that_grows_while_it_is_read_is_cut_off(
    source: FolderSource, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "photos" / "growing"
    path.write_bytes(b"x" * 10)
    real_read = os.read

    def read_and_grow(descriptor: int, amount: int) -> bytes:
        chunk = real_read(descriptor, amount)
        with path.open("ab") as file:
            file.write(b"y" * 5)
        return chunk

    monkeypatch.setattr(os, "read", read_and_grow)
    with pytest.raises(ObjectTooLarge):
        source.fetch(ACCOUNT, "photos", "growing", None)


def test_a_file_nobody_may_read_is_not_available(source: FolderSource, root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every file, so the permission cannot be seen to count")
    (root / "photos" / "a.jpg").chmod(0)
    with pytest.raises(ObjectNotAvailable):
        source.fetch(ACCOUNT, "photos", "a.jpg", None)


def test_trouble_of_the_machine_is_not_blamed_on_the_object(
    source: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int, _amount: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(SourceUnavailable):
        source.fetch(ACCOUNT, "photos", "a.jpg", None)


def test_every_refusal_reads_the_same(source: FolderSource) -> None:
    messages = set()
    for bucket, name, version in [("missing", "a", None), ("photos", "..", None), ("photos", "a.jpg", "1")]:
        with pytest.raises(ObjectNotAvailable) as refused:
            source.fetch(ACCOUNT, bucket, name, version)
        messages.add(str(refused.value))
    assert len(messages) == 1


def test_no_descriptor_is_left_open(source: FolderSource) -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not list a process's open files under /proc")
    before = descriptors()
    for name in ("a.jpg", "2026/May/ü b.jpg", "2026", "missing", "2026/missing/x"):
        try:
            source.fetch(ACCOUNT, "photos", name, None)
        except ObjectNotAvailable:
            continue
    assert descriptors() == before


@pytest.mark.parametrize(("swapped_before", "answer"), [("swap", None), ("a.jpg", b"mine")])
def test_a_folder_swapped_for_a_link_during_the_walk_leads_nowhere_else(
    source: FolderSource, root: Path, monkeypatch: pytest.MonkeyPatch, swapped_before: str, answer: bytes | None
) -> None:
    inner = root / "photos" / "swap"
    (root / "others" / "a.jpg").write_bytes(b"theirs")
    inner.mkdir()
    (inner / "a.jpg").write_bytes(b"mine")
    real_open = os.open

    def swap_and_open(path: Any, *rest: Any, **named: Any) -> int:
        # At the last moment: everything that was looked at before is now somewhere else.
        if path == swapped_before:
            inner.rename(root / "away")
            inner.symlink_to(root / "others")
        return real_open(path, *rest, **named)

    monkeypatch.setattr(os, "open", swap_and_open)
    if answer is None:
        with pytest.raises(ObjectNotAvailable):
            source.fetch(ACCOUNT, "photos", "swap/a.jpg", None)
    else:
        assert source.fetch(ACCOUNT, "photos", "swap/a.jpg", None) == answer
    assert inner.is_symlink(), "the swap must have happened"
