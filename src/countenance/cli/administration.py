"""`countenance account`, `key` and `bucket`: who may call, with which key, and which buckets they may read.

Knows the words of these verbs and their answers; what they do is decided behind `admin_client`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from countenance.cli import admin_client
from countenance.cli.declaration import lines_of, party_of, party_options
from countenance.cli.operators import proposed
from countenance.cli.options import data_option, example, json_option, settings_for, yes_option
from countenance.cli.output import columns, emit, talk


def _ask(data_dir: Path | None, verb: str, **params: object) -> dict[str, Any]:
    given = {name: value for name, value in params.items() if value is not None}
    return admin_client.administer(settings_for(data_dir), verb, given)


UNDECLARED: Final = {"legal_name": "undeclared"}
"""Stands in a listing for a party that nobody declared."""


@click.group(short_help="Who owns collections.", epilog=example("countenance account list"))
def account() -> None:
    """Accounts: each owns its collections and keys, and sees nobody else's."""


@account.command(
    "create",
    epilog=example(
        "countenance account create 'Front desk' --party acme.json --contract order.pdf --terms 2026-01"
        " --terms-file terms.pdf"
    ),
)
@click.argument("name")
@party_options
@data_option
@json_option
def account_create(name: str, given: dict[str, Any], data_dir: Path | None, as_json: bool) -> None:
    """Open an account for a legal entity. It can do nothing until a key is created for it.

    Needed are the legal name, the jurisdiction, a registration or an LEI, the sector, the end use, the signatory, the
    contract and the terms with their version. Nothing of it is verified here; every entry of the account carries the
    identifiers.
    """
    made = _ask(data_dir, "account.create", name=name, party=party_of(given))
    emit(made, [made["account_id"]], as_json=as_json)
    if not as_json:
        talk(f"Now: countenance key create {made['account_id']}")


@account.command("list", epilog=example("countenance account list --json"))
@data_option
@json_option
def account_list(data_dir: Path | None, as_json: bool) -> None:
    """Print every account."""
    answer = _ask(data_dir, "account.list")
    rows = (
        [each["account_id"], each["created_at"], each["name"], (each["party"] or UNDECLARED)["legal_name"]]
        for each in answer["accounts"]
    )
    emit(answer, columns(["ACCOUNT", "CREATED", "NAME", "PARTY"], rows), as_json=as_json)


@account.command("party", epilog=example("countenance account party 123456789012"))
@click.argument("account_id", metavar="ACCOUNT")
@data_option
@json_option
def account_party(account_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Print whom an account belongs to, as it was declared: every version, the latest first."""
    answer = _ask(data_dir, "account.party", account_id=account_id)
    lines = [line for version in answer["versions"] for line in lines_of(version)]
    emit(answer, lines or [UNDECLARED["legal_name"]], as_json=as_json)


@account.command(
    "declare", epilog=example("countenance account declare 123456789012 --end-use 'door control, both sites'")
)
@click.argument("account_id", metavar="ACCOUNT")
@party_options
@data_option
@json_option
def account_declare(account_id: str, given: dict[str, Any], data_dir: Path | None, as_json: bool) -> None:
    """Record a new version of whom an account belongs to; earlier versions stay.

    With --party the file is the whole declaration; without it, what no option says stays as it was. Entries carry the
    new identifiers from the next call on.
    """
    amend = given["party_file"] is None
    answer = _ask(data_dir, "account.declare", account_id=account_id, party=party_of(given), amend=amend)
    emit(answer, lines_of(answer), as_json=as_json)


@account.command(
    "standing",
    epilog=example("countenance account standing 123456789012 --set cleared --sector retail --reason 'file 12'"),
)
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--set", "standing", type=click.Choice(["cleared", "pending", "review", "refused"]), help="The standing.")
@click.option("--sector", help="As you verified it, such as retail or police.")
@click.option(
    "--end-user-sector", "sectors", multiple=True, help="Of whom it serves as a reseller, as you verified it."
)
@click.option("--reason", help="Why; it stays in the records.")
@data_option
@json_option
def account_standing(
    account_id: str,
    standing: str | None,
    sector: str | None,
    sectors: tuple[str, ...],
    reason: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Print what two operators say of an account, or propose it. Only cleared accounts may do anything.

    What is not given stays as it is.
    """
    given = {"standing": standing, "sector": sector, "end_user_sectors": list(sectors) or None, "reason": reason}
    answer = _ask(data_dir, "account.standing", account_id=account_id, **given)
    if "proposal" in answer:
        proposed(answer, as_json=as_json)
        return
    told = [f"{answer['standing']}, sector {answer['sector'] or 'not verified'}"]
    told += [f"end users in {', '.join(answer['end_user_sectors'])}"] if answer["end_user_sectors"] else []
    told += [f"since {answer['since']} by {' and '.join(answer['by'])}: {answer['reason']}"] if answer["since"] else []
    emit(answer, told, as_json=as_json)


@click.group(short_help="What clients sign with.", epilog=example("countenance key list"))
def key() -> None:
    """Access keys: what clients sign their requests with."""


@key.command(
    "create", epilog=example("countenance key create 123456789012 --purpose attendance --holder 'HR, 3rd floor'")
)
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--purpose", help="What the key may be used for.")
@click.option("--holder", help="Who holds it.")
@data_option
@json_option
def key_create(account_id: str, purpose: str | None, holder: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Issue an access key. Its secret is printed now and never again."""
    made = _ask(data_dir, "key.create", account_id=account_id, purpose=purpose, holder=holder)
    lines = [
        "[default]",
        f"aws_access_key_id = {made['access_key_id']}",
        f"aws_secret_access_key = {made['secret_access_key']}",
    ]
    emit(made, lines, as_json=as_json)
    if not as_json:
        talk("This is the only time the secret is shown. The lines above fit an AWS credentials file.")


@key.command(
    "list", short_help="Print access keys without their secrets.", epilog=example("countenance key list 123456789012")
)
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@data_option
@json_option
def key_list(account_id: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Print access keys without their secrets, of one account or of all."""
    answer = _ask(data_dir, "key.list", account_id=account_id)
    rows = (
        [
            each["access_key_id"],
            each["account_id"],
            each["created_at"],
            each["revoked_at"],
            each["purpose"],
            each["holder"] or None,
        ]
        for each in answer["keys"]
    )
    head = ["KEY", "ACCOUNT", "CREATED", "REVOKED", "PURPOSE", "HOLDER"]
    emit(answer, columns(head, rows), as_json=as_json)


@key.command("revoke", epilog=example("countenance key revoke AKCNEXAMPLE --yes"))
@click.argument("access_key_id", metavar="KEY_ID")
@yes_option
@data_option
@json_option
def key_revoke(access_key_id: str, data_dir: Path | None, as_json: bool) -> None:
    """End an access key for good. It is refused from the next request on."""
    answer = _ask(data_dir, "key.revoke", access_key_id=access_key_id)
    emit(answer, [f"{access_key_id} is revoked"], as_json=as_json)


@key.command("env", epilog=example('eval "$(countenance key env)"', "aws rekognition list-collections"))
@data_option
@json_option
def key_env(data_dir: Path | None, as_json: bool) -> None:
    """Print shell lines that point AWS tools at the server.

    They export the owner's key, secret included, as `serve` wrote it to DIR/credentials, with region and
    endpoint out of DIR/config, and unset what would get in the way, such as a session token of Amazon's. An
    exported key beats every credentials file, so this is the way in a shell that has one.
    """
    from countenance.cli import credentials

    folder = settings_for(data_dir).data_dir
    access = credentials.find(folder, os.environ, endpoint_url=None, region=None, folder_is_named=True)
    answer = {"export": credentials.variables(access), "unset": list(credentials.BLOCKING_VARIABLES)}
    emit(answer, credentials.shell_lines(access), as_json=as_json)


@click.group(short_help="Who may read which bucket.", epilog=example("countenance bucket list"))
def bucket() -> None:
    """Buckets: where S3Object images come from, granted account by account."""


@bucket.command("grant", epilog=example("countenance bucket grant 123456789012 badge-photos"))
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("bucket_name", metavar="BUCKET")
@data_option
@json_option
def bucket_grant(account_id: str, bucket_name: str, data_dir: Path | None, as_json: bool) -> None:
    """Let an account name images in a bucket. The owner's account may read every bucket without."""
    answer = _ask(data_dir, "bucket.grant", account_id=account_id, bucket=bucket_name)
    emit(answer, [f"account {account_id} may read {bucket_name}"], as_json=as_json)


@bucket.command("revoke", epilog=example("countenance bucket revoke 123456789012 badge-photos --yes"))
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("bucket_name", metavar="BUCKET")
@yes_option
@data_option
@json_option
def bucket_revoke(account_id: str, bucket_name: str, data_dir: Path | None, as_json: bool) -> None:
    """Take a bucket away from an account."""
    answer = _ask(data_dir, "bucket.revoke", account_id=account_id, bucket=bucket_name)
    emit(answer, [f"account {account_id} may no longer read {bucket_name}"], as_json=as_json)


@bucket.command("list", epilog=example("countenance bucket list 123456789012"))
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@data_option
@json_option
def bucket_list(account_id: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Print which account may read which bucket."""
    answer = _ask(data_dir, "bucket.list", account_id=account_id)
    rows = ([each["account_id"], each["bucket"]] for each in answer["grants"])
    emit(answer, columns(["ACCOUNT", "BUCKET"], rows), as_json=as_json)
