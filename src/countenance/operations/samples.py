"""Where the samples and the ledger meet: what is exported, erased or has been kept long enough, and the leaf of it.

Neither body knows the other. Erasing destroys the samples' keys, asks for the holds and writes the public `retention`
leaf in one transaction; an export is an act in the log before its bytes are given to anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from countenance.errors import Error
from countenance.ledger import Ledger, Opaque, Public, accounting, microseconds, person, retention
from countenance.ledger.fsck import Examined
from countenance.samples import Erased, Sample, SampleCorrupt, Samples

REASON_CHARACTERS: Final = 200
"""As long as the ground of an erasure."""
KEPT: Final = "kept"
"""`details.sample` of an entry whose image is kept (docs/reference/leaf.md)."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A kept image on its way out, with what its entry says of it."""

    sample: Sample
    sha256: bytes
    image: bytes


def export(
    ledger: Ledger,
    samples: Samples,
    wanted: str,
    *,
    reason: str,
    request_id: str,
    at: datetime,
    party_of: Callable[[str], Sequence[tuple[str, str, str]]] = lambda account: (),
    by: str = "",
) -> Exported:
    """The image of a call, once the act is in the log.

    Args:
        wanted: the request id of the call.
        reason: why, for the entry of the act.
        request_id: of the act.
        by: which operator exports it, or that the host does.

    Raises:
        SampleNotFound: none is kept of that call.
        SampleCorrupt: what is kept is not the image that the call's entry names.
        Error: no reason was given.
    """
    if not reason.strip() or len(reason) > REASON_CHARACTERS or not reason.isprintable():
        raise Error(
            f"Give the reason in at most {REASON_CHARACTERS} printable characters.",
            hint="it stays in the log: such as a file number, no names of people",
        )
    sample = samples.find(wanted)
    digest, said = _digest_of(ledger, sample), {"by": by} if by else {}
    image = samples.open(sample, digest)
    ledger.log.append(
        Opaque(
            accounting(
                kind="act",
                time=microseconds(at),
                operation="sample.export",
                request_id=request_id,
                account=sample.account,
                party=party_of(sample.account),
                details={"exported": wanted, "reason": reason, "bytes": len(image), **said},
            ),
            person(images=[digest]),
        )
    )
    return Exported(sample, digest, image)


def erase(ledger: Ledger, samples: Samples, *, account: str, before: datetime, ground: str) -> int:
    """Erase an account's samples of calls before a time; returns how many.

    Raises:
        HoldInForce: the account is under a legal hold; nothing was erased.
        Error: no ground was given.
    """
    retention.check_ground(ground)

    def portion(connection: Any) -> list[Erased]:
        retention.refuse_if_held(connection, account)
        return samples.erase(connection, before_us=microseconds(before), account=account)

    return _in_portions(ledger, samples, ground, portion)


def erase_of(
    ledger: Ledger, samples: Samples, *, account: str, request_ids: Sequence[str], at: datetime, ground: str
) -> int:
    """Erase the samples of some of an account's calls; returns how many.

    Raises:
        HoldInForce: the account is under a legal hold; nothing was erased.
    """

    def portion(connection: Any) -> list[Erased]:
        retention.refuse_if_held(connection, account)
        # A call may have been recorded a moment ago, by another reading of the clock.
        later = microseconds(at + timedelta(days=1))
        return samples.erase(connection, before_us=later, account=account, request_ids=request_ids)

    return _in_portions(ledger, samples, ground, portion)


def retain(
    ledger: Ledger, samples: Samples, *, days: int, now: datetime, stopping: Callable[[], bool] = lambda: False
) -> int:
    """Erase what was kept for the whole retention period, but for accounts under a legal hold; returns how many."""
    before_us = microseconds(now - timedelta(days=days))
    return _in_portions(
        ledger,
        samples,
        f"retention period of {days} days",
        lambda connection: samples.erase(connection, before_us=before_us, spared=retention.held(connection)),
        stopping,
    )


def problems(ledger: Ledger, samples: Samples, examined: Examined) -> list[str]:
    """In what the samples differ from what the log says of them."""
    found = list(samples.problems())
    count = samples.count()
    storage = ledger.log.storage
    # A call recorded meanwhile has a leaf that was not examined. After a recovery some of the entries and some of the
    # samples are lost, as the log says, and not the same ones.
    is_whole = not examined.was_recovered and storage.last_size() == examined.leaves
    if is_whole and count != examined.samples:
        found.append(f"{examined.samples} samples by the log, {count} in the database")
    return found


def _in_portions(
    ledger: Ledger,
    samples: Samples,
    ground: str,
    work: Callable[..., list[Erased]],
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    def noted(connection: Any) -> list[Erased]:
        erased = work(connection)
        if erased:
            ledger.log.note_erasure(connection, samples.note_of(erased))
        return erased

    total = 0
    while not stopping():
        erased = ledger.log.write(
            noted,
            lambda gone: (
                Public({"kind": "retention", "class": "sample", "ground": ground, "count": len(gone)}) if gone else None
            ),
        )
        if not erased:
            break
        samples.forget(erased)
        total += len(erased)
    return total


def _digest_of(ledger: Ledger, sample: Sample) -> bytes:
    """SHA-256 of the image by the entry of the call, which is the only place that has it."""
    for _, opening in ledger.log.storage.entries.calls_ever(sample.request_id):
        said = opening.accounting
        if said["kind"] == "call" and said["account"] == sample.account and opening.person:
            return bytes.fromhex(opening.person["images"][0]["sha256"])
    raise SampleCorrupt(
        f"The entry of the call {sample.request_id} does not say which image it was about.",
        hint="its person section was erased and the sample was not: erase the sample as well",
    )
