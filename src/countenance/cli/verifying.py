"""`countenance review` and `authorisation`: who looked at which result, and what authorities said.

Knows the words of these verbs; what they do is decided behind `admin_client`.
"""

from __future__ import annotations

from hashlib import file_digest
from pathlib import Path
from typing import Any

import click

from countenance.cli.operators import ask
from countenance.cli.options import data_option, example, json_option
from countenance.cli.output import Status, columns, emit, end, talk, tell_unopened

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(short_help="Matches that people look at.", epilog=example("countenance review list --open"))
def review() -> None:
    """Reviews: where a policy asks for it, people look at matches before anything is done about them."""


@review.command("list", epilog=example("countenance review list --open --days 7"))
@click.option("--open", "is_open_only", is_flag=True, help="Only those that wait for somebody.")
@click.option("--days", type=click.IntRange(1, 36_600), default=30, show_default=True, help="Of how many days.")
@data_option
@json_option
def review_list(is_open_only: bool, days: int, data_dir: Path | None, as_json: bool) -> None:
    """Print the calls whose matches people have to look at, and who did. Exit status 3 when leaves have no opening of
    theirs, so that calls may be missing."""
    answer = ask(data_dir, "review.list", open=is_open_only, days=days)
    rows = (
        [
            each["request_id"],
            each["at"][:19],
            each["account_id"],
            each["operation"],
            str(each["matches"]),
            f"{len(each['verifications'])} of {each['wanted']}",
            ", ".join(f"{one['by']}: {one['judgement']}" for one in each["verifications"]),
        ]
        for each in answer["told"]
    )
    emit(
        answer,
        columns(["CALL", "AT", "ACCOUNT", "OPERATION", "MATCHES", "SEEN BY", "JUDGEMENTS"], rows),
        as_json=as_json,
    )
    _end_undecided(answer, as_json=as_json)


@review.command(
    "verify",
    epilog=example(
        "countenance review verify 7d0e2f3c-6a0e-4d0f-9d5b-0a7d2f3c6a0e --judgement rejected --reason 'other ears'"
    ),
)
@click.argument("request_id", metavar="CALL")
@click.option(
    "--judgement", required=True, type=click.Choice(["confirmed", "rejected", "inconclusive"]), help="What you see."
)
@click.option("--reason", required=True, help="Why; it stays in the records, so no names.")
@data_option
@json_option
def review_verify(request_id: str, judgement: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Say what you make of the matches of a call. Each operator says it once, and nobody takes it back."""
    answer = ask(data_dir, "review.verify", request_id=request_id, judgement=judgement, reason=reason)
    emit(answer, [answer["act"]], as_json=as_json)


@click.group(short_help="What authorities allowed.", epilog=example("countenance authorisation list 123456789012"))
def authorisation() -> None:
    """Authorisations of courts and other authorities, which policies can ask for."""


@authorisation.command(
    "request",
    epilog=example("countenance authorisation request 123456789012 'KG 12/26' --authority 'Rechtbank Den Haag'"),
)
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("reference")
@click.option("--authority", required=True, help="Who was asked.")
@click.option("--collection", "collection_id", help="For this collection; without it, for all of the account's.")
@data_option
@json_option
def authorisation_request(
    account_id: str,
    reference: str,
    authority: str,
    collection_id: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Record that an authority was asked. For 48 hours, searches may go on without its answer."""
    answer = ask(
        data_dir,
        "authorisation.request",
        account_id=account_id,
        reference=reference,
        authority=authority,
        collection_id=collection_id,
    )
    due = answer["answer_due"] or "no search goes on before it is granted: the last one came to nothing"
    emit(answer, [due], as_json=as_json)


@authorisation.command(
    "grant",
    epilog=example(
        "countenance authorisation grant 123456789012 'KG 12/26' --until 2026-12-31 --evidence decision.pdf"
    ),
)
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("reference")
@click.option("--until", required=True, metavar="DAY", help="When it ends; a year from now at the latest.")
@click.option("--evidence", required=True, type=_FILE, help="What the authority wrote; its hash goes on record.")
@data_option
@json_option
def authorisation_grant(
    account_id: str, reference: str, until: str, evidence: Path, data_dir: Path | None, as_json: bool
) -> None:
    """Record that the authority granted it."""
    with evidence.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    answer = ask(
        data_dir,
        "authorisation.grant",
        account_id=account_id,
        reference=reference,
        until=until,
        evidence_sha256=digest,
    )
    emit(answer, [f"until {answer['until']}"], as_json=as_json)


@authorisation.command("refuse", epilog=example("countenance authorisation refuse 123456789012 'KG 12/26'"))
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("reference")
@data_option
@json_option
def authorisation_refuse(account_id: str, reference: str, data_dir: Path | None, as_json: bool) -> None:
    """Record that the authority refused it, or took it back, and print the calls that rested on it."""
    answer = ask(data_dir, "authorisation.refuse", account_id=account_id, reference=reference)
    _tell_calls(answer, as_json=as_json)
    if answer["calls"] and not as_json:
        talk("Art. 26(10) of Regulation (EU) 2024/1689 has the results of these calls deleted.")
    tell_unopened(answer, as_json=as_json)


@authorisation.command("list", epilog=example("countenance authorisation list 123456789012"))
@click.argument("account_id", metavar="ACCOUNT")
@data_option
@json_option
def authorisation_list(account_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Print the authorisations of an account."""
    answer = ask(data_dir, "authorisation.list", account_id=account_id)
    rows = (
        [
            each["reference"],
            each["authority"],
            each["collection_id"] or "all",
            each["state"],
            each["requested_at"][:19],
            (each["until"] or "-")[:19],
        ]
        for each in answer["authorisations"]
    )
    headers = ["REFERENCE", "AUTHORITY", "COLLECTION", "STATE", "ASKED", "UNTIL"]
    emit(answer, columns(headers, rows), as_json=as_json)


@authorisation.command("calls", epilog=example("countenance authorisation calls 123456789012 'KG 12/26'"))
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("reference")
@data_option
@json_option
def authorisation_calls(account_id: str, reference: str, data_dir: Path | None, as_json: bool) -> None:
    """Print the calls that rested on an authorisation, or on its having been asked for. Exit status 3 when leaves have
    no opening of theirs, so that calls may be missing."""
    answer = ask(data_dir, "authorisation.calls", account_id=account_id, reference=reference)
    _tell_calls(answer, as_json=as_json)
    _end_undecided(answer, as_json=as_json)


def _end_undecided(answer: dict[str, Any], *, as_json: bool) -> None:
    tell_unopened(answer, as_json=as_json)
    if answer["unopened"]:
        end(Status.UNDECIDED)


def _tell_calls(answer: dict[str, Any], *, as_json: bool) -> None:
    rows = ([each["request_id"], each["at"][:19], each["operation"], str(each["matches"])] for each in answer["told"])
    emit(answer, columns(["CALL", "AT", "OPERATION", "MATCHES"], rows), as_json=as_json)
