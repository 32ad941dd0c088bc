"""What no certificate can show, whoever made it: printed with each, and quoted in each by its id.

Knows the list of docs/concepts/threat-model.md, "Cheats that nobody can detect"; a test compares the two. It is here
and not in what is being checked, since the operator, who writes that, would leave lines out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

UNDETECTABLE: Final[Mapping[str, str]] = {
    "unlogged-second-instance": "another server, with the same software or other, leaves no leaf in this log",
    "unlogged-answer": (
        "patched code answers the operator or a colluding customer without logging, and neither complains"
    ),
    "copied-gallery": "templates copied from the machine can be searched elsewhere, and kept samples opened",
    "stolen-disk": "a copied disk or backup leaves no trace in the log",
    "thief-with-the-key": "nothing tells a log signed by a thief of its key from one signed by the operator",
    "history-before-first-cosignature": ("before somebody outside saw a checkpoint, any history could be made up"),
    "time-between-cosignatures": (
        "a time that is false but lies between its neighbouring cosignatures stays unnoticed"
    ),
    "colluding-quorum": "if the witnesses of the quorum lie with the operator, a fork passes",
    "false-build-hash": "the start entry says which software runs, and modified software can say the same",
    "calls-in-a-customers-name": (
        "the operator knows every secret and can make calls that look like the customer's own"
    ),
    "uncounted-refusals": "counts of requests that got no leaf of their own can be false",
    "undeclared-owner": ("whoever stands behind an account without being declared or found out is in no record of it"),
    "passed-on-answers": "a customer can hand answers to anybody, or make calls on another's behalf",
    "false-purpose": "what a key was issued for is recorded, what its answers were used for is not",
    "lent-key": "a key used by another than its holder looks the same",
    "two-logins-one-person": "one person with two logins is two persons to the log",
}
"""Id -> what it is."""
