"""Whether the log is the one that was signed before: checkpoints at hand, at mirrors and at witnesses, compared.

Knows where checkpoints are to be found and what a contradiction is; does not know how a log is mended (`recover`). An
operator who restores an older database by mistake is stopped before the first entry would fork the log; one who means
to has to get past mirrors and witnesses that are not his (PROOFS, section 4).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from countenance_audit.checkpoint import Checkpoint, parse
from countenance_audit.errors import AuditError
from countenance_audit.fetching import folder_fetch, http_fetch
from countenance_audit.note import MAX_NOTE_BYTES, SignedNote
from countenance_audit.tiles import CHECKPOINT

from countenance.errors import Error
from countenance.ledger.keys import Keys
from countenance.ledger.witness_client import WitnessClient, WitnessRefused
from countenance.store import durable

if TYPE_CHECKING:
    from countenance.ledger.log import Log

HIGH_WATER: Final = "high-water"
"""The latest checkpoint, in a file that backups leave out: an older database beside it is noticed."""
PATIENCE_S: Final = 5.0
"""How long a start waits for mirrors and witnesses, all of them at once. One that is away does not keep the server from
starting: a witness refuses the next checkpoint if it has to."""
FETCH_S: Final = 2.0
"""For one file of a mirror; `http_fetch` allows four times that for a whole file."""

HINT: Final = (
    "restore the newest database, or run `countenance ledger recover`: it puts back what a mirror has, or closes this "
    "log and opens another that names it"
)

_log = logging.getLogger(__name__)


class LedgerError(Error):
    """The ledger cannot be opened or used."""


class LogBehind(LedgerError):
    """The log is shorter than, or another one than, a checkpoint that was signed before."""


def compare(note: bytes, keys: Keys, size: int, root_at: Callable[[int], bytes], where: str) -> Checkpoint:
    """The checkpoint in a note, when the log continues it.

    Args:
        size: the log's.
        root_at: the root over its first leaves.
        where: for the message.

    Raises:
        LogBehind: the log is shorter, or begins with other leaves, or the note is not this log's.
    """
    try:
        seen = keys.open(note)
    except AuditError as error:
        raise LogBehind(f"A checkpoint of this log {where} cannot be verified: {error}", hint=HINT) from None
    if seen.origin != keys.origin:
        raise LogBehind(f"The checkpoint {where} is of {seen.origin}, not of {keys.origin}.", hint=HINT)
    if seen.size > size:
        raise LogBehind(f"The log has {size} leaves; the checkpoint {where} is over {seen.size}.", hint=HINT)
    if root_at(seen.size) != seen.root:
        raise LogBehind(
            f"The first {seen.size} leaves are not those that the checkpoint {where} was signed over.", hint=HINT
        )
    return seen


def high_water(folder: Path) -> bytes | None:
    """The checkpoint kept outside the database."""
    try:
        return (folder / HIGH_WATER).read_bytes()
    except FileNotFoundError:
        return None


def keep_high_water(folder: Path, note: bytes) -> None:
    """Puts a checkpoint there, whole and durable, unless there is a larger one of the same log: another process was
    faster."""
    mine = parse(SignedNote.parse(note).text)

    def is_larger(there: bytes) -> bool:
        try:
            found = parse(SignedNote.parse(there).text)
        except AuditError:
            return False
        return found.origin == mine.origin and found.size > mine.size

    durable.replace(folder / HIGH_WATER, note, unless=is_larger)


def mirrored_checkpoint(location: str) -> bytes:
    """The checkpoint that a mirror keeps: an http(s) address of a log's prefix, or a folder.

    Raises:
        Unavailable: it cannot be had.
    """
    if location.startswith(("http://", "https://")):
        return http_fetch(location, timeout_s=FETCH_S, max_bytes=MAX_NOTE_BYTES)(CHECKPOINT)
    return folder_fetch(Path(location), max_bytes=MAX_NOTE_BYTES)(CHECKPOINT)


def compare_outside(
    log: Log, *, mirrors: Sequence[str] = (), witnesses: Sequence[WitnessClient] = (), patience_s: float = PATIENCE_S
) -> None:
    """Compare the log with what mirrors and witnesses have seen of it, before anything is added to it or published.

    Raises:
        LogBehind: one of them has seen a longer log, or another one.
    """
    found = log.checkpoint_as_found()
    contradictions: list[LogBehind] = []

    def ask_mirror(location: str) -> None:
        try:
            theirs = mirrored_checkpoint(location)
        except (AuditError, OSError) as error:
            _log.warning("the mirror %s was not compared with: %s", location, error)
            return
        try:
            origin = parse(SignedNote.parse(theirs).text).origin
        except AuditError as error:
            _log.warning("the mirror %s was not compared with: what it has is no checkpoint: %s", location, error)
            return
        if origin != log.origin:
            _log.warning("the mirror %s was not compared with: it is of %s, not of %s", location, origin, log.origin)
            return
        try:  # one under a key that is not known here may be a later key: somebody has to look
            compare(theirs, log.keys, log.size, log.root, f"at the mirror {location}")
        except LogBehind as error:
            contradictions.append(error)

    def show(witness: WitnessClient, size: int, note: bytes) -> WitnessRefused | None:
        try:
            log.cosigned(size, witness.submit(note, size, lambda old: log.consistency(old, size)))
        except WitnessRefused as error:
            return error
        return None

    def ask_witness(witness: WitnessClient) -> None:
        size, note = found
        try:
            while refused := show(witness, size, note):
                shown, (size, note) = size, log.checkpoint_as_found()
                if size <= shown:  # otherwise another process went on meanwhile, and the witness signed that
                    contradictions.append(LogBehind(refused.message, hint=HINT))
                    return
        except (Error, AuditError, OSError) as error:
            _log.warning("the start was not compared with a witness: %s", error)

    asking = [threading.Thread(target=ask_mirror, args=(each,), name="mirror", daemon=True) for each in mirrors]
    asking += [threading.Thread(target=ask_witness, args=(each,), name="witness", daemon=True) for each in witnesses]
    for thread in asking:
        thread.start()
    deadline = time.monotonic() + patience_s
    for thread in asking:
        thread.join(max(0.0, deadline - time.monotonic()))
    if late := sum(thread.is_alive() for thread in asking):
        _log.warning("%d mirrors or witnesses did not answer within %g s; the start does not wait", late, patience_s)
    if contradictions:
        raise contradictions[0]
