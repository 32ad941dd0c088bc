"""Answers of the command line: exit statuses, what is printed, and reading what was named.

Knows files and trust policies; does not know any command. Exit status: 0 yes, 1 no, 2 wrong usage, 3 could not decide.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from countenance_audit.errors import AuditError, Malformed
from countenance_audit.note import SignedNote
from countenance_audit.policy import Cosigned, TrustPolicy

YES: Final = 0
NO: Final = 1
USAGE: Final = 2
UNDECIDED: Final = 3

WORDS: Final = {YES: "yes", NO: "no", USAGE: "usage", UNDECIDED: "could not decide"}
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""Longest local file: request and response bodies are 16 MiB at most."""


class Usage(AuditError):
    """A file that was named cannot be read, or the policy in it is not one."""


@dataclass(slots=True)
class Answer:
    """What is printed. `facts` are members of the JSON output and lines of the text."""

    status: int = YES
    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def say(self, *lines: str) -> None:
        self.lines += lines

    def worst(self, status: int) -> None:
        """No outweighs could-not-decide, which outweighs yes."""
        self.status = max(self.status, status, key=(YES, UNDECIDED, NO).index)


def describe(cosigned: Cosigned, answer: Answer) -> None:
    """Who signed a checkpoint, and who cosigned it."""
    checkpoint = cosigned.checkpoint
    answer.facts |= {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "witnesses": dict(cosigned.witnesses),
        "missing": list(cosigned.missing),
        "quorum": cosigned.satisfied,
    }
    answer.say(f"{checkpoint.origin}: {checkpoint.size} leaves, root {checkpoint.root.hex()}", "signed by the log")
    answer.say(*(f"cosigned by {name} at {time_s} s since 1970" for name, time_s in cosigned.witnesses.items()))
    answer.say(*(f"not cosigned by {name}" for name in cosigned.missing))
    if not cosigned.satisfied:
        answer.worst(UNDECIDED)
        answer.say("UNWITNESSED: the policy's quorum is missing; others may have been shown another log")


def undecided(answer: Answer, keys: list[str]) -> None:
    """Nothing is decided without a trust policy: says whose keys are claimed."""
    answer.worst(UNDECIDED)
    answer.facts["claimed_keys"] = keys
    answer.say(
        "no trust policy was given (--trust), so nothing was checked against a key",
        *(f"claims to be signed by {key}" for key in keys),
        "hint: get the verifier keys from a source you trust and write them into a policy file",
    )


def signers(data: bytes) -> list[str]:
    """Who claims to have signed a note."""
    return [f"{s.name} with key {s.key_id.hex()}" for s in SignedNote.parse(data).signatures]


def policy_of(parsed: argparse.Namespace) -> TrustPolicy | None:
    """The trust policy of --trust, or None. Raises Usage."""
    if parsed.trust is None:
        return None
    try:
        return TrustPolicy.parse(read_file(parsed.trust))
    except Malformed as failure:
        raise Usage(failure.message, hint=failure.hint) from None


def read_file(name: str, most: int = MAX_FILE_BYTES) -> bytes:
    """A local file. Raises Usage when it cannot be read, or is longer than `most` bytes."""
    try:
        with Path(name).open("rb") as file:
            data = file.read(most + 1)
    except OSError as failure:
        raise Usage(f"{name} cannot be read: {failure.strerror}.") from None
    if len(data) > most:
        raise Usage(f"{name} is longer than {most} bytes.")
    return data
