"""`countenance period`, `certificate` and `evidence`: maps of days, proofs of use and of non-use, what outsiders get.

Knows the words of these verbs; what they do is decided behind `admin_client`, and what they make is checked by
`countenance-audit`, which an outsider installs without this server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from countenance.cli.operators import ask, reason_option
from countenance.cli.options import data_option, example, json_option, yes_option
from countenance.cli.output import columns, emit, talk
from countenance.errors import Error

MAX_STATEMENT_BYTES = 1 << 20
"""Statements have less than a kilobyte; whatever is longer is another file."""
_NEW = click.Path(dir_okay=False, path_type=Path)
from_option = click.option("--from", "first", metavar="DAY", required=True, help="First day (UTC), as YYYY-MM-DD.")
to_option = click.option("--to", "last", metavar="DAY", required=True, help="Last day, included.")
entity_option = click.option(
    "--legal-entity", is_flag=True, help="A name is that of a legal entity: of persons nothing is certified by name."
)
requester_option = click.option("--requester", required=True, help="Who asks for it; it stays in the records.")


# -- period


@click.group(short_help="Maps of who used the service on which day.", epilog=example("countenance period list"))
def period() -> None:
    """Periods: when a day (UTC) is over, the server publishes a map of who used it, from which use and non-use by
    anyone are proved. Nobody can read names out of a map."""


@period.command("list", epilog=example("countenance period list"))
@data_option
@json_option
def period_list(data_dir: Path | None, as_json: bool) -> None:
    """Print the days that have a map, and what was used on each."""
    answer = ask(data_dir, "period.list")
    rows = (
        [
            each["day"],
            each["revision"],
            each["identifiers"],
            each["calls"],
            each["units"],
            f"{each['amount'] / 1e6:.6f} {each['currency']}",
            each["statements"],
            each["leaf"],
        ]
        for each in answer["days"]
    )
    head = ["DAY", "REVISION", "IDENTIFIERS", "CALLS", "UNITS", "AMOUNT", "STATEMENTS", "LEAF"]
    emit(answer, columns(head, rows), as_json=as_json)


@period.command("close", epilog=example("countenance period close"))
@data_option
@json_option
def period_close(data_dir: Path | None, as_json: bool) -> None:
    """Make the maps of days that ended, and revise those of which more is known. A running server does it by itself,
    within minutes of midnight (UTC)."""
    answer = ask(data_dir, "period.close")
    emit(answer, (f"{each['day']} revision {each['revision']}" for each in answer["made"]), as_json=as_json)
    if not answer["made"] and not as_json:
        talk("Nothing is due: a day's map is made once the log has an entry of a later day.")


@period.command("rotate", epilog=example("countenance period rotate --yes"))
@click.option("--lost", is_flag=True, help="The key until now was lost or stolen; it is published as that.")
@yes_option
@data_option
@json_option
def period_rotate(lost: bool, data_dir: Path | None, as_json: bool) -> None:
    """Have another key for maps from tomorrow on. Maps of days until then stay as they are."""
    answer = ask(data_dir, "period.rotate", lost=lost)
    emit(answer, [answer["key"]], as_json=as_json)
    if not as_json:
        talk("Make a backup now: without this key no map of a later day can be made.")


@period.command("statement", epilog=example("countenance period statement auditor-2026-11-22.note"))
@click.argument("file", type=click.File("rb"))
@data_option
@json_option
def period_statement(file: Any, data_dir: Path | None, as_json: bool) -> None:
    """Take in what a monitor or an auditor signed (`countenance-audit monitor`, `period`): certificates made from now
    on carry it, and are of the grade "audited" to those who trust its key."""
    note = file.read(MAX_STATEMENT_BYTES + 1)
    if len(note) > MAX_STATEMENT_BYTES:
        raise Error("The file is too long for a statement.", hint="give what countenance-audit wrote to --out")
    answer = ask(data_dir, "period.statement", note=note.decode("utf-8", "replace"))
    what = f"the map of {answer['day']}" if answer["by"] == "auditor" else f"all maps up to {answer['day']}"
    emit(answer, [f"taken in: what {_ARTICLE[answer['by']]} says of {what}"], as_json=as_json)


_ARTICLE = {"auditor": "an auditor", "monitor": "a monitor"}


# -- certificate


@click.group(
    short_help="Proofs of use and of non-use.",
    epilog=example(
        "countenance certificate issue lei:529900T8BM49AURSDO55 --from 2026-10-01 --to 2026-10-31 "
        "--requester 'Court, file 12/26' --out lei.cert"
    ),
)
def certificate() -> None:
    """Certificates: a party used the service in a period, or did not, as proved from the maps of its days.

    A party is named by any of its identifiers, as SCHEME:VALUE. Schemes: account, lei, reg (such as
    reg:NL-KVK:12345678), domain, name. Requests and answers are in the log.
    """


@certificate.command(
    "request",
    epilog=example(
        "countenance certificate request domain:example.com --from 2026-10-01 --to 2026-10-31 --requester 'J. Doe'"
    ),
)
@click.argument("identifier", metavar="SCHEME:VALUE")
@from_option
@to_option
@requester_option
@entity_option
@data_option
@json_option
def certificate_request(
    identifier: str, first: str, last: str, requester: str, legal_entity: bool, data_dir: Path | None, as_json: bool
) -> None:
    """Put on record that somebody asked for a proof. It is due in 30 days; the log says so if it is not answered."""
    answer = ask(
        data_dir,
        "certificate.request",
        identifier=identifier,
        requester=requester,
        legal_entity=legal_entity,
        **{"from": first, "until": last},
    )
    emit(answer, [answer["request"]], as_json=as_json)
    if not as_json:
        talk(
            f"Due on {answer['deadline'][:10]}: countenance certificate issue --request {answer['request']} --out FILE"
        )


@certificate.command(
    "issue",
    epilog=example(
        "countenance certificate issue --request 5d9e2f3c-6a0e-4d0f-9d5b-0a7d2f3c6a0e --out doe.cert",
        "countenance-audit certificate verify doe.cert --trust POLICY",
    ),
)
@click.argument("identifier", metavar="[SCHEME:VALUE]", required=False)
@click.option("--request", "request_id", help="The request that this answers; without it, ask and answer at once.")
@click.option("--from", "first", metavar="DAY", help="First day (UTC), as YYYY-MM-DD.")
@click.option("--to", "last", metavar="DAY", help="Last day, included.")
@click.option("--requester", help="Who asks for it; it stays in the records.")
@entity_option
@click.option("--out", type=_NEW, required=True, help="A new file for the certificate.")
@data_option
@json_option
def certificate_issue(
    identifier: str | None,
    request_id: str | None,
    first: str | None,
    last: str | None,
    requester: str | None,
    legal_entity: bool,
    out: Path,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Make a certificate of use or of non-use, whichever is true, signed with the log's key.

    Whoever gets it verifies it with countenance-audit, which says of what grade it is and what it cannot prove.
    """
    asked: dict[str, str | None] = {"identifier": identifier, "from": first, "until": last, "requester": requester}
    if request_id is not None and any(asked.values()):
        raise click.UsageError("A request says for whom and which days: give --request alone.")
    if request_id is None and not all(asked.values()):
        raise click.UsageError("Give --request, or SCHEME:VALUE with --from, --to and --requester.")
    if out.exists():
        raise click.UsageError(f"{out} exists already; nothing is replaced.")
    wanted = {**asked, "legal_entity": legal_entity} if request_id is None else {"request": request_id}
    answer = ask(data_dir, "certificate.issue", **wanted)
    out.write_bytes(answer.pop("certificate").encode())
    emit({**answer, "path": str(out)}, [f"{answer['sha256']}  {out}"], as_json=as_json)


@certificate.command(
    "refuse", epilog=example("countenance certificate refuse 5d9e2f3c-6a0e-4d0f-9d5b-0a7d2f3c6a0e --reason 'no right'")
)
@click.argument("request_id", metavar="REQUEST")
@reason_option
@data_option
@json_option
def certificate_refuse(request_id: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Refuse a request, and say why. Request and refusal stay in the log."""
    answer = ask(data_dir, "certificate.refuse", request=request_id, reason=reason)
    emit(answer, [f"{request_id} is refused"], as_json=as_json)


@certificate.command("list", epilog=example("countenance certificate list"))
@data_option
@json_option
def certificate_list(data_dir: Path | None, as_json: bool) -> None:
    """Print requests for proofs, and what became of each."""
    answer = ask(data_dir, "certificate.list")
    rows = (
        [
            each["request"],
            each["state"],
            each["deadline"][:10],
            each["identifier"],
            each["from"],
            each["until"],
            each["requester"],
        ]
        for each in answer["requests"]
    )
    head = ["REQUEST", "STATE", "DUE", "IDENTIFIER", "FROM", "TO", "REQUESTER"]
    emit(answer, columns(head, rows), as_json=as_json)


# -- evidence


@click.group(
    short_help="Evidence bundles and audit packs.",
    epilog=example(
        "countenance evidence export --party lei:529900T8BM49AURSDO55 --from 2026-10-01 --to 2026-10-31 "
        "--requester 'Court, file 12/26' --out case-12.bundle"
    ),
)
def evidence() -> None:
    """Evidence: files for courts and auditors, who verify them with countenance-audit on a machine of their own."""


@evidence.command(
    "export",
    epilog=example(
        "countenance evidence export --party lei:529900T8BM49AURSDO55 --party domain:example.com --from 2026-10-01 "
        "--to 2026-10-31 --requester 'Court, file 12/26' --out case-12.bundle",
        "countenance-audit verify case-12.bundle --trust POLICY",
    ),
)
@click.option(
    "--party", "identifiers", metavar="SCHEME:VALUE", multiple=True, required=True, help="An identifier; repeatable."
)
@from_option
@to_option
@requester_option
@entity_option
@click.option("--out", type=_NEW, required=True, help="A new file for the bundle, on the server's machine.")
@data_option
@json_option
def evidence_export(
    identifiers: tuple[str, ...],
    first: str,
    last: str,
    requester: str,
    legal_entity: bool,
    out: Path,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Write a bundle about a party: certificates, every entry of its use, acts about its accounts, which policies and
    lists were in force, and proofs that lead all of it to the log's signed checkpoint. Person sections stay out."""
    answer = ask(
        data_dir,
        "evidence.export",
        identifiers=list(identifiers),
        requester=requester,
        legal_entity=legal_entity,
        path=str(out.absolute()),
        **{"from": first, "until": last},
    )
    emit(answer, [f"{answer['sha256']}  {answer['path']}"], as_json=as_json)
    if not as_json:
        talk(f"{answer['bytes']} bytes. Accounting records of your customers are in it: hand it to nobody else.")


@evidence.command(
    "pack",
    epilog=example("countenance evidence pack --day 2026-11-22 --auditor AUDITOR_KEY --out 2026-11-22.pack"),
)
@click.option("--day", required=True, help="The day (UTC), as YYYY-MM-DD.")
@click.option("--auditor", metavar="KEY", help="The auditor's verifier key; the pack is encrypted to it.")
@click.option("--out", type=_NEW, required=True, help="A new file for the pack, on the server's machine.")
@data_option
@json_option
def evidence_pack(day: str, auditor: str | None, out: Path, data_dir: Path | None, as_json: bool) -> None:
    """Write what an auditor needs to rebuild a day's map: every accounting opening of it. Without --auditor whoever
    gets the file can read it."""
    answer = ask(data_dir, "evidence.pack", day=day, auditor=auditor, path=str(out.absolute()))
    emit(answer, [f"{answer['sha256']}  {answer['path']}"], as_json=as_json)
    if not as_json:
        talk(f"{answer['openings']} openings, {answer['bytes']} bytes, {'sealed' if auditor else 'NOT sealed'}.")
