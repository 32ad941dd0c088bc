"""Whom a relying party trusts: a C2SP tlog-policy file.

Knows names, keys and the quorum; does not know where notes come from. Format: https://c2sp.org/tlog-policy. The
keys that decide anything come from this file, which its reader wrote, and never from what is being checked.

Two lines are ours: `auditor <name> <vkey>` and `monitor <name> <vkey>` name whose statements about whole periods
and maps count. The specification neither has nor forbids them; other readers of the format will refuse them.
Stricter than the specification: the whole file is UTF-8, and one public key has one role only, so that no log
counts as its own witness.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from countenance_audit.checkpoint import Checkpoint, open_checkpoint, verify_cosignature
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.note import COSIGNATURE, ED25519, SignedNote, VerifierKey

MAX_POLICY_BYTES: Final = 1_000_000
MAX_LINES_OF_A_KIND: Final = 256
"""Most logs, witnesses, groups, auditors or monitors; the specification asks for 32."""

NO_QUORUM: Final = "none"
"""The predefined name of the quorum that asks for no cosignature."""

_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_WHITE: Final = re.compile(r"[ \t]+")
_THRESHOLD: Final = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class Group:
    """Counts as having cosigned when at least `threshold` of its members have."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint whose log is trusted, and who else saw it.

    Attributes:
        key: the log's key that signed it.
        satisfied: the policy's quorum of witnesses cosigned it.
        witnesses: the policy's name of each witness that did -> when, in seconds since 1970.
        missing: names of the witnesses that did not.
    """

    checkpoint: Checkpoint
    key: VerifierKey
    satisfied: bool
    witnesses: Mapping[str, int]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """A policy that was read.

    Attributes:
        logs: keys of the logs, any of which may sign.
        witnesses, auditors, monitors: name in the policy -> key.
        urls: log's key name, or witness' name in the policy -> address, where one is given.
        quorum: name of a witness or group, or `NO_QUORUM`.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, VerifierKey]
    groups: Mapping[str, Group]
    quorum: str
    auditors: Mapping[str, VerifierKey]
    monitors: Mapping[str, VerifierKey]
    urls: Mapping[str, str]

    @classmethod
    def parse(cls, text: str | bytes) -> TrustPolicy:
        """Reads a policy file.

        Raises:
            Malformed: with the number of the line that is wrong.
        """
        if len(text) > MAX_POLICY_BYTES:
            raise Malformed(f"The policy is longer than {MAX_POLICY_BYTES} bytes.")
        if isinstance(text, bytes):
            try:
                text = text.decode()
            except UnicodeDecodeError:
                raise Malformed("The policy is not UTF-8.") from None
        reader = _Reader()
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                reader.read(line)
            except Malformed as failure:
                raise Malformed(f"Line {number} of the policy: {failure.message}", hint=failure.hint) from None
        return reader.done()

    @property
    def log_key(self) -> VerifierKey:
        """The key of the one log.

        Raises:
            Rejected: the policy names none, or several.
        """
        if len(self.logs) != 1:
            raise Rejected(f"The policy names {len(self.logs)} logs where one is needed.")
        return self.logs[0]

    def keys_of(self, origin: str) -> tuple[VerifierKey, ...]:
        """The keys of the log of this name: several after a rotation."""
        return tuple(key for key in self.logs if key.name == origin)

    def key_of(self, origin: str, key_id: str) -> VerifierKey:
        """The log's key with this id (8 hexadecimal digits).

        Raises:
            Rejected: the policy does not name it.
        """
        for key in self.keys_of(origin):
            if key.key_id.hex() == key_id:
                return key
        raise Rejected(
            f"The trust policy names no log {origin!r} with key {key_id}.",
            hint="Add its verifier key to the policy if you have it from a source you trust.",
        )

    def quorum_met(self, names: Collection[str]) -> bool:
        """Whether these witnesses are the quorum, or more."""
        met = set(names) & self.witnesses.keys()
        for name, group in self.groups.items():  # in the order of the file: members come before their groups
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(name)
        return self.quorum == NO_QUORUM or self.quorum in met

    def cosigned(self, note: bytes | SignedNote) -> Cosigned:
        """Checks a checkpoint: signed by a log of this policy, and by which witnesses.

        Raises:
            Malformed: it is not a checkpoint.
            Rejected: no log of this policy signed it, or a line under a trusted name and id is not valid.
        """
        if not isinstance(note, SignedNote):
            note = SignedNote.parse(note)
        keys = [key for key in self.logs if note.by(key)]
        if not keys:
            raise Rejected(
                "The checkpoint is not signed by a log that the trust policy names.",
                hint="Its signature lines are by: " + ", ".join(s.name for s in note.signatures)[:200],
            )
        checkpoint = open_checkpoint(note, keys[0])
        for key in keys[1:]:
            open_checkpoint(note, key)
        times = {name: verify_cosignature(note, key) for name, key in self.witnesses.items() if note.by(key)}
        missing = tuple(name for name in self.witnesses if name not in times)
        return Cosigned(checkpoint, keys[0], self.quorum_met(times), times, missing)


@dataclass(slots=True)
class _Reader:
    """Reads line after line; what a line refers to must have come before it."""

    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: dict[str, VerifierKey] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    auditors: dict[str, VerifierKey] = field(default_factory=dict)
    monitors: dict[str, VerifierKey] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    quorum: str | None = None
    names: set[str] = field(default_factory=lambda: {NO_QUORUM})
    grouped: set[str] = field(default_factory=set)
    publics: set[bytes] = field(default_factory=set)

    def read(self, line: str) -> None:
        if _FORBIDDEN.search(line):
            raise Malformed("There is a control character.")
        stripped = line.strip(" \t")
        if not stripped or stripped.startswith("#"):
            return
        keyword, *items = _WHITE.split(stripped)
        if keyword == "log" and len(items) in (1, 2):
            self._log(*items)
        elif keyword == "witness" and len(items) in (2, 3):
            self._named(self.witnesses, items[0], items[1], (COSIGNATURE,))
            if len(items) == 3:
                self.urls[items[0]] = items[2]
        elif keyword in ("auditor", "monitor") and len(items) == 2:
            table = self.auditors if keyword == "auditor" else self.monitors
            self._named(table, items[0], items[1], (COSIGNATURE, ED25519))
        elif keyword == "group" and len(items) >= 3:
            self._group(items[0], items[1], items[2:])
        elif keyword == "quorum" and len(items) == 1:
            self._quorum(items[0])
        else:
            raise Malformed(
                f"{keyword[:20]!r} with {len(items)} items is not a line of a policy.",
                hint="Lines: log, witness, group, quorum, auditor, monitor.",
            )

    def done(self) -> TrustPolicy:
        if self.quorum is None:
            raise Malformed("The policy has no quorum line.", hint='Write "quorum none" if no witness is needed.')
        return TrustPolicy(
            tuple(self.logs), self.witnesses, self.groups, self.quorum, self.auditors, self.monitors, self.urls
        )

    def _log(self, vkey: str, url: str | None = None) -> None:
        if len(self.logs) >= MAX_LINES_OF_A_KIND:
            raise Malformed("Too many logs.")
        key = self._key(vkey, (ED25519,))
        self.logs.append(key)
        if url is not None:
            self.urls[key.name] = url

    def _named(self, table: dict[str, VerifierKey], name: str, vkey: str, algorithms: Collection[int]) -> None:
        self._define(name, table)
        table[name] = self._key(vkey, algorithms)

    def _key(self, vkey: str, algorithms: Collection[int]) -> VerifierKey:
        key = VerifierKey.parse(vkey)
        if key.algorithm not in algorithms:
            raise Malformed(
                f"The key of {key.name} has signature type 0x{key.algorithm:02x}.",
                hint="Logs have keys of type 0x01, witnesses of type 0x04.",
            )
        if key.public in self.publics:
            raise Malformed(f"The public key of {key.name} was given before.", hint="One key has one role.")
        self.publics.add(key.public)
        return key

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise Malformed(f"{member[:100]!r} is no witness or group defined above.")
            if member in self.grouped:
                raise Malformed(f"{member[:100]!r} is a member of a group already.")
            self.grouped.add(member)
        if threshold == "all":
            least = len(members)
        elif threshold == "any":
            least = 1
        elif _THRESHOLD.fullmatch(threshold) and int(threshold) <= len(members):
            least = int(threshold)
        else:
            raise Malformed(f"A group of {len(members)} has the threshold {threshold[:20]!r}.")
        self._define(name, self.groups)
        self.groups[name] = Group(least, tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise Malformed("There is a second quorum line.")
        if name != NO_QUORUM and name not in self.witnesses and name not in self.groups:
            raise Malformed(f"The quorum {name[:100]!r} is no witness or group defined above.")
        self.quorum = name

    def _define(self, name: str, table: Mapping[str, object]) -> None:
        if name in self.names:
            raise Malformed(f"The name {name[:100]!r} was used before.")
        if len(table) >= MAX_LINES_OF_A_KIND:
            raise Malformed(f"There are more than {MAX_LINES_OF_A_KIND} lines of one kind.")
        self.names.add(name)
