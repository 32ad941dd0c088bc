"""The gallery's indexes in memory: how they are loaded, how they follow the store, and when they are dropped."""

from __future__ import annotations

from countenance.gallery import changes, loading
from countenance.gallery import collections as collection_rows
from countenance.gallery.index import IndexFactory
from countenance.gallery.shelf import Change, Loaded, Shelf
from countenance.store import Database, Keyring


class Shelves:
    """One shelf for collections' references and one for what their users are compared by. Safe from any thread."""

    def __init__(self, database: Database, keyring: Keyring, *, factory: IndexFactory, keep_small: int) -> None:
        self._database = database
        self._keyring = keyring
        self._factory = factory
        self.references = Shelf(self._load, self._catch_up, keep_small=keep_small)
        self.users = Shelf(self._load_users, self._catch_up_users, keep_small=keep_small)

    def apply(self, change: Change | None, of_users: Change | None) -> None:
        """Bring what is loaded up to a commit. In the writer thread of the store, commit by commit."""
        if change is not None:
            self.references.apply(change)
        if of_users is not None:
            self.users.apply(of_users)

    def forget(self, uid: int) -> None:
        """Drop a collection's indexes."""
        self.references.forget(uid)
        self.users.forget(uid)

    def compare(self) -> None:
        """Drop what is not at the store's revision, after a commit that may or may not have taken effect."""
        self.references.compare(lambda uid: self._revision_of(uid, "revision"))
        self.users.compare(lambda uid: self._revision_of(uid, "user_revision"))

    def totals(self) -> tuple[int, int, int]:
        """Loaded collections, their rows and their bytes."""
        collections, rows, size = (sum(two) for two in zip(self.references.totals(), self.users.totals(), strict=True))
        return collections, rows, size

    def _revision_of(self, uid: int, column: str) -> int | None:
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT {column} FROM collections WHERE uid = ?", (uid,)).fetchone()  # noqa: S608
        return None if row is None else int(row[0])

    def _load(self, uid: int) -> Loaded:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find_by_uid(connection, uid)
            seal = collection_rows.seal_of(connection, self._keyring, found)
            return loading.references_index(connection, found, seal, self._factory)

    def _load_users(self, uid: int) -> Loaded:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find_by_uid(connection, uid)
            seal = collection_rows.seal_of(connection, self._keyring, found)
            return loading.users_index(connection, found, seal, self._factory)

    def _catch_up(self, uid: int, revision: int) -> Change | None:
        return self._since(uid, revision, changes.Of.REFERENCES)

    def _catch_up_users(self, uid: int, revision: int) -> Change | None:
        return self._since(uid, revision, changes.Of.USERS)

    def _since(self, uid: int, revision: int, of: changes.Of) -> Change | None:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find_by_uid(connection, uid)
            seal = collection_rows.seal_of(connection, self._keyring, found)
            return changes.since(connection, found, seal, revision, of)
