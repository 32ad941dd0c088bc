"""Which endpoint, region and access key a verb uses, and the shell lines that give them to other programs.

Knows the two files that `serve` writes, in the format of the AWS shared files, and the AWS_* variables. There is
no default endpoint: without one nothing is sent, so that nobody's photographs reach a cloud by accident.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.configloader import load_config, raw_config_parse
from botocore.exceptions import BotoCoreError

from countenance.errors import Error

CREDENTIALS_FILE: Final = "credentials"
CONFIG_FILE: Final = "config"
PROFILE: Final = "default"
"""The profile in both files."""

BLOCKING_VARIABLES: Final = (
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
)
"""Variables of the AWS SDKs (AWS SDKs and Tools reference guide, environment variables) that would send a token
this server has not issued, choose other keys, or make SDKs pass over the endpoint."""


class CredentialsError(Error):
    """No endpoint or no access key is known."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where to call and as whom."""

    endpoint_url: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    origin: str
    """Where the key was found, for messages."""


def from_folder(folder: Path) -> Access | None:
    """What `DIR/credentials` and `DIR/config` say; None when there is no credentials file."""
    keys_file = folder / CREDENTIALS_FILE
    try:
        if not keys_file.exists():
            return None
    except PermissionError:
        _require_readable(keys_file)
        raise
    keys = _read(keys_file).get(PROFILE, {})
    try:
        key_id, secret = keys["aws_access_key_id"], keys["aws_secret_access_key"]
    except KeyError:
        raise CredentialsError(f"{keys_file} holds no access key under [{PROFILE}]") from None
    region, endpoint_url = "", ""
    if (folder / CONFIG_FILE).exists():
        region, endpoint_url = _read_config(folder / CONFIG_FILE)
    return Access(endpoint_url, region, key_id, secret, str(keys_file))


def find(
    folder: Path,
    environ: Mapping[str, str],
    *,
    endpoint_url: str | None,
    region: str | None,
    folder_is_named: bool,
) -> Access:
    """Choose the access for a call.

    The key comes from `DIR/credentials`, or, when there is none, from AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY: in this order, because an exported key is often one of Amazon's. Endpoint and region
    come from the command line, else from `DIR/config`, else from AWS_ENDPOINT_URL_REKOGNITION or
    AWS_ENDPOINT_URL, and AWS_REGION or AWS_DEFAULT_REGION.

    Args:
        folder_is_named: the folder was asked for, so the environment's key must not stand in for its key.

    Raises:
        CredentialsError: one of them is nowhere.
    """
    found = from_folder(folder)
    if found is None:
        key_id, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
        if folder_is_named or not key_id or not secret:
            raise CredentialsError(
                f"There is no access key: {folder / CREDENTIALS_FILE} is missing"
                + ("" if folder_is_named else " and AWS_ACCESS_KEY_ID is not set")
                + ".",
                hint="name the server's data folder with --data, or export a key that the server issued",
            )
        found = Access("", "", key_id, secret, "environment AWS_ACCESS_KEY_ID")
    url = (
        endpoint_url
        or found.endpoint_url
        or environ.get("AWS_ENDPOINT_URL_REKOGNITION")
        or environ.get("AWS_ENDPOINT_URL")
    )
    if not url:
        raise CredentialsError(
            "The server's address is not known.",
            hint="start the server, or give --endpoint-url http://127.0.0.1:8080",
        )
    if not _is_address(url):
        raise CredentialsError(f"{url} is not the address of a server.", hint="it looks like http://127.0.0.1:8080")
    chosen = region or found.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "eu-west-2"
    if not re.fullmatch(r"[A-Za-z0-9-]{1,63}", chosen):  # a host label, which is what botocore takes it for
        raise CredentialsError(f"{chosen[:80]!r} is not the name of a region.", hint="it looks like eu-west-2")
    return Access(url, chosen, found.access_key_id, found.secret_access_key, found.origin)


def _is_address(url: str) -> bool:
    if not re.fullmatch(r"https?://[^\s/?#@]+/?", url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port beyond 65535, a bracket too many
        return False


def shell_lines(access: Access) -> Iterator[str]:
    """Lines for `eval` in a POSIX shell: what AWS tools need, and an end to what would get in the way."""
    yield f"unset {' '.join(BLOCKING_VARIABLES)}"
    for name, value in variables(access).items():
        yield f"export {name}={shlex.quote(value)}"


def variables(access: Access) -> dict[str, str]:
    """The environment that points any AWS SDK's Rekognition client at the server."""
    return {
        "AWS_ACCESS_KEY_ID": access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
        "AWS_DEFAULT_REGION": access.region,
        "AWS_REGION": access.region,
        "AWS_ENDPOINT_URL_REKOGNITION": access.endpoint_url,
    }


def _read(path: Path) -> dict[str, dict[str, str]]:
    _require_readable(path)
    try:
        return dict(raw_config_parse(str(path)))
    except (BotoCoreError, UnicodeDecodeError):
        raise CredentialsError(f"{path} is not in the format of the AWS shared files") from None


def _read_config(path: Path) -> tuple[str, str]:
    _require_readable(path)
    try:
        document: dict[str, Any] = load_config(str(path))
    except (BotoCoreError, UnicodeDecodeError):
        raise CredentialsError(f"{path} is not in the format of the AWS shared files") from None
    profile = document.get("profiles", {}).get(PROFILE, {})
    services = document.get("services", {}).get(profile.get("services"), {})
    rekognition = services.get("rekognition", {})
    endpoint = rekognition.get("endpoint_url") if isinstance(rekognition, dict) else None
    return str(profile.get("region", "")), str(endpoint or profile.get("endpoint_url", ""))


def _require_readable(path: Path) -> None:
    if not os.access(path, os.R_OK):
        raise CredentialsError(f"You may not read {path}.", hint="it is for the user who runs the server")
