"""The kept images by themselves: sealed files, rows with their keys, and what a crash, a thief or a full disk make of
them."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from countenance.samples import SampleCorrupt, SampleNotFound, SampleNotKept, Samples, samples
from countenance.samples.samples import BEING_KEPT_S, FOLDER
from countenance.samples.sealing import SEAL_OVERHEAD_BYTES
from countenance.store import DatabaseBusy, DatabaseError, Keyring, KeyringError, SqliteDatabase
from countenance.store.postgres import PostgresDatabase

ACCOUNT, OTHER = "111122223333", "444455556666"
IMAGE = b"\xff\xd8\xff\xe0 as a photograph begins " + bytes(range(256)) * 40
DIGEST = hashlib.sha256(IMAGE).digest()


class Store:
    """Samples in a folder, opened as often as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keyring = Keyring.open(folder / "master.key", create=True)
        self.database = SqliteDatabase(folder / "countenance.db")
        self.samples = self.opened()

    def opened(self, *, keyring: Keyring | None = None, max_bytes: int = 1 << 20) -> Samples:
        return Samples(self.database, keyring or self.keyring, self.folder, keeps=True, max_bytes=max_bytes)

    def keep(self, request_id: str, image: bytes = IMAGE, *, account: str = ACCOUNT, at_us: int = 1) -> None:
        kept = self.samples.keep(account, request_id, hashlib.sha256(image).digest(), image, at_us=at_us)
        self.database.maintain(lambda connection: self.samples.insert(connection, kept))

    def erase(self, **which: object) -> int:
        gone = self.database.maintain(lambda connection: self.samples.erase(connection, **which))  # type: ignore[arg-type]
        self.samples.forget(gone)
        return len(gone)

    def image(self, request_id: str, image: bytes = IMAGE) -> bytes:
        return self.samples.open(self.samples.find(request_id), hashlib.sha256(image).digest())

    def files(self) -> list[Path]:
        return sorted((self.folder / FOLDER).iterdir())

    def age(self) -> None:
        """As if nobody could be about to name them any more."""
        long_ago = time.time() - BEING_KEPT_S - 60
        for path in self.files():
            os.utime(path, (long_ago, long_ago))

    def file_of(self, request_id: str) -> Path:
        row = self.database.read().execute("SELECT file FROM samples WHERE request_id = ?", (request_id,)).fetchone()
        return self.folder / FOLDER / row[0]

    def wrapped_keys(self) -> list[bytes]:
        return [row[0] for row in self.database.read().execute("SELECT wrapped FROM sample_keys ORDER BY number")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.database.close()


def test_an_image_comes_back_as_it_was_and_lies_nowhere_in_the_clear(store: Store) -> None:
    store.keep("r-1")
    assert store.image("r-1") == IMAGE
    (file,) = store.files()
    assert file.stat().st_size == len(IMAGE) + SEAL_OVERHEAD_BYTES
    assert (file.stat().st_mode & 0o777, (store.folder / FOLDER).stat().st_mode & 0o777) == (0o600, 0o700)
    everything = [path for path in store.folder.rglob("*") if path.is_file()]
    assert len(everything) >= 4
    for path in everything:
        content = path.read_bytes()
        assert IMAGE[:24] not in content, path
        assert bytes(range(256)) not in content, path


def test_two_samples_of_one_image_have_nothing_in_common(store: Store) -> None:
    store.keep("r-1")
    store.keep("r-2")
    one, two = (path.read_bytes() for path in store.files())
    assert not {one[at : at + 16] for at in range(0, len(one), 16)} & {two[at : at + 16] for at in range(len(two))}
    first, second = store.wrapped_keys()
    assert first != second


def test_another_master_key_opens_nothing(store: Store) -> None:
    store.keep("r-1")
    stranger = store.opened(keyring=Keyring(os.urandom(32)))
    with pytest.raises(KeyringError):
        stranger.open(stranger.find("r-1"), DIGEST)


@pytest.mark.parametrize("at", [0, 12, 5_000, -1])
def test_a_changed_byte_is_noticed(store: Store, at: int) -> None:
    store.keep("r-1")
    (file,) = store.files()
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(SampleCorrupt, match="does not open"):
        store.image("r-1")
    assert list(store.samples.problems()) == []  # which looks at sizes only


@pytest.mark.parametrize("content", [b"", b"x" * 11, b"x" * 40])
def test_a_torn_file_is_noticed_without_opening_it(store: Store, content: bytes) -> None:
    store.keep("r-1")
    store.files()[0].write_bytes(content)
    with pytest.raises(SampleCorrupt):
        store.image("r-1")
    (problem,) = store.samples.problems()
    assert "r-1" in problem
    assert f"{len(content)} bytes" in problem


def test_a_missing_file_is_noticed(store: Store) -> None:
    store.keep("r-1")
    store.files()[0].unlink()
    with pytest.raises(SampleCorrupt, match="cannot be read"):
        store.image("r-1")
    (problem,) = store.samples.problems()
    assert "r-1" in problem


def test_a_sample_belongs_to_its_call_its_account_and_its_image(store: Store) -> None:
    store.keep("r-1")
    store.keep("r-2", account=OTHER)
    with pytest.raises(KeyringError):
        store.samples.open(store.samples.find("r-1"), hashlib.sha256(b"another image").digest())
    one, two = store.file_of("r-1"), store.file_of("r-2")
    one_s, two_s = one.read_bytes(), two.read_bytes()
    one.write_bytes(two_s)
    two.write_bytes(one_s)
    for request_id in ("r-1", "r-2"):
        with pytest.raises(SampleCorrupt):
            store.image(request_id)
    # With its key exchanged as well it still is another call's.
    first, second = store.wrapped_keys()
    store.database.maintain(
        lambda connection: connection.execute(
            "UPDATE sample_keys SET wrapped = iif(wrapped = ?1, ?2, ?1)", (first, second)
        ).close()
    )
    for request_id in ("r-1", "r-2"):
        with pytest.raises(KeyringError):
            store.image(request_id)


@pytest.mark.parametrize("column", ["request_id", "account"])
def test_a_row_under_another_name_opens_nothing(store: Store, column: str) -> None:
    """The same image, file and key, moved to another call or another account by whoever can write the database."""
    store.keep("r-1")
    store.database.maintain(lambda connection: connection.execute(f"UPDATE samples SET {column} = 'r-1 moved'").close())
    with pytest.raises(KeyringError):
        store.image("r-1 moved" if column == "request_id" else "r-1")


def test_an_image_that_is_not_what_its_hash_says_is_not_given_out(store: Store) -> None:
    kept = store.samples.keep(ACCOUNT, "r-1", DIGEST, b"not that image", at_us=1)
    store.database.maintain(lambda connection: store.samples.insert(connection, kept))
    with pytest.raises(SampleCorrupt):
        store.image("r-1")


def test_erasing_destroys_the_key_then_the_file(store: Store) -> None:
    for number in range(3):
        store.keep(f"r-{number}", at_us=number)
    keys = store.wrapped_keys()
    copy = store.file_of("r-0").read_bytes()
    assert store.erase(before_us=1) == 1
    assert len(store.files()) == 2
    assert store.wrapped_keys() == [bytes(len(keys[0])), *keys[1:]]
    on_disk = b"".join(path.read_bytes() for path in store.folder.glob("countenance.db*"))
    assert keys[0] not in on_disk
    assert keys[1] in on_disk
    with pytest.raises(SampleNotFound):
        store.image("r-0")
    # A thief's copy of the file and the master key open nothing without the key that is gone.
    with pytest.raises(KeyringError):
        samples.open_sealed(store.keyring, samples.Binding(ACCOUNT, "r-0", DIGEST), bytes(len(keys[0])), copy)
    assert store.image("r-1") == IMAGE
    assert store.samples.totals().samples == store.samples.count() == 2


def test_erasing_takes_one_account_one_age_and_one_portion_and_spares_whom_it_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        store.keep(f"a-{number}", at_us=number)
        store.keep(f"b-{number}", at_us=number, account=OTHER)
    assert store.erase(before_us=2, account=OTHER) == 2
    assert store.erase(before_us=4, spared=[ACCOUNT, "999999999999"]) == 2
    assert store.erase(before_us=4, spared=[ACCOUNT]) == 0
    monkeypatch.setattr(samples, "PORTION", 3)
    assert [store.erase(before_us=100), store.erase(before_us=100)] == [3, 1]
    assert store.files() == []
    assert store.samples.totals() == samples.Totals(0, 0)


def test_the_limit_counts_what_is_kept_and_what_is_just_being_kept(store: Store) -> None:
    store.samples = store.opened(max_bytes=2 * len(IMAGE))
    first = store.samples.keep(ACCOUNT, "r-1", DIGEST, IMAGE, at_us=1)
    store.keep("r-2")
    with pytest.raises(SampleNotKept, match="more than"):
        store.keep("r-3")
    assert len(store.files()) == 2
    store.samples.settle(first)
    store.keep("r-3")
    with pytest.raises(SampleNotKept):
        store.keep("r-4")
    store.erase(before_us=2)
    store.keep("r-4")
    again = store.opened(max_bytes=len(IMAGE))
    with pytest.raises(SampleNotKept):
        again.keep(ACCOUNT, "r-5", DIGEST, IMAGE, at_us=1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("step", ["open", "fsync"])
def test_what_cannot_be_written_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    def broken(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, broken)
        with pytest.raises(SampleNotKept, match="is not answered"):
            store.samples.keep(ACCOUNT, "r-1", DIGEST, IMAGE, at_us=1)
    assert store.files() == []
    assert store.samples.totals() == samples.Totals(0, 0)
    store.keep("r-1")
    assert store.image("r-1") == IMAGE


def test_a_full_disk_in_the_middle_of_a_file_leaves_nothing(store: Store) -> None:
    """A real limit of the system on the size of files, for this process, in place of a full disk."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        with pytest.raises(SampleNotKept):
            store.samples.keep(ACCOUNT, "r-1", DIGEST, IMAGE, at_us=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert store.files() == []


def test_a_start_sweeps_what_no_row_names_and_nothing_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PORTION", 2)
    for number in range(5):
        store.keep(f"r-{number}")
    for number in range(5):
        store.samples.keep(ACCOUNT, f"lost-{number}", DIGEST, IMAGE, at_us=1)
    foreign = store.folder / FOLDER / "lost+found"
    foreign.mkdir()
    note = store.folder / FOLDER / "a note of the operator's"
    note.write_text("x")
    store.age()
    assert store.opened().sweep() == 5
    assert store.opened().sweep() == 0
    assert [store.image(f"r-{number}") for number in range(5)] == [IMAGE] * 5
    assert set(store.files()) >= {foreign, note}
    assert len(store.files()) == 7


def test_a_start_leaves_what_another_node_may_be_keeping_in_the_shared_folder(store: Store, postgres_url: str) -> None:
    database = PostgresDatabase(store.folder, postgres_url)
    try:
        shared = Samples(database, store.keyring, store.folder, keeps=True, max_bytes=1 << 20)
        kept = shared.keep(ACCOUNT, "r-1", DIGEST, IMAGE, at_us=1)
        left = shared.keep(ACCOUNT, "r-2", DIGEST, IMAGE, at_us=1)
        long_ago = time.time() - BEING_KEPT_S - 60
        os.utime(store.folder / FOLDER / left.file, (long_ago, long_ago))
        joining = Samples(database, store.keyring, store.folder, keeps=True, max_bytes=1 << 20)
        assert joining.sweep() == 1
        database.maintain(lambda connection: shared.insert(connection, kept))
        assert joining.open(joining.find("r-1"), DIGEST) == IMAGE
    finally:
        database.close()


def failing(store: Store, failure: DatabaseError) -> list[Path]:
    kept = store.samples.keep(ACCOUNT, "r-1", DIGEST, IMAGE, at_us=1)
    store.samples.settle(kept, failure)
    return store.files()


def test_a_sample_whose_call_was_surely_not_recorded_goes_at_once(store: Store) -> None:
    assert failing(store, DatabaseBusy("the queue is full")) == []
    full = DatabaseError("full")
    full.__cause__ = sqlite3.OperationalError("full")
    full.__cause__.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert failing(store, full) == []
    assert store.samples.totals() == samples.Totals(0, 0)


def test_a_sample_of_which_nobody_knows_waits_for_the_next_start(store: Store) -> None:
    unknown = DatabaseError("the disk reported an error")
    unknown.__cause__ = sqlite3.OperationalError("injected")
    unknown.__cause__.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    assert len(failing(store, unknown)) == 1
    store.age()
    assert store.opened().sweep() == 1


def test_a_sample_that_was_recorded_all_the_same_stays(store: Store) -> None:
    kept = store.samples.keep(ACCOUNT, "r-1", DIGEST, IMAGE, at_us=1)
    store.database.maintain(lambda connection: store.samples.insert(connection, kept))
    store.samples.settle(kept, DatabaseError("reported as failed"))
    assert store.image("r-1") == IMAGE


def test_listing_is_in_order_in_pages_and_of_one_account(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "LISTED", 2)
    for number in range(5):
        store.keep(f"r-{number}", at_us=100 - number)
        store.keep(f"other-{number}", account=OTHER)
    seen: list[str] = []
    has_more, after = True, None
    while has_more:
        page, has_more = store.samples.listed(ACCOUNT, after=after)
        assert len(page) <= 2
        seen += [each.request_id for each in page]
        after = seen[-1]
    assert seen == [f"r-{number}" for number in range(5)]
    with pytest.raises(SampleNotFound):
        store.samples.listed(ACCOUNT, after="nowhere")


def test_many_threads_keep_at_once(store: Store) -> None:
    def load(thread: int) -> None:
        for number in range(10):
            store.keep(f"{thread}-{number}", IMAGE + bytes([thread, number]))

    threads = [threading.Thread(target=load, args=(thread,)) for thread in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for thread in range(8):
        for number in range(10):
            image = IMAGE + bytes([thread, number])
            assert store.image(f"{thread}-{number}", image) == image
    assert store.samples.totals() == samples.Totals(80, 80 * (len(IMAGE) + 2))
