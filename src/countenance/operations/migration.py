"""How an operator carries a collection over to the model in use, from crops that were kept, and ends keeping them.

A collection stays in force as it is until everything is there for the other model; then one transaction, with its
entry, puts that in its place. Whatever stops it before leaves the collection whole, and the next one goes on from
there.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from countenance.errors import Error
from countenance.ledger import retention
from countenance.operations.instruction import AdministrationError, Instruction, account_of, required
from countenance.recognition import Busy
from countenance.store import Entry

MIGRATED: Final = "collection.migrate"
FORGOTTEN: Final = "crops.erase"
"""Operations of the entries; see `ledger.acts` and docs/reference/leaf.md."""
WITH_GALLERY: Final = frozenset({MIGRATED, FORGOTTEN})
WITH_ENGINE: Final = frozenset({MIGRATED})
"""Verbs that need the collections, and a model."""
AT_ONCE: Final = 32
"""Crops worked on between two transactions: four batches of the network's largest."""
NAMED: Final = 1_000
"""FaceIds without a crop that an answer names; it says how many there are."""
BUSY_S: Final = 0.2
"""Seconds to wait when callers fill the queue for inference: they go first."""


class NotMigrated(Error):
    """The collection stays with the model that it has."""


def collection_migrate(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Makes the features of a collection's faces anew with the model in use, from the crops that were kept."""
    account, collection_id = _named(on, params)
    erases_rest = params.get("erases_rest", False)
    if not isinstance(erases_rest, bool):
        raise AdministrationError("The parameter erases_rest is neither true nor false.")
    assert on.gallery is not None  # WITH_GALLERY
    assert on.engine is not None  # WITH_ENGINE
    gallery, engine = on.gallery, on.engine
    found = gallery.collection(account, collection_id)
    if found.model_version == engine.model_version:
        raise NotMigrated(
            f"{collection_id} is of the model {found.model_version} already.",
            hint="`countenance models use PACK`, and a start of the server, come first",
        )
    _stage_all(on, account, collection_id)
    left = gallery.without_crops(account, collection_id, engine.model_version)
    if left and not erases_rest:
        raise NotMigrated(
            f"Of {len(left)} of {found.face_count} faces no crop was kept: {', '.join(left[:3])}"
            f"{', ...' if len(left) > 3 else ''}. {collection_id} stays with the model {found.model_version}.",
            hint="index their images into another collection, delete them, or give --erase-rest",
        )
    details: dict[str, int | str] = {
        "collection_id": collection_id,
        "from": found.model_version,
        "to": engine.model_version,
        "by": on.by,
    }
    done = gallery.migrate(
        account,
        collection_id,
        model_version=engine.model_version,
        dimension=engine.dimension,
        erases_rest=erases_rest,
        may_erase=lambda connection: retention.refuse_if_held(connection, account),
        entry=Entry(MIGRATED, account, "", on.request_id, on.at, details, party=on.accounts.identified(account)),
    )
    return {
        "account_id": account,
        "collection_id": collection_id,
        "from": found.model_version,
        "to": engine.model_version,
        "references": done.references,
        "erased": len(done.erased),
        "erased_faces": list(done.erased[:NAMED]),
        "act": on.request_id,
    }


def _stage_all(on: Instruction, account: str, collection_id: str) -> None:
    assert on.gallery is not None
    assert on.engine is not None
    version = on.engine.model_version
    while kept := on.gallery.unstaged(account, collection_id, version, limit=AT_ONCE):
        crops = np.stack([each.crop for each in kept])
        while True:
            try:
                features = on.engine.extract_crops(crops)
                break
            except Busy:
                time.sleep(BUSY_S)
        on.gallery.stage(account, collection_id, version, [each.face_id for each in kept], features)


def crops_erase(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Erases the crops that were kept of a collection's faces; the faces stay."""
    account, collection_id = _named(on, params)
    assert on.gallery is not None  # WITH_GALLERY
    details: dict[str, int | str] = {"collection_id": collection_id, "by": on.by}
    entry = Entry(FORGOTTEN, account, "", on.request_id, on.at, details, party=on.accounts.identified(account))
    count = on.gallery.forget_crops(account, collection_id, entry=entry)
    return {"account_id": account, "collection_id": collection_id, "crops": count, "act": on.request_id}


def _named(on: Instruction, params: dict[str, Any]) -> tuple[str, str]:
    """Account, the operator's own unless another one is named, and collection."""
    return account_of(on, params), required(params, "collection_id")


VERBS: Final = {MIGRATED: collection_migrate, FORGOTTEN: crops_erase}
"""What operators do about models of collections."""
