"""RFC 3161 timestamps over checkpoints: a clock that the operator does not own says when one was there.

Knows the exchange with a timestamp authority (RFC 3161, section 3.4) and what of its answer is checked; the parsing and
the certificates are those of `rfc3161-client`. Does not know trees. An authority sees the SHA-256 of a note and nothing
else. Nobody waits for it: one that is slow, away or lying is logged and asked again later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerificationError, VerifierBuilder
from rfc3161_client import decode_timestamp_response as decode

from countenance.errors import Error
from countenance.ledger.entry import microseconds
from countenance.ledger.exchange import Exchange, Unreachable
from countenance.ledger.log import Log
from countenance.store.leases import Lease, held

QUERY_TYPE: Final = "application/timestamp-query"
REPLY_TYPE: Final = "application/timestamp-reply"
"""Media types (RFC 3161, section 3.4)."""
TIMEOUT_S: Final = 10.0
"""An authority signs once and looks nothing up: milliseconds, and the way there."""
MAX_ANSWER_BYTES: Final = 64 * 1024
"""A token with a chain of three certificates has under 8 KiB."""
PLAUSIBLE_S: Final = 300.0
"""How far the authority's time may be from ours before somebody is told: the 5 minutes of PROOFS, section 4."""
RETRY_S: Final = 60.0
STOP_PATIENCE_S: Final = 2.0

_log = logging.getLogger(__name__)


class NotStamped(Error):
    """The authority gave no timestamp that holds."""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A timestamp that was verified.

    Attributes:
        note: what was stamped, byte for byte.
        answer: the authority's whole answer (DER, TimeStampResp): what `openssl ts -verify -in` takes.
        at: the authority's time.
    """

    note: bytes
    answer: bytes
    at: datetime


class Authority:
    """A timestamp authority.

    Args:
        url: where it takes queries.
        roots: PEM of the certificates that vouch for it; those in its answers are not trusted by themselves.

    Raises:
        NotStamped: the address is none, or there is no certificate in `roots`.
    """

    def __init__(self, url: str, roots: bytes, *, timeout_s: float = TIMEOUT_S) -> None:
        try:
            self._exchange = Exchange("The timestamp authority", url, timeout_s=timeout_s, max_bytes=MAX_ANSWER_BYTES)
            self._roots = x509.load_pem_x509_certificates(roots)
        except Unreachable as error:
            raise NotStamped(error.message, hint=error.hint) from None
        except ValueError:
            raise NotStamped(
                "The roots of the timestamp authority are not certificates in PEM.", hint="see ledger_timestamp_roots"
            ) from None

    def stamp(self, note: bytes) -> Timestamp:
        """Have a note stamped, and the answer checked: granted, this nonce, this hash, and signed by a certificate for
        timestamps alone that one of the roots vouches for.

        Raises:
            NotStamped: there is no such answer.
        """
        request = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256).build()
        try:
            reply = self._exchange.post("", request.as_bytes(), QUERY_TYPE)
        except Unreachable as error:
            raise NotStamped(error.message, hint=error.hint) from None
        if reply.status != 200 or reply.content_type.split(";")[0].strip().lower() != REPLY_TYPE:
            raise NotStamped(f"The timestamp authority answered {reply.status}: {reply.said}")
        builder = VerifierBuilder.from_request(request)
        for root in self._roots:
            builder = builder.add_root_certificate(root)
        try:
            answer = decode(reply.body)
            builder.build().verify_message(answer, note)
            at = answer.tst_info.gen_time
        except (VerificationError, ValueError) as error:
            raise NotStamped(
                f"The answer of the timestamp authority does not hold: {str(error)[:200]}",
                hint="check that its address and ledger_timestamp_roots belong together",
            ) from None
        return Timestamp(note, reply.body, at if at.tzinfo else at.replace(tzinfo=UTC))


class Timestamping:
    """Has the latest checkpoint stamped now and then, when it is another than the one before.

    Args:
        every_s: seconds between two.
        lease: where several processes share the log, its holder has them stamped.
    """

    def __init__(
        self,
        log: Log,
        authority: Authority,
        *,
        every_s: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lease: Lease | None = None,
    ) -> None:
        self._log = log
        self._authority = authority
        self._every_s = every_s
        self._now = now
        self._lease = lease
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timestamps", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; one that is under way is not waited for long."""
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_PATIENCE_S)

    def once(self) -> bool:
        """Stamp the latest checkpoint, unless it was; whether there is a timestamp over it now."""
        try:
            size, note = self._log.publish()
            latest = self._log.storage.latest_timestamp()
            if latest is not None and latest[0] == size:
                return True
            made = self._authority.stamp(note)
            self._log.storage.keep_timestamp(size, note, made.answer, microseconds(made.at))
        except (Error, OSError) as error:
            _log.warning("the latest checkpoint has no timestamp: %s", error)
            return False
        apart = abs((made.at - self._now()).total_seconds())
        if apart > PLAUSIBLE_S:
            _log.warning("the timestamp authority's clock and ours are %.0f s apart", apart)
        return True

    def _run(self) -> None:
        while not self._wake.is_set():
            began = time.monotonic()
            try:
                with held(self._lease) as is_ours:
                    is_stamped = self.once() if is_ours else False
            except Exception:  # noqa: BLE001 -- a thread that dies would leave the log unstamped without a word
                _log.exception("the latest checkpoint has no timestamp")
                is_stamped = False
            wait_s = self._every_s if is_stamped else min(RETRY_S, self._every_s)
            self._wake.wait(max(0.0, wait_s - (time.monotonic() - began)))
