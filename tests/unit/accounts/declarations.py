"""Declarations of parties that do not exist, with identifiers that hold."""

from __future__ import annotations

from typing import Any, Final

CUSTOMER: Final[dict[str, Any]] = {
    "legal_name": "Acme Access B.V.",
    "jurisdiction": "NL",
    "registration": "NL-KVK:27124701",
    "lei": "529900T8BM49AURSDO55",
    "domain": "acme.example",
    "owners": [
        {"name": "Acme Holding Ltd", "identifiers": ["reg:GB-COH:03977902"], "share": "74.5"},
        {"name": "Ada Owner", "person": True, "share": "25.5"},
    ],
    "end_users": [{"name": "Port Authority", "identifiers": ["domain:port.example"]}],
    "payer": {"name": "Acme Payments SAS", "identifiers": ["reg:FR-SIREN:732829320"]},
    "payment_reference": "INV-2026-17",
    "sector": "logistics",
    "end_use": "door control for staff of one terminal",
    "signatory": "Sam Signatory",
    "contract_sha256": "aa" * 32,
    "terms_version": "2026-01",
    "terms_sha256": "bb" * 32,
}

IDENTIFIED: Final = (
    ("party", "lei", "529900T8BM49AURSDO55"),
    ("party", "reg", "NL-KVK:27124701"),
    ("party", "domain", "acme.example"),
    ("party", "name", "Acme Access B.V."),
    ("payer", "reg", "FR-SIREN:732829320"),
    ("payer", "name", "Acme Payments SAS"),
    ("owner", "reg", "GB-COH:03977902"),
    ("owner", "name", "Acme Holding Ltd"),
    ("end-user", "domain", "port.example"),
    ("end-user", "name", "Port Authority"),
)

OWNER: Final[dict[str, Any]] = {
    "legal_name": "Countenance Operator GmbH",
    "jurisdiction": "DE-BE",
    "registration": "DE-HRB:F1103R HRB 6684",
    "sector": "software",
    "end_use": "operation of this server",
}
