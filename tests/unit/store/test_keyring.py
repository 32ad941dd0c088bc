from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from countenance.store import Keyring, KeyringError


def test_the_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    first = Keyring.open(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32
    assert [each.name for each in tmp_path.iterdir()] == ["master.key"]
    again = Keyring.open(path, create=True)
    assert again.derive("x") == first.derive("x")


def test_a_loose_umask_does_not_loosen_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Keyring.open(tmp_path / "k", create=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_starting_twice_at_once_gives_one_key(tmp_path: Path) -> None:
    path, found = tmp_path / "k", []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        found.append(Keyring.open(path, create=True).derive("same"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["k"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k"
    Keyring.open(path, create=True)
    path.chmod(mode)
    with pytest.raises(KeyringError, match="open to other users") as refused:
        Keyring.open(path, create=False)
    assert "chmod 600" in str(refused.value.hint)


def test_a_missing_file_is_an_error_without_create(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="no master key"):
        Keyring.open(tmp_path / "k", create=False)
    assert not (tmp_path / "k").exists()


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="cannot be created"):
        Keyring.open(tmp_path / "no" / "k", create=True)


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_file_of_another_size_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyringError, match="exactly 32 bytes"):
        Keyring.open(path, create=True)
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    with pytest.raises(KeyringError, match="not a regular file"):
        Keyring.open(tmp_path / "k", create=True)


def test_wrapping_is_bound_to_master_key_and_context_and_detects_changes() -> None:
    keyring, other = Keyring(bytes(32)), Keyring(bytes([1]) * 32)
    wrapped = keyring.wrap(b"k" * 32, aad=b"here")
    assert keyring.unwrap(wrapped, aad=b"here") == b"k" * 32
    assert b"k" * 8 not in wrapped
    assert keyring.wrap(b"k" * 32, aad=b"here") != wrapped
    with pytest.raises(KeyringError, match="does not open"):
        keyring.unwrap(wrapped, aad=b"there")
    with pytest.raises(KeyringError, match="does not open"):
        other.unwrap(wrapped, aad=b"here")
    with pytest.raises(KeyringError, match="does not open"):
        keyring.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]), aad=b"here")
    with pytest.raises(KeyringError, match="damaged"):
        keyring.unwrap(b"", aad=b"here")


def test_purposes_are_independent_and_stable() -> None:
    # HKDF-SHA256 (RFC 5869) without salt, info "countenance keyring v1: next token", of 32 zero bytes, computed
    # here with the standard library's HMAC as the second implementation
    import hashlib
    import hmac

    extracted = hmac.digest(bytes(32), bytes(32), hashlib.sha256)
    expected = hmac.digest(extracted, b"countenance keyring v1: next token\x01", hashlib.sha256)
    keyring = Keyring(bytes(32))
    assert keyring.derive("next token") == expected
    assert keyring.derive("next token") != keyring.derive("wrap")


def test_neither_text_form_nor_errors_show_key_bytes() -> None:
    keyring = Keyring(b"secret-master-key-secret-master-")
    assert "secret" not in repr(keyring)
    assert "secret" not in str(keyring)
