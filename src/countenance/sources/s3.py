"""Buckets of any S3-compatible endpoint, read with botocore's S3 client.

Knows one endpoint and one pair of keys. Takes nothing else from the environment: no profile, no `~/.aws`, no
instance metadata, so that a server never sends somebody's AWS keys somewhere by accident. What the endpoint
says about an object (its length above all) is not believed: bytes are counted as they arrive.

Source of the error codes: "Error responses" in the Amazon S3 API reference.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.exceptions import HTTPClientError as BotoHTTPClientError
from urllib3.exceptions import HTTPError as TransportError

from countenance.sources.source import (
    ObjectNotAvailable,
    ObjectTooLarge,
    SourceBusy,
    SourceUnavailable,
    require_sane_names,
)

CHUNK_BYTES: Final = 256 * 1024

ATTEMPTS: Final = 2
"""The first request and one more: the caller of this server is waiting, and retries too."""

BODY_TIMEOUTS: Final = 3
"""The body may take this many times the timeout in all, so that a trickle cannot hold a worker for hours."""

_OURS_TO_MEND: Final = frozenset(
    (
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "RequestTimeTooSkewed",
        "AuthorizationHeaderMalformed",
        "AuthorizationQueryParametersError",
        "InvalidSecurity",
        "PermanentRedirect",
        "TemporaryRedirect",
        "IllegalLocationConstraintException",
    )
)
"""Client errors that say nothing about the object: this server's key, clock or region is wrong."""


_TOO_OFTEN: Final = frozenset(("SlowDown", "RequestLimitExceeded", "Throttling", "TooManyRequestsException"))
"""The endpoint wants fewer requests for a while: Amazon's own answer is SlowDown with status 503."""


class S3Source:
    """An `ImageSource` over one endpoint. Safe to use from several threads."""

    def __init__(
        self,
        *,
        endpoint: str,
        region: str,
        access_key: str,
        secret_key: str,
        addressing: str = "auto",
        timeout_s: float = 10.0,
        max_bytes: int,
        max_connections: int = 16,
    ) -> None:
        """Make the client; no request is sent.

        Args:
            endpoint: http or https URL without a path. A private certificate authority is taken from
                AWS_CA_BUNDLE, the one environment variable of the AWS SDKs that counts here.
            region: what requests are signed for.
            addressing: "path", "virtual" or "auto", as botocore's `addressing_style`.
            timeout_s: to connect, and between two bytes.
            max_bytes: the largest object.
            max_connections: kept open at most; as many as threads that fetch at once.
        """
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._client: Any = isolated_session().create_client(
            "s3",
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": addressing},
                connect_timeout=timeout_s,
                read_timeout=timeout_s,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=max_connections,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                user_agent_extra="countenance",
            ),
        )

    def fetch(self, account_id: str, bucket: str, name: str, version: str | None) -> bytes:
        """See `ImageSource.fetch`."""
        require_sane_names(bucket, name)
        wanted = {"Bucket": bucket, "Key": name}
        if version is not None:
            wanted["VersionId"] = version
        try:
            answer = self._client.get_object(**wanted)
        except ParamValidationError:
            raise ObjectNotAvailable(hint="the S3 client refuses these names") from None
        except ClientError as error:
            raise _translate(error) from None
        except (BotoCoreError, BotoHTTPClientError, OSError, ValueError) as error:
            raise SourceUnavailable(hint=type(error).__name__) from None
        body = answer["Body"]
        try:
            return self._read(body, answer.get("ContentLength"))
        except (TransportError, BotoCoreError, OSError, ValueError) as error:
            raise SourceUnavailable(hint=type(error).__name__) from None
        finally:
            body.close()

    def _read(self, body: Any, announced: int | None) -> bytes:
        if announced is not None and announced > self._max_bytes:
            raise ObjectTooLarge(self._max_bytes)
        deadline = time.monotonic() + self._timeout_s * BODY_TIMEOUTS
        content = bytearray()
        # StreamingBody.read(n) waits until n bytes are there, however slowly they come; read1 of the urllib3
        # stream below it returns what one read of the socket brought, so the deadline can be looked at.
        stream = body._raw_stream
        while chunk := stream.read1(CHUNK_BYTES):
            content += chunk
            if len(content) > self._max_bytes:
                raise ObjectTooLarge(self._max_bytes)
            if time.monotonic() > deadline:
                raise SourceUnavailable(hint="the object's bytes came too slowly")
        if announced is not None and len(content) != announced:
            raise SourceUnavailable(hint="the object's bytes ended early")
        return bytes(content)


def isolated_session() -> Any:
    """A botocore session that reads neither the environment (but AWS_CA_BUNDLE) nor any file of the user."""
    variables: dict[str, tuple[Any, ...]] = {
        name: (None, None, default, convert)
        for name, (_key, _variable, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    for name in ("config_file", "credentials_file"):
        variables[name] = (None, None, os.devnull, None)
    variables["ca_bundle"] = (None, "AWS_CA_BUNDLE", None, None)
    return botocore.session.Session(session_vars=variables)


def _translate(error: ClientError) -> ObjectNotAvailable | SourceUnavailable:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", ""))
    said = code if re.fullmatch(r"[A-Za-z0-9.]{1,64}", code) else "no code"
    hint = f"the endpoint answered {status} {said}"
    if 400 <= status < 500 and code not in _OURS_TO_MEND and status not in (408, 429):
        return ObjectNotAvailable(hint=hint)
    if code in _TOO_OFTEN or status == 429:
        return SourceBusy(hint=hint)
    return SourceUnavailable(hint=hint)
