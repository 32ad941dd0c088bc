"""Asks for and checks RFC 3161 timestamps with the `openssl` program.

For the tests in this folder; the server's own client is `ledger.timestamp`.

What is stamped is the file with the signed checkpoint, byte for byte. A cosignature that is added later makes another
file, so the stamped one has to be kept as it was.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

PACKAGES: Final = "apt-get install openssl"
_TIMEOUT_S: Final = 60
_TIME: Final = re.compile(r"^Time stamp: (\w{3}) +(\d+ \d\d:\d\d:\d\d)(?:\.\d+)? (\d{4}) GMT$", re.MULTILINE)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def is_missing() -> bool:
    """There is no openssl."""
    return shutil.which("openssl") is None


def query(checkpoint: Path, query_file: Path) -> None:
    """Writes what is to be sent to the authority: the checkpoint's SHA-256, a nonce, and a wish for its certificate."""
    done = openssl("ts", "-query", "-data", checkpoint, "-sha256", "-cert", "-out", query_file)
    assert done.returncode == 0, done.stderr


def verify(checkpoint: Path, reply_file: Path, authorities: Path) -> bool:
    """Whether the reply is a timestamp over this checkpoint by an authority that one of the certificates vouches for.

    Args:
        authorities: PEM file of trusted certificates; those within the reply are not trusted.
    """
    return _holds("-data", checkpoint, "-in", reply_file, "-CAfile", authorities)


def verify_answer(query_file: Path, reply_file: Path, authorities: Path) -> bool:
    """Whether the reply answers this very query, nonce included: what the one who asked checks."""
    return _holds("-queryfile", query_file, "-in", reply_file, "-CAfile", authorities)


def stamped_at(reply_file: Path) -> datetime:
    """The time in a reply that was verified, to the second."""
    done = openssl("ts", "-reply", "-in", reply_file, "-text")
    found = _TIME.search(done.stdout)
    assert found is not None, done.stdout + done.stderr
    month = _MONTHS.index(found[1]) + 1
    return datetime.strptime(f"{found[3]} {month} {found[2]}", "%Y %m %d %H:%M:%S").replace(tzinfo=UTC)


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs openssl."""
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S)


def _holds(*arguments: str | Path) -> bool:
    done = openssl("ts", "-verify", *arguments)
    holds, said = done.returncode == 0, done.stdout + done.stderr
    # Word and status have to agree, so that neither a file that cannot be read nor a changed message is an answer.
    assert ("Verification: OK" if holds else "Verification: FAILED") in said, said
    return holds
