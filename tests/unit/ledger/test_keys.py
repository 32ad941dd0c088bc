"""The log's keys: one after another, with a leaf for each change, and what older keys signed stays recognised."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from countenance_audit.checkpoint import Checkpoint, open_checkpoint
from countenance_audit.errors import Rejected
from countenance_audit.leaf import Public as PublicLeaf
from countenance_audit.leaf import parse
from countenance_audit.note import SignedNote, Signer, VerifierKey, signature_line
from countenance_audit.policy import TrustPolicy

from countenance.ledger import Log, Public
from countenance.ledger.keys import LogKeyError
from countenance.store import DatabaseError, Keyring, KeyringError, SqliteDatabase


class Opened:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()

    def open(self) -> Log:
        self.keyring = Keyring.open(self.folder / "master.key", create=True)
        self.database = SqliteDatabase(self.folder / "countenance.db")
        self.log = Log(self.database, self.keyring, self.folder, origin="log.example/keys")
        return self.log

    def by_hand(self, statement: str, value: object) -> None:
        self.database.maintain(lambda connection: connection.execute(statement, (value,)).close())

    def signer(self) -> Signer:
        """Who signs now, as somebody with the master key has it."""
        row = self.log.storage.key_rows()[-1]
        return Signer(row.origin, self.keyring.unwrap(row.wrapped, aad=b"log-key/" + row.origin.encode()))

    def again(self) -> Log:
        self.database.close()
        return self.open()

    def told(self) -> list[tuple[str, str]]:
        """Reason and key of each leaf about a key."""
        found = [parse(leaf) for leaf in self.log.storage.leaves(0, self.log.size)]
        return [
            (each.content["reason"], each.content["key"])
            for each in found
            if isinstance(each, PublicLeaf) and each.kind == "key"
        ]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path)
    yield made
    made.database.close()


def signed_by(note: bytes, key: VerifierKey) -> bool:
    try:
        open_checkpoint(note, key)
    except Rejected:
        return False
    return True


def test_after_a_rotation_both_sign_until_the_older_is_retired(opened: Opened) -> None:
    old = opened.log.signer.verifier
    new = opened.log.rotate()
    assert opened.log.signer.verifier == new != old
    size, note = opened.log.checkpoint()
    assert signed_by(note, old)
    assert signed_by(note, new)
    # Who trusts the older key finds, under its signature, the leaf that names the newer one.
    assert opened.told() == [("first", str(old)), ("rotation", str(new))]
    assert size == opened.log.size
    opened.log.retire(old.key_id.hex())
    _, note = opened.log.checkpoint()
    assert signed_by(note, new)
    assert not signed_by(note, old)
    assert opened.told()[-1] == ("retirement", str(old))
    for kept in (old, new):
        TrustPolicy.parse(f"log {old}\nlog {new}\nquorum none\n").key_of(opened.log.origin, kept.key_id.hex())


def test_a_lost_key_signs_nothing_more_and_the_log_goes_on(opened: Opened) -> None:
    old = opened.log.signer.verifier
    middle = opened.log.rotate()
    new = opened.log.rotate(lost=True)
    _, note = opened.log.checkpoint()
    assert [signed_by(note, each) for each in (old, middle, new)] == [False, False, True]
    assert [reason for reason, _ in opened.told()] == ["first", "rotation", "loss"]
    assert [each.state for each in opened.log.keys.known] == ["lost", "lost", "signing"]


def test_the_keys_are_the_same_after_a_restart_and_older_checkpoints_count(opened: Opened) -> None:
    opened.log.publish()
    by_the_old = (opened.folder / "high-water").read_bytes()
    new = opened.log.rotate(lost=True)
    opened.database.close()
    (opened.folder / "high-water").write_bytes(by_the_old)  # signed by the lost key: still one of this log
    opened.open()
    assert opened.log.signer.verifier == new
    assert opened.again().keys.known[0].state == "lost"


@pytest.mark.parametrize("which", ["newest", "unknown", "retired"])
def test_only_an_older_key_that_signs_can_be_retired(opened: Opened, which: str) -> None:
    old = opened.log.signer.verifier.key_id.hex()
    opened.log.rotate()
    if which == "retired":
        opened.log.retire(old)
    key = {"newest": opened.log.signer.verifier.key_id.hex(), "unknown": "00000000", "retired": old}[which]
    before = opened.log.size
    with pytest.raises(LogKeyError):
        opened.log.retire(key)
    assert opened.log.size == before


def test_a_change_that_fails_leaves_key_and_log_as_they_were(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    key, size = opened.log.signer.verifier, opened.log.size

    def refuse(*_: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr(opened.log, "sequence", refuse)
    with pytest.raises(Exception, match="could not be confirmed"):
        opened.log.rotate()
    monkeypatch.undo()
    opened.again()
    assert (opened.log.signer.verifier, opened.log.size) == (key, size)


def test_seeds_are_sealed_and_need_the_master_key(opened: Opened) -> None:
    opened.log.rotate()
    opened.database.close()
    (opened.folder / "master.key").unlink()
    with pytest.raises(KeyringError):
        opened.open()


@pytest.mark.parametrize("lost", [False, True])
def test_no_checkpoint_over_the_leaf_of_a_change_is_signed_by_the_keys_before_it(opened: Opened, lost: bool) -> None:
    """Others publish in the transaction of the change, and between its commit and the moment when the keys are taken
    up."""
    old, keys, published = opened.log.signer.verifier, opened.log.keys, []
    follow, reload, threads = keys.follow, keys.reload, []
    opened.log.append(Public({"kind": "stop", "reason": "x"}))  # something to publish

    def publish_beside() -> None:
        thread = threading.Thread(target=lambda: published.append(opened.log.publish()))
        threads.append(thread)
        thread.start()
        thread.join(0.5)  # gives it all the time that it could want

    def followed(connection: sqlite3.Connection, *, lost: bool) -> VerifierKey:
        publish_beside()
        return follow(connection, lost=lost)

    def held_up() -> None:
        if len(threads) == 1 and threading.current_thread() is opened.database._writer._thread:
            publish_beside()
        reload()

    keys.follow, keys.reload = followed, held_up  # type: ignore[method-assign]
    new = opened.log.rotate(lost=lost)
    for thread in threads:
        thread.join()
    assert len(published) == 2
    for size, note in (*published, opened.log.checkpoint()):
        assert size == opened.log.size
        assert signed_by(note, new)
        assert signed_by(note, old) is not lost


def test_a_change_that_took_effect_though_its_commit_failed_is_taken_up(opened: Opened) -> None:
    writer = opened.database._writer
    commit, old = writer._commit, opened.log.signer.verifier

    def in_doubt() -> None:
        commit()
        writer._commit = commit  # type: ignore[method-assign]
        raise sqlite3.OperationalError("disk I/O error")

    writer._commit = in_doubt  # type: ignore[method-assign]
    with pytest.raises(DatabaseError):
        opened.log.rotate(lost=True)
    assert [reason for reason, _ in opened.told()] == ["first", "loss"]
    size, note = opened.log.publish()
    assert size == 2
    assert not signed_by(note, old)
    assert signed_by(note, opened.log.signer.verifier)


@pytest.mark.parametrize("is_in_doubt", [False, True])
def test_keys_that_could_not_be_taken_up_sign_nothing_over_the_leaf_that_ends_them(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, is_in_doubt: bool
) -> None:
    old = opened.log.signer.verifier
    keys, writer = opened.log.keys, opened.database._writer
    load, commit = keys._load, writer._commit

    def refuse() -> None:
        keys._load = load  # type: ignore[method-assign]
        raise MemoryError

    def in_doubt() -> None:
        commit()
        raise sqlite3.OperationalError("no answer")

    keys._load = refuse  # type: ignore[assignment]
    if is_in_doubt:
        monkeypatch.setattr(writer, "_commit", in_doubt)
    with pytest.raises(DatabaseError):
        opened.log.rotate(lost=True)
    monkeypatch.undo()
    size, note = opened.log.publish()
    assert size == 2
    assert signed_by(note, opened.log.signer.verifier)
    assert not signed_by(note, old)


@pytest.mark.parametrize("state", ["signing", "closing"])
@pytest.mark.parametrize("ended", ["retired", "lost"])
def test_no_row_revives_a_key_that_a_leaf_ended(opened: Opened, ended: str, state: str) -> None:
    old = opened.log.signer.verifier
    new = opened.log.rotate(lost=ended == "lost")
    if ended == "retired":
        opened.log.retire(old.key_id.hex())
    opened.by_hand("UPDATE log_keys SET state = ? WHERE number = 1", state)
    opened.again()
    opened.log.append(Public({"kind": "stop", "reason": "x"}))
    _, note = opened.log.publish()
    assert signed_by(note, new)
    assert not signed_by(note, old)
    assert [each.state for each in opened.log.keys.known] == [ended, "signing"]
    assert opened.log.signer.verifier == new
    with pytest.raises(LogKeyError):
        opened.log.retire(old.key_id.hex())


def test_a_key_that_no_leaf_names_signs_nothing(opened: Opened) -> None:
    key = opened.log.signer.verifier
    wrapped = opened.keyring.wrap(b"s" * 32, aad=b"log-key/log.example/keys")
    opened.by_hand("INSERT INTO log_keys VALUES (2, 'log.example/keys', ?, 'signing')", wrapped)
    opened.again()
    opened.log.append(Public({"kind": "stop", "reason": "x"}))
    assert opened.log.signer.verifier == key
    assert len(SignedNote.parse(opened.log.publish()[1]).signatures) == 1


@pytest.mark.parametrize("statement", ["UPDATE log_keys SET wrapped = ?", "DELETE FROM log_keys WHERE wrapped <> ?"])
def test_a_log_whose_key_is_gone_says_so(opened: Opened, statement: str) -> None:
    opened.log.publish()
    opened.by_hand(statement, opened.keyring.wrap(b"s" * 32, aad=b"log-key/log.example/keys"))
    opened.by_hand("DELETE FROM log_checkpoints WHERE size > ?", 0)
    (opened.folder / "high-water").unlink()
    opened.again()
    with pytest.raises(LogKeyError, match="may sign"):
        opened.log.publish()


def test_a_checkpoint_over_the_same_leaves_is_signed_again_when_other_keys_sign(opened: Opened) -> None:
    old = opened.signer()
    witness = Signer("witness.example/w", b"w" * 32)
    new = opened.log.rotate(lost=True)
    size = opened.log.size
    text = Checkpoint("log.example/keys", size, opened.log.root(size)).text()
    cosignature = signature_line(witness.verifier, witness.sign_bytes(text.encode()))
    opened.log.storage.keep_checkpoint(size, old.sign(text) + cosignature.encode())
    (opened.folder / "high-water").write_bytes(old.sign(text) + cosignature.encode())
    opened.again()
    published = opened.log.publish()
    assert published == (size, opened.log.checkpoint()[1])
    for note in (published[1], opened.log.storage.latest_checkpoint(), (opened.folder / "high-water").read_bytes()):
        assert note is not None
        assert not signed_by(note, old.verifier)
        assert signed_by(note, new)
        SignedNote.parse(note).verify(witness.verifier)
    assert opened.log.publish() == published  # and not once more


@pytest.mark.parametrize("name", ["a b", "a+b", "a\u200bb", "a\x1bb", "x\udcff"])
def test_what_cannot_be_a_log_s_name_is_refused(tmp_path: Path, name: str) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    keyring = Keyring.open(tmp_path / "master.key", create=True)
    with pytest.raises(LogKeyError, match="cannot be the name of a log"):
        Log(database, keyring, tmp_path, origin=name)
    database.close()


def test_a_key_is_there_with_its_leaf_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(Log, "sequence", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk full")))
        with pytest.raises(DatabaseError):
            Opened(tmp_path / "data")
    connection = sqlite3.connect(tmp_path / "data" / "countenance.db")
    assert connection.execute("SELECT count(*) FROM log_keys").fetchone() == (0,)
    connection.close()
    opened = Opened(tmp_path / "data")
    assert opened.told() == [("first", str(opened.log.signer.verifier))]
    opened.database.close()
