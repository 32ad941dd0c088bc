"""Writes the test vectors of `packages/audit/vectors`, the same bytes at every run.

The seeds, salts and times are fixed and public: test keys only. Every vector is run after it was written.

    python packages/audit/scripts/make_vectors.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from countenance_audit import vectors
from vectors_of_entries import canonical_vectors, leaf_vectors
from vectors_of_identifiers import identifier_vectors
from vectors_of_maps import certificate_vectors, evidence_vectors, map_vectors, vrf_vectors
from vectors_of_notes import checkpoint_vectors, note_vectors
from vectors_of_receipts import receipt_vectors
from vectors_of_trees import merkle_vectors

FOLDER = Path(__file__).resolve().parents[1] / "vectors"


def main() -> int:
    makers = {
        "canonical": canonical_vectors,
        "identifiers": identifier_vectors,
        "leaf": leaf_vectors,
        "note": note_vectors,
        "checkpoint": checkpoint_vectors,
        "receipt": receipt_vectors,
        "merkle": merkle_vectors,
        "vrf": vrf_vectors,
        "maps": map_vectors,
        "certificate": certificate_vectors,
        "evidence": evidence_vectors,
    }
    for name in vectors.FILES:
        content = {"format": f"countenance test vectors v1: {name}; test keys only", "vectors": makers[name]()}
        text = json.dumps(content, indent=1, ensure_ascii=True) + "\n"
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
    wrong = [outcome for outcome in vectors.run(FOLDER) if outcome.wrong]
    for outcome in wrong:
        sys.stderr.write(f"{outcome.file}: {outcome.name}: {outcome.wrong}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
