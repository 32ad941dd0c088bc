"""How an operator looks at a collection's index: what it takes, and whether it answers as the database would.

Both change nothing and tell of nobody but by FaceId, so neither is an act that the ledger has.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from countenance.operations.instruction import Instruction, account_of, required

DESCRIBED: Final = "collection.describe"
VERIFIED: Final = "collection.verify"
WITH_GALLERY: Final = frozenset({DESCRIBED, VERIFIED})
"""Verbs that need the collections."""


def collection_describe(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Tells how a collection is searched: tier, rows, memory, files."""
    account, collection_id = account_of(on, params), required(params, "collection_id")
    assert on.gallery is not None  # WITH_GALLERY
    found = on.gallery.collection(account, collection_id)
    state = on.gallery.describe_index(account, collection_id)
    return {
        "account_id": account,
        "collection_id": collection_id,
        "model_version": found.model_version,
        "dimension": found.dimension,
        "users": found.user_count,
        **asdict(state),
    }


def collection_verify(on: Instruction, params: dict[str, Any]) -> dict[str, Any]:
    """Compares a collection's index with exact search over every stored row."""
    account, collection_id = account_of(on, params), required(params, "collection_id")
    assert on.gallery is not None  # WITH_GALLERY
    found = on.gallery.verify_index(account, collection_id)
    said = {**asdict(found), "named": list(found.named)}
    return {"account_id": account, "collection_id": collection_id, "agrees": found.agrees, **said}


VERBS: Final = {DESCRIBED: collection_describe, VERIFIED: collection_verify}
"""What operators do about indexes."""
