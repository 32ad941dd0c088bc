"""Bringing each checkpoint to the witnesses, and knowing when they last agreed.

Knows the clients and the quorum of the operator's own policy file; does not know what a witness checks (`witness`).
Nobody waits for a witness: a call is answered when its leaf is durable here. Without a quorum for a day the server says
so; outside, a mirror marks the span UNWITNESSED from the heartbeats (PROOFS, section 4).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final

from countenance_audit.checkpoint import parse, verify_cosignature
from countenance_audit.errors import AuditError
from countenance_audit.note import SignedNote
from countenance_audit.policy import TrustPolicy

from countenance.errors import Error
from countenance.ledger.log import Log
from countenance.ledger.witness_client import WitnessClient, WitnessRefused
from countenance.store.leases import Lease, held

EVERY_S: Final = 2.0
"""How often it is looked whether there is a checkpoint that a witness has not signed."""
STOP_PATIENCE_S: Final = 2.0
"""How long a stop waits for an answer of a witness; what it would have signed, it signs after the next start."""
ASKED_S: Final = 10.0
"""How long whoever makes a certificate waits for witnesses."""
HOUR_S: Final = 3600.0
SEARCHED: Final = 1_000
"""Checkpoints looked at for one that witnesses cosigned: some hours'."""
LOOK_BACK: Final = 10_000
"""Checkpoints looked at for the last quorum before this start: more than a day's, one each 10 s."""

_log = logging.getLogger(__name__)


def clients_of(policy: TrustPolicy | None) -> dict[str, WitnessClient]:
    """A client for each witness of a policy, by name."""
    return {name: WitnessClient(policy.urls[name], key) for name, key in policy.witnesses.items()} if policy else {}


class Witnessing:
    """Asks the witnesses of a policy. Safe to use from any thread.

    Args:
        log: whose checkpoints they are.
        policy: names, keys and addresses of the witnesses, and the quorum; None: there are none.
        patience_h: hours without a quorum after which `warnings` has something to say.
        now_s: the time, seconds since 1970.
        lease: where several processes share the log, its holder asks, and the others look what came of it.

    Attributes:
        refusals: witnesses that know another history of this log, and what they said. Somebody has to look.
    """

    def __init__(
        self,
        log: Log,
        policy: TrustPolicy | None,
        *,
        patience_h: float = 24.0,
        now_s: Callable[[], float] = time.time,
        lease: Lease | None = None,
    ) -> None:
        self._log = log
        self._policy = policy
        self._patience_s = patience_h * HOUR_S
        self._now_s = now_s
        self._lease = lease
        self.clients: Mapping[str, WitnessClient] = clients_of(policy)
        self.refusals: dict[str, str] = {}
        self._taking = threading.Lock()
        self._cosigned: bytes | None = None
        self._cosigned_size = -1
        self._quorum_s: int | None = None
        self._began_s = now_s()
        self._wake = threading.Event()
        self._threads: list[threading.Thread] = []
        if policy is not None:
            self._look_back(policy)

    @property
    def cosigned(self) -> str | None:
        """SHA-256 of the latest checkpoint with an outside cosignature, in hexadecimal: what a heartbeat names."""
        return None if self._cosigned is None else self._cosigned.hex()

    @property
    def quorum_s(self) -> int | None:
        """When the policy's quorum last cosigned, seconds since 1970; None: not that we know of."""
        return self._quorum_s

    def warnings(self) -> list[str]:
        """What whoever runs the server should know about its witnesses."""
        if self._policy is None:
            return []
        said = [f"witness {name} refused: {why}" for name, why in self.refusals.items()]
        if self._policy.quorum_met(()):  # none is asked for
            return said
        since = self._quorum_s if self._quorum_s is not None else self._log.first_time_s() or self._began_s
        span = self._now_s() - since
        if span > self._patience_s:
            said.append(f"UNWITNESSED: no quorum of witnesses has cosigned for {span / HOUR_S:.0f} h")
        return said

    def seen_with(self, index: int, patience_s: float = ASKED_S) -> tuple[int, bytes] | None:
        """Size and note of the newest checkpoint that has this leaf and that the quorum cosigned, or all witnesses
        where the operator's policy asks for none. They are asked now when there is none; then the one that most of
        them cosigned will do.

        Args:
            patience_s: how long to wait for them.

        Returns:
            None when nobody cosigned one.
        """
        if self._policy is None:
            return None
        found, is_enough = self._most_seen(self._policy, index)
        if is_enough:
            return found
        size, note = self._log.publish()
        asking = [
            threading.Thread(target=self._ask, args=(*each, size, note), name="witness", daemon=True)
            for each in self.clients.items()
        ]
        for thread in asking:
            thread.start()
        deadline = time.monotonic() + patience_s
        for thread in asking:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self._most_seen(self._policy, index)[0]

    def _most_seen(self, policy: TrustPolicy, index: int) -> tuple[tuple[int, bytes] | None, bool]:
        """The newest checkpoint with this leaf that enough witnesses cosigned, else the one that most did; and whether
        they are enough."""
        most, best = 0, None
        for note in self._log.storage.checkpoints(SEARCHED):
            parsed = SignedNote.parse(note)
            size = parse(parsed.text).size
            if size <= index:
                break
            times = self._cosigned_by(policy, parsed)
            is_quorum = not policy.quorum_met(()) and policy.quorum_met(times)
            if times and (is_quorum or len(times) == len(policy.witnesses)):
                return (size, note), True
            if len(times) > most:
                most, best = len(times), (size, note)
        return best, False

    @staticmethod
    def _cosigned_by(policy: TrustPolicy, parsed: SignedNote) -> dict[str, int]:
        """Name of each witness whose cosignature holds -> when, in seconds since 1970."""
        times: dict[str, int] = {}
        for name, key in policy.witnesses.items():
            if parsed.by(key):
                try:
                    times[name] = verify_cosignature(parsed, key)
                except AuditError as error:
                    _log.warning("a cosignature by %s does not hold: %s", name, error)
        return times

    def start(self) -> None:
        """Begin to ask, each in a thread of its own: one that hangs must not keep the others from signing."""
        for name, witness in self.clients.items():
            thread = threading.Thread(target=self._run, args=(name, witness), name=f"witness {name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Ask no more. Waits a little for answers that are under way; one that hangs must not hold up the stop."""
        self._wake.set()
        deadline = time.monotonic() + STOP_PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, name: str, witness: WitnessClient) -> None:
        asked = -1
        while not self._wake.wait(EVERY_S):
            try:
                with held(self._lease) as is_ours:
                    size, note = self._log.checkpoint()
                    if not is_ours:
                        self.seen(note)
                    elif asked != size and self._ask(name, witness, size, note):
                        asked = size
            except Exception:  # noqa: BLE001 -- a thread that dies would leave the log unwitnessed without a word
                _log.exception("witness %s could not be asked", name)

    def _ask(self, name: str, witness: WitnessClient, size: int, note: bytes) -> bool:
        try:
            line = witness.submit(note, size, lambda old: self._log.consistency(old, size))
            signed = self._log.cosigned(size, line)
            if signed is not None:
                self.seen(signed)
        except WitnessRefused as error:
            self.refusals[name] = error.message
            _log.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
            return False
        except (OSError, Error, AuditError) as error:
            _log.warning("%s", error)
            return False
        self.refusals.pop(name, None)
        return True

    def seen(self, note: bytes) -> bool:
        """Take account of a checkpoint's cosignatures; whether the quorum is among them.

        Raises:
            Malformed: it is none.
        """
        if self._policy is None:
            return False
        parsed = SignedNote.parse(note)
        times = self._cosigned_by(self._policy, parsed)
        size = parse(parsed.text).size
        met = bool(times) and self._policy.quorum_met(times)
        with self._taking:
            if times and size >= self._cosigned_size:  # a late cosignature of an older one takes nothing back
                self._cosigned, self._cosigned_size = sha256(note).digest(), size
            if met:
                self._quorum_s = max(self._quorum_s or 0, *times.values())
        return met

    def _look_back(self, policy: TrustPolicy) -> None:
        """What was cosigned before this start: the newest with a cosignature, and the newest with the quorum."""
        for note in self._log.storage.checkpoints(LOOK_BACK):  # the newest comes first, and stays
            if self.seen(note):
                break
