"""Runs committed test vectors: good ones must be accepted with the stated result, bad ones refused as stated.

Knows the vectors' file layout, which `vectors/README.md` describes for the makers of other verifiers. A vector has
a `name`, a `type`, inputs, and either `good`: true with results, or `good`: false with the kind of `error`
(`Malformed` or `Rejected`) and `why`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from countenance_audit import (
    canonical,
    certificate,
    checkpoint,
    evidence,
    forms,
    identifiers,
    leaf,
    merkle,
    periodmap,
    receipt,
    vrf,
)
from countenance_audit.errors import AuditError, Unavailable
from countenance_audit.note import SignedNote, VerifierKey
from countenance_audit.periodmap import PeriodMap, Place, Usage
from countenance_audit.policy import TrustPolicy

FILES: Final = (
    "canonical",
    "identifiers",
    "leaf",
    "note",
    "checkpoint",
    "receipt",
    "merkle",
    "vrf",
    "maps",
    "certificate",
    "evidence",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One vector's; `wrong` is None, or says in what way it was not as expected."""

    file: str
    name: str
    wrong: str | None


def default_folder() -> Path:
    """`vectors/` of a checkout; an installed wheel does not carry it."""
    return Path(__file__).resolve().parents[2] / "vectors"


def run(folder: Path) -> list[Outcome]:
    """Runs all vectors of the folder.

    Raises:
        Unavailable: one of `FILES` is not there.
    """
    outcomes = []
    for file in FILES:
        try:
            content = json.loads((folder / f"{file}.json").read_text(encoding="utf-8"))
        except OSError as failure:
            raise Unavailable(
                f"The vectors {folder / file}.json cannot be read: {failure.strerror}.",
                hint="Name the folder packages/audit/vectors of a checkout.",
            ) from None
        outcomes += [Outcome(file, vector["name"], _judge(vector)) for vector in content["vectors"]]
    return outcomes


def _judge(vector: Mapping[str, Any]) -> str | None:
    try:
        found = CHECKS[vector["type"]](vector)
    except AuditError as failure:
        if vector["good"]:
            return f"refused: {failure.message}"
        kind = type(failure).__name__
        return None if kind == vector["error"] else f"refused as {kind} instead of {vector['error']}"
    if not vector["good"]:
        return f"accepted, although {vector['why']}"
    for name, value in found.items():
        if value != vector[name]:
            return f"{name} is {value!r:.200} instead of {vector[name]!r:.200}"
    return None


def _hashes(vector: Mapping[str, Any]) -> list[bytes]:
    return [bytes.fromhex(item) for item in vector["proof"]]


def _octets(vector: Mapping[str, Any], name: str) -> bytes:
    return bytes.fromhex(vector[name])


def _canonical(v: Mapping[str, Any]) -> dict[str, Any]:
    value = canonical.decode(_octets(v, "bytes"))
    return {"value": value, "bytes": canonical.encode(value).hex()}


def _identifier(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": identifiers.normal(v["scheme"], v["raw"])}


def _folded(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"folded": identifiers.folded(v["raw"])}


def _forms(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"forms": list(forms.of(v["scheme"], identifiers.normal(v["scheme"], v["raw"])))}


def _leaf(v: Mapping[str, Any]) -> dict[str, Any]:
    parsed = leaf.parse(_octets(v, "leaf"))
    result = {"leaf_hash": merkle.leaf_hash(_octets(v, "leaf")).hex()}
    if isinstance(parsed, leaf.Opaque):
        return result | {"class": "opaque", "commitment": parsed.commitment.hex()}
    return result | {"class": "public", "content": parsed.content}


def _section(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"hash": leaf.section_hash(v["section"], _octets(v, "salt"), v["content"]).hex()}


def _image(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"commitment": leaf.image_commitment(_octets(v, "salt"), _octets(v, "sha256")).hex()}


def _opening(v: Mapping[str, Any]) -> dict[str, Any]:
    opening = leaf.Opening.from_json(_octets(v, "opening"))
    leaf.check_opening(opening, _octets(v, "leaf"))
    return {
        "opening": canonical.encode(opening.to_json()).hex(),
        "erased": canonical.encode(opening.without_person().to_json()).hex(),
    }


def _note(v: Mapping[str, Any]) -> dict[str, Any]:
    note = SignedNote.parse(_octets(v, "note"))
    note.verify(VerifierKey.parse(v["key"]))
    return {"text": note.text, "signatures": len(note.signatures)}


def _key(v: Mapping[str, Any]) -> dict[str, Any]:
    key = VerifierKey.parse(v["key"])
    return {"key_name": key.name, "algorithm": key.algorithm, "key_id": key.key_id.hex(), "public": key.public.hex()}


def _checkpoint(v: Mapping[str, Any]) -> dict[str, Any]:
    found = checkpoint.open_checkpoint(_octets(v, "note"), VerifierKey.parse(v["key"]))
    return {"origin": found.origin, "size": found.size, "root": found.root.hex(), "extensions": list(found.extensions)}


def _cosignature(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"time_s": checkpoint.verify_cosignature(_octets(v, "note"), VerifierKey.parse(v["key"]))}


def _policy(v: Mapping[str, Any]) -> dict[str, Any]:
    found = TrustPolicy.parse(v["policy"]).cosigned(_octets(v, "note"))
    return {"satisfied": found.satisfied, "witnesses": dict(found.witnesses), "missing": list(found.missing)}


def _receipt(v: Mapping[str, Any]) -> dict[str, Any]:
    found = receipt.verify(v["receipt"], VerifierKey.parse(v["key"]))
    bodies = (None if v.get(name) is None else _octets(v, name) for name in ("request_body", "response_body"))
    return {"content": found.to_json(), "compared": list(receipt.check_call(found, *bodies))}


def _inclusion(v: Mapping[str, Any]) -> dict[str, Any]:
    policy = TrustPolicy.parse(v["policy"])
    claimed = receipt.parse(v["receipt"])
    found = receipt.check_inclusion(
        receipt.verify(v["receipt"], policy.key_of(claimed.origin, claimed.key)),
        None if v["opening"] is None else leaf.Opening.from_json(_octets(v, "opening")),
        None if v["proof"] is None else _hashes(v),
        _octets(v, "note"),
        policy,
    )
    return {"included": found.included, "decided": found.decided, "evidence": found.evidence}


def _tree(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"root": merkle.root_of([merkle.leaf_hash(bytes.fromhex(item)) for item in v["leaves"]]).hex()}


def _leaf_in_tree(v: Mapping[str, Any]) -> dict[str, Any]:
    merkle.verify_inclusion(v["index"], v["size"], _octets(v, "leaf_hash"), _hashes(v), _octets(v, "root"))
    return {}


def _trees(v: Mapping[str, Any]) -> dict[str, Any]:
    merkle.verify_consistency(v["size1"], v["size2"], _octets(v, "root1"), _octets(v, "root2"), _hashes(v))
    return {}


def _vrf(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"output": vrf.verify(_octets(v, "key"), _octets(v, "alpha"), _octets(v, "proof")).hex()}


def _map_key(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"alpha": periodmap.alpha(v["origin"], v["day"], v["scheme"], v["identifier"]).hex()}


def _usage(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": Usage.from_json(v["usage"]).commitment(_octets(v, "salt")).hex()}


def _map(v: Mapping[str, Any]) -> dict[str, Any]:
    found = PeriodMap(_octets(v, "leaves"))
    found.check()
    return {"size": found.size, "root": found.root.hex()}


def _absence(v: Mapping[str, Any]) -> dict[str, Any]:
    places = [Place.from_json(each) for each in v["places"]]
    periodmap.verify_absence(_octets(v, "key"), places, v["size"], _octets(v, "root"))
    return {}


def _presence(v: Mapping[str, Any]) -> dict[str, Any]:
    (place,) = [Place.from_json(each) for each in v["places"]]
    used = Usage.from_json(v["usage"])
    periodmap.verify_presence(_octets(v, "key"), place, _octets(v, "salt"), used, v["size"], _octets(v, "root"))
    return {}


def _certificate(v: Mapping[str, Any]) -> dict[str, Any]:
    found = certificate.verify(v["certificate"].encode(), TrustPolicy.parse(v["policy"]), now_us=v["at"])
    used = [each.usage for each in found.days if each.usage is not None]
    return {
        "absence": found.is_absence,
        "grade": found.grade,
        "weak": found.is_weak,
        "monitored": found.is_monitored,
        "calls": sum(each.calls for each in used),
        "units": sum(each.units for each in used),
    }


def _evidence(v: Mapping[str, Any]) -> dict[str, Any]:
    policy = TrustPolicy.parse(v["policy"])
    found = evidence.verify(_octets(v, "bundle"), policy, now_us=v["at"], max_age_us=certificate.MAX_AGE_US)
    return {"entries": len(found.entries), "leaves": found.leaves}


CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "canonical": _canonical,
    "identifier": _identifier,
    "folded": _folded,
    "forms": _forms,
    "leaf": _leaf,
    "section": _section,
    "image": _image,
    "opening": _opening,
    "note": _note,
    "key": _key,
    "checkpoint": _checkpoint,
    "cosignature": _cosignature,
    "policy": _policy,
    "receipt": _receipt,
    "receipt-inclusion": _inclusion,
    "tree": _tree,
    "inclusion": _leaf_in_tree,
    "consistency": _trees,
    "vrf": _vrf,
    "map-key": _map_key,
    "usage": _usage,
    "map": _map,
    "absence": _absence,
    "presence": _presence,
    "certificate": _certificate,
    "evidence": _evidence,
}
"""What a vector's `type` means."""
