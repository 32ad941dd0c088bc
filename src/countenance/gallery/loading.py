"""Shelves made from rows. Functions over one snapshot of the database."""

from __future__ import annotations

from typing import Final

import numpy as np

from countenance.gallery import records, users
from countenance.gallery.index import IndexFactory
from countenance.gallery.sealing import CollectionSeal, from_template
from countenance.gallery.shelf import Loaded
from countenance.gallery.values import Collection
from countenance.store import Connection, in_portions

AT_ONCE: Final = 4_096
"""Rows opened between two additions to an index: about 1 MB at 128 features."""


def references_index(
    connection: Connection, collection: Collection, seal: CollectionSeal, factory: IndexFactory
) -> Loaded:
    """Of a collection's references, read from the snapshot that `collection` was read from."""
    index = factory(collection.dimension)
    index.reserve(collection.face_count)
    said = "SELECT face_id, template FROM enrolled_references WHERE ref_id BETWEEN ? AND ?"
    for rows in in_portions(connection, said, records.ref_id_range(collection.uid), AT_ONCE):
        templates = b"".join(seal.open(face_id, sealed) for face_id, sealed in rows)
        index.add(
            records.id_rows(face_id for face_id, _ in rows),
            from_template(templates).reshape(len(rows), collection.dimension),
        )
    return Loaded(index, collection.revision)


def users_index(connection: Connection, collection: Collection, seal: CollectionSeal, factory: IndexFactory) -> Loaded:
    """Of what a collection's users are compared by, read from the snapshot that `collection` was read from."""
    vectors = users.vectors(connection, collection, seal)
    index = factory(collection.dimension)
    index.reserve(len(vectors))
    if vectors:
        keys = records.id_rows(users.key_of(seq) for seq in vectors)
        index.add(keys, np.stack(list(vectors.values())).astype(np.float16))
    return Loaded(index, collection.user_revision)
