"""The Rekognition client behind the remote verbs: botocore's, pointed at the server and nowhere else.

Knows endpoint, credentials, time limits and how an AWS error reads; knows no verb. Proxies of the environment
are passed over for a server on this machine.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from countenance.cli.options import data_option, settings_for
from countenance.config import is_loopback
from countenance.errors import Error

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from countenance.cli.credentials import Access

# botocore is imported where it is used: it takes most of a second, and half of the verbs do not need it.

F = TypeVar("F", bound=Callable[..., Any])

CONNECT_TIMEOUT_S: Final = 10
READ_TIMEOUT_S: Final = 120
"""An image of a hundred faces on a small machine that others use too."""

ALL_FACES_HEADER: Final = "x-countenance-all-faces"


class RemoteError(Error):
    """The server refused a call, or could not be reached.

    Attributes:
        code: the AWS error code; empty when there was no answer.
    """

    def __init__(self, message: str, *, code: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Remote:
    """Calls on one server. Safe to use from several threads."""

    def __init__(self, access: Access, *, attempts: int = 3, connections: int = 1) -> None:
        """Make the client; nothing is sent.

        Args:
            attempts: of one call, the first included; only failures that may pass are repeated.
            connections: kept open at most.
        """
        from botocore.config import Config

        from countenance.sources.s3 import isolated_session

        host = urlsplit(access.endpoint_url).hostname or ""
        self._access = access
        self._client: Any = isolated_session().create_client(
            "rekognition",
            region_name=access.region,
            endpoint_url=access.endpoint_url,
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=access.secret_access_key,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                retries={"mode": "standard", "total_max_attempts": attempts},
                max_pool_connections=connections,
                proxies={} if is_loopback(host) else None,
                user_agent_extra="countenance-cli",
            ),
        )
        self._raw = threading.local()
        self._client.meta.events.register("before-call.rekognition.SearchFacesByImage", self._add_headers)
        self._client.meta.events.register("after-call.rekognition.SearchFacesByImage", self._keep_body)

    @property
    def access_key_id(self) -> str:
        """Whose calls they are."""
        return self._access.access_key_id

    @property
    def endpoint_url(self) -> str:
        """Where they go."""
        return self._access.endpoint_url

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        """One operation, by its method name in botocore; the answer without ResponseMetadata.

        Raises:
            RemoteError: it was refused, or nobody answered.
        """
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ParamValidationError, SSLError

        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**params)
        except ClientError as error:
            raise self._refusal(error) from None
        except ParamValidationError as error:
            # Nothing was sent. The report lists what is wrong, a line for each.
            wrong = str(error.kwargs.get("report", error)).splitlines()
            raise RemoteError("Nothing was sent: " + " ".join(each.strip() for each in wrong)) from None
        except SSLError:
            raise RemoteError(
                f"The server at {self._access.endpoint_url} cannot be reached: TLS failed.",
                hint="a server without TLS is http://, not https://; AWS_CA_BUNDLE names the certificate to trust",
            ) from None
        except (BotoCoreError, HTTPClientError, OSError, ValueError) as error:
            raise RemoteError(
                f"The server at {self._access.endpoint_url} cannot be reached ({type(error).__name__}).",
                hint="is it running? `countenance serve` starts it, --endpoint-url names another",
            ) from None
        answer.pop("ResponseMetadata", None)
        return answer

    def search_all_faces(self, **params: Any) -> dict[str, Any]:
        """SearchFacesByImage over every face of the image, by the server's extension.

        The answer has the member `CountenanceSearchedFaces`, which botocore's parser drops as it is not in the
        service model: it is taken from the body of the response.

        Raises:
            RemoteError: also when the server does not know the extension.
        """
        self._raw.headers = {ALL_FACES_HEADER: "true"}
        self._raw.body = b""
        try:
            answer = self.call("search_faces_by_image", **params)
        finally:
            self._raw.headers = {}
        searched = json.loads(self._raw.body).get("CountenanceSearchedFaces")
        if searched is None:
            raise RemoteError(
                "This server searches the largest face only.", hint="repeat the search without --all-faces"
            )
        return answer | {"CountenanceSearchedFaces": searched}

    def _add_headers(self, params: dict[str, Any], **_: object) -> None:
        # Before signing, so that the header is covered by the signature.
        params["headers"].update(getattr(self._raw, "headers", {}))

    def _keep_body(self, http_response: Any, **_: object) -> None:
        self._raw.body = http_response.content

    def _refusal(self, error: ClientError) -> RemoteError:
        said = error.response.get("Error", {})
        code, message = str(said.get("Code", "")), str(said.get("Message", ""))
        if code.isdigit() or not re.fullmatch(r"[A-Za-z]+", code):
            # Not an AWS error: botocore puts the HTTP status, and the whole page as its message.
            return RemoteError(
                f"What answers at {self._access.endpoint_url} is not this server (HTTP status {code[:40]}).",
                hint="another program may have the port; --endpoint-url names another address",
            )
        hint = None
        if code in ("UnrecognizedClientException", "InvalidSignatureException"):
            hint = f"the access key came from {self._access.origin}"
        return RemoteError(f"{code}: {message}" if message else code, code=code, hint=hint)


def remote_options(function: F) -> F:
    """`--endpoint-url`, `--region` and `--data`; `open_remote` turns them into a `Remote`."""
    decorate = click.option(
        "--endpoint-url",
        metavar="URL",
        help="The server's address (DIR/config; else AWS_ENDPOINT_URL_REKOGNITION, AWS_ENDPOINT_URL).",
    )
    function = click.option("--region", metavar="NAME", help="Region to sign for (DIR/config; else AWS_REGION).")(
        data_option(function)
    )
    return decorate(function)


def open_remote(
    data_dir: Path | None,
    endpoint_url: str | None,
    region: str | None,
    *,
    attempts: int = 3,
    connections: int = 1,
) -> Remote:
    """A client for what the command line and its surroundings say; see `credentials.find`.

    Raises:
        CredentialsError: no access key or no endpoint is known.
    """
    from countenance.cli.credentials import find

    folder = settings_for(data_dir).data_dir
    access = find(folder, os.environ, endpoint_url=endpoint_url, region=region, folder_is_named=data_dir is not None)
    return Remote(access, attempts=attempts, connections=connections)
