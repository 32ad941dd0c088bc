"""`countenance export` and `import`: a collection into an encrypted file of this machine, and out of one.

Knows passwords, paths and progress; what is in the file is decided behind `admin_client`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from countenance.cli.operators import ask
from countenance.cli.options import data_option, example, json_option
from countenance.cli.output import Status, emit, end, talk
from countenance.cli.watching import watched
from countenance.errors import Error

VARIABLE: Final = "COUNTENANCE_ARCHIVE_PASSWORD_FILE"
MOST_PASSWORD_BYTES: Final = 4_096

_account_option = click.option(
    "--account", "account_id", metavar="ACCOUNT", help="Whose collection; without it the owner's."
)
_password_option = click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Holds the archive's password in its first line ({VARIABLE}; else it is asked for).",
)


@click.command(
    "export",
    epilog=example("countenance export staff staff.archive", "countenance collection export staff staff.archive"),
)
@click.argument("collection_id", metavar="COLLECTION")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@_account_option
@_password_option
@data_option
@json_option
def export(
    collection_id: str,
    file: Path,
    account_id: str | None,
    password_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Write a collection to an encrypted file, with its templates, for `countenance import` on another server.

    FILE is on the server's machine and is not there yet. Tags, users, retention and releases of the enrolled go with
    the faces. Who knows the password has everybody's templates: the export is an act on record.
    """
    password = _password(password_file, confirm=True)
    with watched(data_dir, "exporting", "collection.progress"):
        answer = ask(
            data_dir,
            "collection.export",
            account_id=account_id,
            collection_id=collection_id,
            path=str(file.absolute()),
            password=password,
        )
    line = f"{answer['path']}: {answer['faces']} faces, {answer['users']} users, SHA-256 {answer['sha256']}"
    emit(answer, [line], as_json=as_json)


@click.command(
    "import", epilog=example("countenance import staff.archive", "countenance collection import staff.archive")
)
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as", "name", metavar="COLLECTION", help="Name of the new collection; without it the archive's.")
@_account_option
@_password_option
@data_option
@json_option
def import_(
    file: Path,
    name: str | None,
    account_id: str | None,
    password_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Make a collection from a file that `countenance export` wrote, whole or not at all.

    It answers the same searches with the same scores and FaceIds. Whoever was erased from this account does not come
    back: what was left out for that is told, and the exit status is 1.
    """
    password = _password(password_file, confirm=False)
    with watched(data_dir, "importing", "collection.progress"):
        params = {"account_id": account_id, "path": str(file.absolute()), "password": password, "as": name}
        answer = ask(data_dir, "collection.import", **params)
    emit(answer, list(_lines(answer)), as_json=as_json)
    left = answer["left_out"]
    if left["erased_persons"]["count"] or left["erased_faces"]["count"] or left["users"]:
        if not as_json:
            talk(
                "They were erased here, and an archive does not bring them back. Enrol them anew if they agreed to it."
            )
        end(Status.NO)


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    yield f"{answer['collection_id']}: {answer['faces']} faces, {answer['users']} users, {answer['tags']} tags"
    if answer["retention_days"] is not None:
        yield f"keeps for {answer['retention_days']} days"
    if answer["consents"]:
        yield f"{answer['consents']} releases are on record"
    left = answer["left_out"]
    if left["consents"]:
        yield f"left out: {left['consents']} releases that this account has a word of already, or that do not hold here"
    for name, what in (("erased_persons", "of people who were erased"), ("erased_faces", "that were erased")):
        if left[name]["count"]:
            yield f"left out: {left[name]['count']} faces {what}"
        for face_id in left[name]["face_ids"]:
            yield f"  {face_id}"
    if left["users"]:
        yield f"left out: {left['users']} users"


def _password(file: Path | None, *, confirm: bool) -> str:
    if file is None and (named := os.environ.get(VARIABLE)):
        file = Path(named)
    if file is None:
        asked: str = click.prompt("Password of the archive", hide_input=True, confirmation_prompt=confirm, err=True)
        return asked
    with file.open("rb") as opened:
        said = opened.read(MOST_PASSWORD_BYTES)
    try:
        return said.split(b"\n", 1)[0].removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise Error(f"The first line of {file} is not UTF-8.") from None
