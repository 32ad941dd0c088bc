"""Passwords, one-time passwords, and the tokens of sessions.

Knows Argon2id (RFC 9106), TOTP (RFC 6238) and how both are kept: the password's hash, and the shared secret wrapped
under the master key. Does not know who may log in. Nothing here is ever logged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import unicodedata
from typing import Final

import argon2
import pyotp

from countenance.operators.guessable import why_guessable
from countenance.operators.values import OperatorError, SessionError
from countenance.store import Keyring

SHORTEST_PASSWORD: Final = 12
"""Characters; NIST SP 800-63B section 5.1.1.2 asks for 8, and for 15 without a second factor (revision 4)."""
LONGEST_PASSWORD: Final = 1_024
FEWEST_CHARACTERS: Final = 5
"""Different ones in a password; what else is refused is in `guessable`."""
STEP_S: Final = 30
"""RFC 6238 section 5.2."""
DRIFT: Final = 1
"""Steps that a clock may be off, either way: RFC 6238 section 5.2 asks for no more than one."""
SESSION_US: Final = 30 * 60_000_000
"""How long a login lasts: half an hour. NIST SP 800-63B section 4.2.3 (AAL2) allows 12 h, and 30 min of inactivity."""

_hasher: Final = argon2.PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4, hash_len=32, salt_len=16)
"""Argon2id; RFC 9106 section 4, second recommended option: 3 passes, 64 MiB, 4 lanes, 128-bit salt, 256-bit tag. The
OWASP Password Storage Cheat Sheet asks for 19 MiB and 2 passes at least."""
_AT_ONCE: Final = threading.BoundedSemaphore(2)
"""Each takes 64 MiB and four lanes; the server has calls to answer meanwhile."""


def _nobody() -> str:
    """Verified against when there is no such operator, so that an answer takes as long: of the same parameters, and of
    no password that anybody knows. Put together without hashing, or the first answer would take twice as long."""
    parameters = f"m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}"
    salt, kept = (base64.b64encode(bytes(size)).decode().rstrip("=") for size in (_hasher.salt_len, _hasher.hash_len))
    return f"$argon2id$v=19${parameters}${salt}${kept}"


def hashed(password: str, handle: str) -> str:
    """The password's hash with its salt and parameters. Raises OperatorError when it cannot be one."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise OperatorError(
            f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.", hint="several words do well"
        )
    if len(set(password)) < FEWEST_CHARACTERS:
        raise OperatorError(
            f"A password has {FEWEST_CHARACTERS} different characters or more.", hint="several words do well"
        )
    if why := why_guessable(password, handle):
        raise OperatorError(why, hint="several words do well")
    with _AT_ONCE:
        return _hasher.hash(_normal(password))


def is_password(password: str, kept: str | None) -> bool:
    """Whether it is the one that was hashed; None takes as long and is never."""
    with _AT_ONCE:
        try:
            return _hasher.verify(kept or _nobody(), _normal(password[: LONGEST_PASSWORD + 1])) and kept is not None
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


def _normal(password: str) -> bytes:
    """The same bytes from every keyboard: NIST SP 800-63B section 5.1.1.2. Lone surrogates must not be an error."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def new_secret() -> str:
    """For an authenticator app, in base32: 160 bits, as RFC 4226 section 4 recommends."""
    return pyotp.random_base32(32)


def address(secret: str, handle: str) -> str:
    """What an authenticator app scans."""
    return pyotp.TOTP(secret, interval=STEP_S).provisioning_uri(name=handle, issuer_name="Countenance")


def step_of(code: str, secret: str, at_us: int, after: int) -> int | None:
    """The time step of a one-time password, when it holds and is later than `after`: each is used once (RFC 6238,
    section 5.2)."""
    totp, now = pyotp.TOTP(secret, interval=STEP_S), at_us // 1_000_000 // STEP_S
    for step in range(max(now - DRIFT, after + 1), now + DRIFT + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode("utf-8", "surrogatepass")):
            return step
    return None


def digest(password_hash: str, wrapped: bytes) -> str:
    """SHA-256 of a credential's row, in hexadecimal: what the act of setting it names."""
    return hashlib.sha256(password_hash.encode() + b"\0" + wrapped).hexdigest()


def code_digest(code: str) -> str:
    """SHA-256 of the code with which a new operator begins, in hexadecimal."""
    return hashlib.sha256(b"countenance/operator-code/v1\n" + code.encode("utf-8", "surrogatepass")).hexdigest()


def new_code() -> str:
    """128 bits in letters and digits that are not taken for each other."""
    return base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=")


class Tokens:
    """Sessions, signed by a key derived from the master key; nothing of them is stored here."""

    def __init__(self, keyring: Keyring) -> None:
        self._key = keyring.derive("operator-sessions")

    def issue(self, handle: str, at_us: int) -> str:
        """A token for an operator who has just logged in."""
        said = f"{handle}:{at_us}:{secrets.token_hex(16)}".encode()
        return base64.urlsafe_b64encode(said + self._seal(said)).decode()

    def read(self, token: str, at_us: int) -> tuple[str, int]:
        """Whose it is, and since when (microseconds since 1970). Raises SessionError when it is not one, or over."""
        try:
            whole = base64.urlsafe_b64decode(token.encode())
        except ValueError:
            whole = b""
        said, seal = whole[:-32], whole[-32:]
        if not said or not hmac.compare_digest(seal, self._seal(said)):
            raise SessionError("This is no session.", hint="`countenance login NAME`")
        handle, since, _ = said.decode().split(":")
        if not 0 <= at_us - int(since) <= SESSION_US:
            raise SessionError("The session is over.", hint="`countenance login NAME`")
        return handle, int(since)

    def _seal(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, "sha256")
