"""`countenance collection`: the collections of the calling account, by CreateCollection and its siblings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from countenance.cli.options import example, json_option, yes_option
from countenance.cli.output import columns, emit
from countenance.cli.remote import Remote, open_remote, remote_options


@click.group(short_help="Make, list, delete collections.", epilog=example("countenance collection list"))
def collection() -> None:
    """Collections: sets of enrolled faces that are searched together."""


@collection.command("create", epilog=example("countenance collection create staff"))
@click.argument("collection_id", metavar="ID")
@remote_options
@json_option
def collection_create(
    collection_id: str, data_dir: Path | None, endpoint_url: str | None, region: str | None, as_json: bool
) -> None:
    """Make an empty collection."""
    remote = open_remote(data_dir, endpoint_url, region)
    answer = remote.call("create_collection", CollectionId=collection_id)
    emit(answer, [answer["CollectionArn"]], as_json=as_json)


@collection.command("list", epilog=example("countenance collection list --json"))
@remote_options
@json_option
def collection_list(data_dir: Path | None, endpoint_url: str | None, region: str | None, as_json: bool) -> None:
    """Print the account's collections."""
    remote = open_remote(data_dir, endpoint_url, region)
    found = [{"CollectionId": name, **remote.call("describe_collection", CollectionId=name)} for name in _names(remote)]
    rows = (
        [each["CollectionId"], each["FaceCount"], each["FaceModelVersion"], each["CreationTimestamp"].isoformat()]
        for each in found
    )
    head = ["COLLECTION", "FACES", "MODEL", "CREATED"]
    emit({"Collections": found}, columns(head, rows), as_json=as_json)


@collection.command("delete", epilog=example("countenance collection delete staff --yes"))
@click.argument("collection_id", metavar="ID")
@yes_option
@remote_options
@json_option
def collection_delete(
    collection_id: str, data_dir: Path | None, endpoint_url: str | None, region: str | None, as_json: bool
) -> None:
    """Delete a collection with every face in it."""
    remote = open_remote(data_dir, endpoint_url, region)
    answer = remote.call("delete_collection", CollectionId=collection_id)
    emit(answer, [f"{collection_id} is deleted"], as_json=as_json)


def _names(remote: Remote) -> list[str]:
    names: list[str] = []
    page: dict[str, Any] = {}
    while True:
        answer = remote.call("list_collections", **page)
        names += answer["CollectionIds"]
        if not answer.get("NextToken"):
            return names
        page = {"NextToken": answer["NextToken"]}
