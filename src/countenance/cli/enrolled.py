"""`countenance consent`, `retention` and `person`: what is on record about the enrolled, and how they leave.

Knows the words of these verbs; what they do is decided behind `admin_client`.
"""

from __future__ import annotations

from hashlib import file_digest
from pathlib import Path

import click

from countenance.cli.operators import ask
from countenance.cli.options import data_option, example, json_option, yes_option
from countenance.cli.output import columns, emit, talk

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(short_help="Who agreed to what.", epilog=example("countenance consent list 123456789012"))
def consent() -> None:
    """Consent: releases of people who are enrolled, which policies can ask for."""


@consent.command(
    "record",
    epilog=example(
        "countenance consent record 123456789012 ann --purpose access-control --until 2029-11-23 --evidence release.pdf"
    ),
)
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("external_image_id", metavar="EXTERNAL_IMAGE_ID")
@click.option("--purpose", required=True, help="What it is for; a key of that purpose may enrol.")
@click.option("--until", required=True, metavar="DAY", help="When it ends.")
@click.option("--evidence", required=True, type=_FILE, help="What they signed; its hash goes on record.")
@data_option
@json_option
def consent_record(
    account_id: str,
    external_image_id: str,
    purpose: str,
    until: str,
    evidence: Path,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Put a person's release on record, by the external image id that the account enrols them under."""
    with evidence.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    answer = ask(
        data_dir,
        "consent.record",
        account_id=account_id,
        external_image_id=external_image_id,
        purpose=purpose,
        until=until,
        evidence_sha256=digest,
    )
    emit(answer, [answer["act"]], as_json=as_json)


@consent.command("withdraw", epilog=example("countenance consent withdraw 123456789012 ann --purpose access-control"))
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("external_image_id", metavar="EXTERNAL_IMAGE_ID")
@click.option("--purpose", required=True, help="What it was for.")
@data_option
@json_option
def consent_withdraw(
    account_id: str, external_image_id: str, purpose: str, data_dir: Path | None, as_json: bool
) -> None:
    """End a person's release. Nobody is enrolled on it any more; `countenance person erase` takes them out."""
    answer = ask(
        data_dir, "consent.withdraw", account_id=account_id, external_image_id=external_image_id, purpose=purpose
    )
    emit(answer, [answer["act"]], as_json=as_json)


@consent.command("list", epilog=example("countenance consent list 123456789012 --of ann"))
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--of", "external_image_id", metavar="EXTERNAL_IMAGE_ID", help="Of one person.")
@data_option
@json_option
def consent_list(account_id: str, external_image_id: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Print the releases of an account. People are named by digests under the account's own key."""
    answer = ask(data_dir, "consent.list", account_id=account_id, external_image_id=external_image_id)
    rows = ([each["subject"][:16], each["purpose"], each["until"] or "withdrawn"] for each in answer["consents"])
    emit(answer, columns(["PERSON", "PURPOSE", "UNTIL"], rows), as_json=as_json)


@click.group(
    short_help="How long collections keep.", epilog=example("countenance retention set 123456789012 staff --days 1095")
)
def retention() -> None:
    """Retention: how long collections keep what is enrolled in them."""


@retention.command("set", epilog=example("countenance retention set 123456789012 staff --days 1095 --yes"))
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("collection_id", metavar="COLLECTION")
@click.option("--days", type=click.IntRange(1, 36_600), required=True, help="What is older goes, once a day.")
@yes_option
@data_option
@json_option
def retention_set(account_id: str, collection_id: str, days: int, data_dir: Path | None, as_json: bool) -> None:
    """Have a collection keep each face for so many days. An account under a legal hold keeps everything."""
    answer = ask(data_dir, "retention.set", account_id=account_id, collection_id=collection_id, days=days)
    emit(answer, [f"{collection_id} keeps for {days} days"], as_json=as_json)


@click.group(
    short_help="Take somebody out.",
    epilog=example("countenance person erase 123456789012 ann --ground 'Art. 17 GDPR' --yes"),
)
def person() -> None:
    """Persons: named by the external image id that the account enrolled them under."""


@person.command("erase", epilog=example("countenance person erase 123456789012 ann --ground 'Art. 17 GDPR' --yes"))
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("external_image_id", metavar="EXTERNAL_IMAGE_ID")
@click.option("--ground", required=True, help="The legal ground, as the public leaf names it.")
@click.option("--receipt", type=click.Path(dir_okay=False, path_type=Path), help="Write the proof to this file.")
@yes_option
@data_option
@json_option
def person_erase(
    account_id: str,
    external_image_id: str,
    ground: str,
    receipt: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Take a person out of every collection of an account, out of the kept images of searches that found them, and out
    of the entries that name them.

    The proof has the entry of the erasure, that it is in the log, and a signed checkpoint: it shows when it was done. A
    restored backup erases them again.
    """
    if receipt is not None and receipt.exists():
        raise click.BadParameter(f"{receipt} is there already: a proof replaces nothing", param_hint="--receipt")
    answer = ask(data_dir, "person.erase", account_id=account_id, external_image_id=external_image_id, ground=ground)
    if receipt is not None:
        import json

        receipt.write_text(json.dumps(answer["receipt"], indent=1) + "\n", "utf-8")
    emit(
        answer,
        [f"{answer['references']} faces, {answer['samples']} samples, {answer['entries']} entries"],
        as_json=as_json,
    )
    if not as_json and not answer["references"] + answer["entries"]:
        talk("Nobody is enrolled or named by that external image id. What was done is on record all the same.")
    if not as_json and receipt is None:
        talk("--receipt FILE keeps the proof; `--json` prints it.")
