"""A Rekognition account at Amazon, as an import reads it: botocore's client with the user's own AWS set-up.

Knows profiles, paginators and how Amazon refuses; changes nothing there. Everything here is the other side's: its keys,
region and endpoint never come from this server's files, and an endpoint that the surroundings name for Rekognition
(which may well be this server's) is passed over, so that the two are never mixed up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ProfileNotFound

from countenance.config import is_loopback
from countenance.errors import Error

ATTEMPTS: Final = 10
"""Of one call: Amazon's quotas are five calls a second for some of these, and adaptive mode slows down by itself."""
FACES_PAGE: Final = 4_096
USERS_PAGE: Final = 500
"""Largest pages (service model, PageSize; API reference, ListUsers)."""
TAG_OF_AMAZON: Final = "aws:"
"""Names of tags that only Amazon may set ("Tag naming limits and requirements" in the AWS General Reference)."""


class AmazonError(Error):
    """The account at Amazon refused a call, or there are no credentials for it."""


class Amazon:
    """Reads one account. Safe to use from several threads once it was made.

    Args:
        profile: of the AWS shared files; None: the standard chain of the SDKs.
        region: None: the profile's.
        endpoint_url: None: Amazon's own.
        connections: kept open at most.

    Raises:
        AmazonError: no such profile, no credentials, or no region.
    """

    def __init__(
        self, *, profile: str | None, region: str | None, endpoint_url: str | None, connections: int = 4
    ) -> None:
        self._session: Any = botocore.session.Session(profile=profile)
        self._connections = connections
        try:
            found = self._session.get_credentials()
            self.region = str(region or self._session.get_config_variable("region") or "")
        except (ProfileNotFound, BotoCoreError) as error:
            raise AmazonError(f"The AWS set-up cannot be used: {error}.") from None
        if found is None:
            raise AmazonError(
                "There are no AWS credentials to read the account with.",
                hint="name a profile of ~/.aws with --from-profile",
            )
        if not self.region:
            raise AmazonError("The region of the account is not known.", hint="name it with --from-region")
        self.access_key_id = str(found.get_frozen_credentials().access_key)
        self._client = self.client("rekognition", endpoint_url)
        self.endpoint_url = str(self._client.meta.endpoint_url)

    def client(self, service: str, endpoint_url: str | None, *, region: str | None = None) -> Any:
        """A client of a service with the same credentials."""
        host = urlsplit(endpoint_url or "").hostname or ""
        return self._session.create_client(
            service,
            region_name=region or self.region,
            endpoint_url=endpoint_url,
            config=Config(
                retries={"mode": "adaptive", "max_attempts": ATTEMPTS},
                ignore_configured_endpoint_urls=True,
                max_pool_connections=self._connections,
                proxies={} if is_loopback(host) else None,
                user_agent_extra="countenance-import",
            ),
        )

    def collections(self) -> Iterator[str]:
        """Names of all collections."""
        for page in self._pages("list_collections"):
            yield from page["CollectionIds"]

    def described(self, collection_id: str) -> dict[str, Any]:
        """The answer of DescribeCollection."""
        return self._call("describe_collection", CollectionId=collection_id)

    def tags(self, arn: str) -> dict[str, str]:
        """Tags of a collection, without those that only Amazon may set."""
        found = self._call("list_tags_for_resource", ResourceArn=arn).get("Tags", {})
        return {name: value for name, value in found.items() if not name.startswith(TAG_OF_AMAZON)}

    def faces(self, collection_id: str, user_id: str | None = None) -> Iterator[dict[str, Any]]:
        """Faces of a collection, or of one of its users."""
        more = {} if user_id is None else {"UserId": user_id}
        for page in self._pages("list_faces", FACES_PAGE, CollectionId=collection_id, **more):
            yield from page["Faces"]

    def users(self, collection_id: str) -> Iterator[str]:
        """Names of a collection's users."""
        for page in self._pages("list_users", USERS_PAGE, CollectionId=collection_id):
            yield from (each["UserId"] for each in page["Users"])

    def _pages(self, operation: str, size: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        paginator = self._client.get_paginator(operation)
        pages = iter(paginator.paginate(**params, PaginationConfig={"PageSize": size}))
        while True:
            with _refusals(operation):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _call(self, operation: str, **params: Any) -> dict[str, Any]:
        with _refusals(operation):
            answer: dict[str, Any] = getattr(self._client, operation)(**params)
        return answer


class _refusals:  # noqa: N801 -- reads as a function where it is used
    """Puts what botocore raises into words."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ClientError):
            said = error.response.get("Error", {})
            raise AmazonError(
                f"The account at Amazon refused {self._operation}: {said.get('Code', '')} {said.get('Message', '')}",
                hint="the profile needs rekognition:List*, rekognition:DescribeCollection",
            ) from None
        if isinstance(error, BotoCoreError | HTTPClientError):
            raise AmazonError(
                f"The account at Amazon cannot be reached ({type(error).__name__}).",
                hint="--from-region, --from-profile and --from-endpoint-url say where it is",
            ) from None
