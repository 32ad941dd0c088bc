"""AWS Signature Version 4, verified: the Authorization header and the presigned query.

Knows signatures and how AWS words their refusal; does not know where secrets are kept. `parse` reads who
claims to have signed what, `verify` decides whether it is true. Texts, codes and sources:
`docs/reference/errors.md`, "Signatures".

Payloads: the hash that is signed is always the one of the body that arrived. `UNSIGNED-PAYLOAD` and the
`STREAMING-*` forms belong to S3 and are refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote

from countenance.wire.canonical import (
    ALGORITHM,
    TERMINATOR,
    SigningKeys,
    canonical_request,
    string_to_sign,
)
from countenance.wire.faults import Fault
from countenance.wire.http import HttpRequest
from countenance.wire.model import SERVICE

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far a request's time may be from ours; AWS prints it in its own text ("- 5 min.")."""

MAX_EXPIRES_S: Final = 604_800
"""Longest life of a presigned request: seven days (X-Amz-Expires, AWS Signature Version 4 reference)."""

SIGNED_PREFIXES: Final = ("x-amz-", "x-countenance-")
"""Headers that change what a request means, so an unsigned one is refused (AWS asks it of `x-amz-*`)."""

UNSIGNED_EXEMPT: Final = frozenset({"x-amz-cf-id"})
"""Added on the way by CloudFront (its developer guide, "HTTP request headers"); read by nobody here."""

_TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")
_keys: Final = SigningKeys(capacity=1024)


@dataclass(frozen=True, slots=True)
class ParsedSignature:
    """A claim: this key signed this request. True only after `verify`.

    Attributes:
        date, region, service: credential scope; `date` is YYYYMMDD.
        signed_headers: lower-case names, as listed.
        signed_at: aware UTC.
        presigned: the signature came in the query.
        expires_s: life of a presigned request in seconds, None for the header form.
    """

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    signed_at: datetime
    presigned: bool
    expires_s: int | None = None


def unrecognized_client(*, note: str | None = None) -> Fault:
    """The access key id is unknown or revoked."""
    return Fault(
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        note=note,
    )


def parse(request: HttpRequest, *, service: str = SERVICE) -> ParsedSignature:
    """Reads the signature of `request` and checks all of it that needs no secret and no clock.

    Raises:
        Fault: MissingAuthenticationTokenException, IncompleteSignatureException, InvalidSignatureException
            or, when a session token came along, UnrecognizedClientException.
    """
    authorizations = request.values("authorization")
    query = _query(request.query)
    if authorizations and "X-Amz-Algorithm" in query:
        raise _invalid("Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")
    if len(authorizations) > 1:
        raise _incomplete("Found more than one 'Authorization' HTTP header.")
    if authorizations:
        parsed = _from_header(request, authorizations[0], service)
    elif "X-Amz-Algorithm" in query:
        parsed = _from_query(query, service)
    else:
        raise Fault("MissingAuthenticationTokenException", "Missing Authentication Token")
    _check_signed_headers(request, parsed)
    if request.header("x-amz-security-token") is not None or "X-Amz-Security-Token" in query:
        raise Fault(
            "UnrecognizedClientException",
            "The security token included in the request is invalid: this looks like an AWS session key; "
            "unset AWS_SESSION_TOKEN.",
        )
    return parsed


def verify(request: HttpRequest, parsed: ParsedSignature, secret: str, now: datetime) -> str:
    """Accepts `request` only when `secret` signed it and `now` lies within its window.

    Args:
        secret: the secret access key of `parsed.access_key_id`.
        now: aware UTC.

    Returns:
        SHA-256 of the body, which was signed, in hexadecimal.

    Raises:
        Fault: InvalidSignatureException. Its `note` (for the server log) says what was hashed, so that a
            proxy that rewrote the Host header can be found.
    """
    _check_window(parsed, now)
    payload_hash = hashlib.sha256(request.body).hexdigest()
    claimed = request.header("x-amz-content-sha256")
    if claimed is not None and claimed != payload_hash:
        raise _mismatch(f"x-amz-content-sha256 is {claimed[:80]!r}, the body has {payload_hash}")
    canonical = canonical_request(request, parsed.signed_headers, payload_hash)
    scope = f"{parsed.date}/{parsed.region}/{parsed.service}/{TERMINATOR}"
    text = string_to_sign(parsed.signed_at.strftime(_TIMESTAMP), scope, canonical)
    key = _keys.key(secret, parsed.date, parsed.region, parsed.service)
    expected = hmac.new(key, text.encode("latin-1", "backslashreplace"), "sha256").hexdigest()
    if not hmac.compare_digest(expected.encode(), parsed.signature.encode("utf-8", "surrogatepass")):
        absent = [name for name in parsed.signed_headers if request.header(name) is None]
        raise _mismatch(
            f"canonical request has SHA-256 {hashlib.sha256(canonical).hexdigest()}, "
            f"Host arrived as {request.header('host')!r} (a proxy that rewrites it breaks the signature), "
            f"signed headers {';'.join(parsed.signed_headers)[:300]!r}"
            + (f", of which absent: {', '.join(absent)[:200]!r}" if absent else "")
        )
    return payload_hash


def _from_header(request: HttpRequest, authorization: str, service: str) -> ParsedSignature:
    algorithm, _, rest = authorization.strip().partition(" ")
    fields: dict[str, str] = {}
    for part in re.split(r"[,\s]+", rest.strip()):
        name, equals, value = part.partition("=")
        if part and not equals:
            raise _incomplete(
                f"'{part[:64]}' not a valid key=value pair (missing equal-sign) in Authorization header "
                f"{_hashed(authorization)}."
            )
        if name in fields:
            raise _incomplete(f"Authorization header has '{name[:64]}' more than once. {_hashed(authorization)}")
        fields[name] = value
    missing = [
        f"Authorization header requires '{name}' parameter. "
        for name in ("Credential", "Signature", "SignedHeaders")
        if not fields.get(name)
    ]
    dates = request.values("x-amz-date") or request.values("date")
    if not dates:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
    if missing:
        raise _incomplete("".join(missing) + _hashed(authorization))
    return _parsed(
        algorithm,
        fields["Credential"],
        fields["SignedHeaders"],
        fields["Signature"],
        _instant(",".join(dates), http_date=request.header("x-amz-date") is None),
        service,
    )


def _hashed(authorization: str) -> str:
    """What AWS quotes back instead of the header itself."""
    digest = hashlib.sha256(authorization.encode("latin-1", "backslashreplace")).digest()
    return f"(Hashed with SHA-256 and encoded with Base64) Authorization={base64.b64encode(digest).decode()}"


def _from_query(query: Mapping[str, list[str]], service: str) -> ParsedSignature:
    repeated = [name for name, values in query.items() if name.startswith("X-Amz-") and len(values) > 1]
    if repeated:
        raise _incomplete(f"AWS query-string parameter '{repeated[0][:64]}' appears more than once.")
    names = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date")
    missing = [f"AWS query-string parameters must include '{name}'. " for name in names if not query.get(name, [""])[0]]
    if missing:
        raise _incomplete("".join(missing) + "Re-examine the query-string parameters.")
    algorithm, credential, signature, signed_headers, date = (query[name][0] for name in names)
    expires = query.get("X-Amz-Expires", [str(int(CLOCK_SKEW.total_seconds()))])[0]
    if not re.fullmatch(r"[0-9]{1,9}", expires):
        raise _incomplete("X-Amz-Expires should be a number")
    if not 0 < int(expires) <= MAX_EXPIRES_S:
        raise _incomplete(
            "X-Amz-Expires must be between 1 and a week (in seconds) that is, "
            f"the given X-Amz-Expires must be at most {MAX_EXPIRES_S} seconds"
        )
    signed_at = _instant(date, http_date=False)
    return _parsed(algorithm, credential, signed_headers, signature, signed_at, service, int(expires))


def _query(query: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if part:
            found.setdefault(unquote(name), []).append(unquote(value))
    return found


def _parsed(
    algorithm: str,
    credential: str,
    signed_headers: str,
    signature: str,
    signed_at: datetime,
    service: str,
    expires_s: int | None = None,
) -> ParsedSignature:
    if algorithm != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{algorithm[:64]}' (only {ALGORITHM} for now). ")
    elements = credential.rstrip("/").split("/")
    if len(elements) != 5:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, "
            f"e.g. keyid/date/region/service/term, got '{credential[:256]}'"
        )
    access_key_id, date, region, scoped_service, terminator = elements
    problems = []
    if not _REGION.fullmatch(region):
        problems.append(f"Credential should be scoped to a valid region, not '{region[:64]}'. ")
    if scoped_service != service:
        problems.append(f"Credential should be scoped to correct service: '{service}'. ")
    if terminator != TERMINATOR:
        problems.append(
            f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator[:64]}'. "
        )
    day = signed_at.strftime("%Y%m%d")
    if date != day:
        problems.append(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{date[:64]}' != '{day}', from '{signed_at.strftime(_TIMESTAMP)}'. "
        )
    if problems:
        raise _invalid("".join(problems).rstrip())
    return ParsedSignature(
        access_key_id=access_key_id,
        date=date,
        region=region,
        service=service,
        signed_headers=tuple(name.lower() for name in signed_headers.split(";")),
        signature=signature,
        signed_at=signed_at,
        presigned=expires_s is not None,
        expires_s=expires_s,
    )


def _instant(text: str, *, http_date: bool) -> datetime:
    """ISO 8601 basic format; the Date header may also have its own form (RFC 9110 section 5.6.7)."""
    try:
        # strptime also takes one-digit fields, so the length is part of the format.
        if len(text) == len("20150830T123600Z"):
            return datetime.strptime(text, _TIMESTAMP).replace(tzinfo=UTC)
        if http_date:
            parsed = parsedate_to_datetime(text)
            # "-0000" gives a time without a zone, which is UTC (RFC 5322 section 3.3).
            return parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _incomplete(
        f"Date must be in ISO-8601 'basic format'. Got '{text[:64]}'. See http://en.wikipedia.org/wiki/ISO_8601"
    )


def _check_signed_headers(request: HttpRequest, parsed: ParsedSignature) -> None:
    listed = set(parsed.signed_headers)
    if len(listed) != len(parsed.signed_headers):
        raise _incomplete("'SignedHeaders' lists a header more than once.")
    if "host" not in listed:
        raise _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name, _ in request.headers:
        # What AWS reads from such headers (target, date, payload hash) has to be what was signed.
        if name.startswith(SIGNED_PREFIXES) and name not in listed and name not in UNSIGNED_EXEMPT:
            raise _invalid(f"'{name[:64]}' must be a 'SignedHeader' in the AWS Authorization.")


def _check_window(parsed: ParsedSignature, now: datetime) -> None:
    signed, current = parsed.signed_at.strftime(_TIMESTAMP), now.strftime(_TIMESTAMP)
    if parsed.signed_at > now + CLOCK_SKEW:
        limit = (now + CLOCK_SKEW).strftime(_TIMESTAMP)
        raise _invalid(f"Signature not yet current: {signed} is still later than {limit} ({current} + 5 min.)")
    life = CLOCK_SKEW if parsed.expires_s is None else timedelta(seconds=parsed.expires_s)
    if parsed.signed_at < now - life:
        limit = (now - life).strftime(_TIMESTAMP)
        minutes, seconds = divmod(int(life.total_seconds()), 60)
        span = f"{minutes * 60 + seconds} sec." if seconds else f"{minutes} min."
        raise _invalid(f"Signature expired: {signed} is now earlier than {limit} ({current} - {span})")


def _incomplete(text: str) -> Fault:
    return Fault("IncompleteSignatureException", text)


def _invalid(text: str, *, note: str | None = None) -> Fault:
    return Fault("InvalidSignatureException", text, note=note)


def _mismatch(note: str) -> Fault:
    return _invalid(
        "The request signature we calculated does not match the signature you provided. Check your AWS "
        "Secret Access Key and signing method. Consult the service documentation for details.",
        note=note,
    )
