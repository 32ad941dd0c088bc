"""Fetching what a server keeps about one call: a signed GET, which no operation of the AWS SDKs makes."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import quote

from countenance.cli.credentials import find
from countenance.cli.options import settings_for
from countenance.cli.remote import RemoteError

TIMEOUT_S: Final = 30
MAX_BYTES: Final = 16 << 20
"""Longest opening that `countenance-audit` reads."""


def fetch(request_id: str, data_dir: Path | None, endpoint_url: str | None, region: str | None) -> bytes:
    """The body of `GET /receipts/ID`.

    Raises:
        RemoteError: there is no such receipt of this account, or nobody answered.
    """
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    folder = settings_for(data_dir).data_dir
    access = find(folder, os.environ, endpoint_url=endpoint_url, region=region, folder_is_named=data_dir is not None)
    url = f"{access.endpoint_url.rstrip('/')}/receipts/{quote(request_id, safe='')}"
    signed = AWSRequest("GET", url)
    SigV4Auth(Credentials(access.access_key_id, access.secret_access_key), "rekognition", access.region).add_auth(
        signed
    )
    request = urllib.request.Request(url, headers=dict(signed.headers))  # noqa: S310 -- http or https: `find` checked
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read(MAX_BYTES))
    except urllib.error.HTTPError as error:
        if error.code == 400:
            raise RemoteError(
                f"The server shows no receipt {request_id[:40]} to this key.",
                hint="receipts are shown to the account that made the call",
            ) from None
        raise RemoteError(f"The server answered {error.code}.") from None
    except OSError as error:
        raise RemoteError(
            f"The server at {access.endpoint_url} cannot be reached ({type(error).__name__}).", hint="is it running?"
        ) from None
