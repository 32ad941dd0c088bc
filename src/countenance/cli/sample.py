"""`countenance sample`: the images kept of searches that led to a match, for whoever answers for the server.

Knows these verbs' words and the file an image is written to; what is kept, and what is recorded of its export, is
decided behind `admin_client`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import click

from countenance.cli import admin_client
from countenance.cli.options import data_option, example, json_option, settings_for, yes_option
from countenance.cli.output import columns, emit, talk
from countenance.errors import Error


@click.group(short_help="Images kept of matches.", epilog=example("countenance sample list 123456789012"))
def sample() -> None:
    """Samples: the images of searches that led to a match, encrypted. Kept when the setting `samples` says so."""


@sample.command("list", epilog=example("countenance sample list 123456789012 --json"))
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--after", metavar="REQUEST_ID", help="Go on after this one.")
@data_option
@json_option
def sample_list(account_id: str, after: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Print what is kept of an account's searches, oldest first: request ids, times and sizes, no images."""
    params = {"account_id": account_id} | ({"after": after} if after else {})
    answer = admin_client.administer(settings_for(data_dir), "sample.list", params)
    rows = [[each["request_id"], each["kept_at"], each["bytes"]] for each in answer["samples"]]
    emit(answer, columns(["REQUEST", "KEPT", "BYTES"], rows), as_json=as_json)
    if as_json:
        return
    if answer["more"]:
        talk(f"There are more: countenance sample list {account_id} --after {rows[-1][0]}")
    if not answer["is_on"]:
        talk("No new samples are kept: the setting `samples` is off.")


@sample.command(
    "export",
    epilog=example(
        "countenance sample export 0f2b6c9e-5d1a-4c3b-9e8f-7a6d5c4b3a21 --out match.jpg --reason 'case 17/26'"
    ),
)
@click.argument("request_id", metavar="REQUEST_ID")
@click.option("--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help="A file that is not there.")
@click.option("--reason", required=True, help="Why; it stays in the log, so no names of people.")
@data_option
@json_option
def sample_export(request_id: str, out: Path, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Write the image of one search to a file, mode 0600.

    It is compared with the hash that the search's entry in the log holds. That it was exported, and the reason, is an
    entry of its own before the image leaves the server.
    """
    # The file first: an export that is on record and then has no place to go helps nobody.
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            params = {"request_id": request_id, "reason": reason}
            answer = admin_client.administer(settings_for(data_dir), "sample.export", params)
            image = base64.b64decode(answer.pop("image"), validate=True)
            if hashlib.sha256(image).hexdigest() != answer["sha256"]:
                raise Error("The image did not arrive as it left the server.", hint="export it again")
            file.write(image)
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    emit(answer | {"out": str(out)}, [f"{answer['bytes']} bytes written to {out}"], as_json=as_json)


@sample.command(
    "erase", epilog=example("countenance sample erase 123456789012 --before 2026-01-01 --ground 'Art. 17 GDPR' --yes")
)
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--before", required=True, metavar="YYYY-MM-DD", help="Samples of calls before this day, UTC.")
@click.option("--ground", required=True, help="The legal ground; it is published.")
@yes_option
@data_option
@json_option
def sample_erase(account_id: str, before: str, ground: str, data_dir: Path | None, as_json: bool) -> None:
    """Erase an account's kept images; what the log says of the searches stays.

    Their keys are destroyed first, then the files. A public leaf names the ground and the count. A legal hold
    (`countenance ledger hold`) forbids it.
    """
    params = {"account_id": account_id, "before": before, "ground": ground}
    answer = admin_client.administer(settings_for(data_dir), "sample.erase", params)
    emit(answer, [f"{answer['erased']} samples erased"], as_json=as_json)
