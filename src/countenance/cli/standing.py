"""`countenance party`, `list` and `case`: who stands behind accounts, and what speaks against them.

Knows the words of these verbs; what they do is decided behind `admin_client`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

import click

from countenance.cli.operators import ask, proposed, reason_option
from countenance.cli.options import data_option, example, json_option
from countenance.cli.output import Status, columns, emit, end, talk, tell_unopened
from countenance.cli.watching import watched

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_STATEMENT = ("owner", "owned", "interest", "source")


# -- lists


@click.group("list", short_help="Sanctions lists.", epilog=example("countenance list list"))
def lists() -> None:
    """Sanctions lists: whom nobody may serve. Every snapshot is kept, and is in the log before it is used."""


@lists.command("list", epilog=example("countenance list list"))
@data_option
@json_option
def list_list(data_dir: Path | None, as_json: bool) -> None:
    """Print the lists in force, and snapshots whose missing entries wait for two operators to let them go."""
    answer = ask(data_dir, "list.list")
    rows = (
        [
            each["list"],
            each["report_date"] or "-",
            str(each["entries"]),
            each["looked_at"][:19],
            "yes" if each["attested"] else "operator-supplied",
            each["act"],
        ]
        for each in answer["lists"]
    )
    lines = list(columns(["LIST", "OF", "ENTRIES", "LOOKED AT", "ATTESTED", "ACT"], rows))
    if answer["waiting"]:
        waits = (
            [each["list"], each["report_date"] or "-", str(each["removed"]), each["act"]] for each in answer["waiting"]
        )
        lines += ["", *columns(["WAITING", "OF", "MISSING", "ACT"], waits)]
    emit(answer, lines, as_json=as_json)


def _told(each: dict[str, Any]) -> str:
    if not each["new"]:
        return f"{each['list']}: {each['entries']} entries, the same as before"
    changes = f"{each['added']} added, {each['changed']} changed, {each['removed']} missing"
    return f"{each['list']}: {each['entries']} entries of {each['report_date'] or 'no date'}, {changes}"


def _screened(answer: dict[str, Any]) -> list[str]:
    return [f"screened again: {count} {outcome}" for outcome, count in answer["screened"].items()]


shrunk_option = click.option(
    "--shrunk", is_flag=True, help="Take it although it is older or has lost half of its entries."
)


@lists.command("import", epilog=example("countenance list import SDN.CSV ALT.CSV ADD.CSV --report-date 2026-11-20"))
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--list", "name", help="What the list is called; without it, as it usually is.")
@click.option("--format", "form", help="The form, when it cannot be told from the content.")
@click.option("--report-date", help="When it was published, where the form does not say.")
@shrunk_option
@data_option
@json_option
def list_import(
    files: tuple[Path, ...],
    name: str | None,
    form: str | None,
    report_date: str | None,
    shrunk: bool,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Put a list in force from files, and screen everybody with it who was screened before.

    Forms: ofac-csv, ofac-xml, un-xml, eu-fsf-xml, uk-csv, ftm-json. What the list before it had and this one lacks
    stays in force until two operators let it go (`countenance list accept`).
    """
    with watched(data_dir, "screening", "screening.progress"):
        answer = ask(
            data_dir,
            "list.import",
            paths=[str(each.absolute()) for each in files],
            list=name,
            format=form,
            report_date=report_date,
            shrunk=shrunk,
        )
    emit(answer, [_told(answer), *_screened(answer)], as_json=as_json)


@lists.command("update", epilog=example("countenance list update uk-sl"))
@click.argument("name", metavar="[LIST]", required=False)
@shrunk_option
@data_option
@json_option
def list_update(name: str | None, shrunk: bool, data_dir: Path | None, as_json: bool) -> None:
    """Fetch the lists of the setting `lists`, or one of them, and screen everybody with them.

    One that cannot be had or is refused stays as it was, and keeps no other from being updated. Exit status 1 then.
    """
    with watched(data_dir, "screening", "screening.progress"):
        answer = ask(data_dir, "list.update", list=name, shrunk=shrunk)
    emit(answer, [*(_told(each) for each in answer["lists"]), *_screened(answer)], as_json=as_json)
    for each in answer["failed"]:
        talk(f"{each['list']}: not updated. {each['why']}")
    if answer["failed"]:
        end(Status.NO)


@lists.command("removed", epilog=example("countenance list removed 5d9e2f3c-6a0e-4d0f-9d5b-0a7d2f3c6a0e"))
@click.argument("act")
@data_option
@json_option
def list_removed(act: str, data_dir: Path | None, as_json: bool) -> None:
    """Print the entries that a snapshot lacks and the one before it had."""
    answer = ask(data_dir, "list.removed", act=act)
    emit(
        answer, columns(["ENTRY", "NAME"], ([each["entry"], each["name"]] for each in answer["told"])), as_json=as_json
    )


@lists.command(
    "accept", epilog=example("countenance list accept 5d9e2f3c-6a0e-4d0f-9d5b-0a7d2f3c6a0e --reason 'read all 12'")
)
@click.argument("act")
@reason_option
@data_option
@json_option
def list_accept(act: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose to let the entries go that a snapshot lacks. Another operator decides."""
    proposed(ask(data_dir, "list.accept", act=act, reason=reason), as_json=as_json)


@lists.command(
    "attest", epilog=example("countenance list attest 5d9e2f3c-6a0e-4d0f-9d5b-0a7d2f3c6a0e --reason 'hash of the site'")
)
@click.argument("act")
@reason_option
@data_option
@json_option
def list_attest(act: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose to vouch that a file somebody brought is the publisher's. Another operator decides."""
    proposed(ask(data_dir, "list.attest", act=act, reason=reason), as_json=as_json)


@lists.command("retire", epilog=example("countenance list retire trial --reason 'was for a trial'"))
@click.argument("name", metavar="LIST")
@reason_option
@data_option
@json_option
def list_retire(name: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose that nobody is screened with a list any more. Another operator decides."""
    proposed(ask(data_dir, "list.retire", list=name, reason=reason), as_json=as_json)


# -- parties


@click.group(short_help="Who stands behind accounts.", epilog=example("countenance party show 123456789012"))
def party() -> None:
    """Parties: screened against lists, looked through to their owners, and looked back on."""


@party.command("screen", epilog=example("countenance party screen 123456789012"))
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT]...")
@data_option
@json_option
def party_screen(accounts: tuple[str, ...], data_dir: Path | None, as_json: bool) -> None:
    """Screen the parties of accounts, or of all, with the lists in force. Exit status 1 when something was found."""
    with watched(data_dir, "screening", "screening.progress"):
        answer = ask(data_dir, "party.screen", accounts=list(accounts) or None)
    rows = ([each["account_id"], each["outcome"]] for each in answer["screened"])
    emit(answer, columns(["ACCOUNT", "OUTCOME"], rows), as_json=as_json)
    if any(each["outcome"] != "clear" for each in answer["screened"]):
        end(Status.NO)


@party.command("show", epilog=example("countenance party show 123456789012"))
@click.argument("account_id", metavar="ACCOUNT")
@data_option
@json_option
def party_show(account_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Print an account's standing, why, and what the latest screening found."""
    answer = ask(data_dir, "party.show", account_id=account_id)
    lines = [answer["standing"], *(f"  {why}" for why in answer["why"])]
    lines.append(f"screened {answer['screened_at'] or 'never'}: {answer['outcome'] or '-'}")
    emit(answer, [*lines, *_cases(answer["cases"])], as_json=as_json)


@party.command("statements", epilog=example("countenance party statements --add owners.json"))
@click.option("--add", "file", type=_FILE, help='A file {"statements": [...], "parties": {...}}.')
@click.option("--psc", type=_FILE, help="Records of the UK's register of significant control, as JSON lines.")
@click.option("--bods", type=_FILE, help="Beneficial Ownership Data Standard 0.4, as an array or JSON lines.")
@click.option("--gleif", type=_FILE, help="GLEIF's level 2 data, XML or CSV; see --lei.")
@click.option("--lei", "leis", multiple=True, help="Of GLEIF's data, only the chains above this; as often as needed.")
@click.option(
    "--export-bods",
    "export",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the statements that count now to this file, in the Beneficial Ownership Data Standard 0.4.",
)
@click.option("--publisher", default="Countenance", show_default=True, help="Who publishes the exported file.")
@data_option
@json_option
def party_statements(
    file: Path | None,
    psc: Path | None,
    bods: Path | None,
    gleif: Path | None,
    leis: tuple[str, ...],
    export: Path | None,
    publisher: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Print the statements of ownership on record, or put more on record, for good, and screen everybody again."""
    given = [each for each in (file, psc, bods, gleif, export) if each is not None]
    if len(given) > 1:
        raise click.UsageError("give one of --add, --psc, --bods, --gleif and --export-bods")
    if leis and gleif is None:
        raise click.UsageError("--lei goes with --gleif")
    if not given or export is not None:
        answer = ask(data_dir, "party.statements")
        if export is not None:
            _export(answer, export, publisher)
        rows = ([*(each[name] for name in _STATEMENT), _share(each["share"])] for each in answer["statements"])
        emit(answer, columns(["OWNER", "OWNED", "INTEREST", "SOURCE", "SHARE"], rows), as_json=as_json)
        return
    statements, parties = _statements(file) if file is not None else _read(psc, bods, gleif, leis)
    with watched(data_dir, "screening", "screening.progress"):
        answer = ask(data_dir, "party.statements", statements=statements, parties=parties)
    emit(answer, [f"{len(answer['recorded'])} recorded, {answer['screened']} accounts screened"], as_json=as_json)


def _read(psc: Path | None, bods: Path | None, gleif: Path | None, leis: tuple[str, ...]) -> tuple[Any, Any]:
    """From a register's or a publisher's file."""
    from countenance.standing.ownership import bods as standard
    from countenance.standing.ownership import gleif as level_2
    from countenance.standing.ownership import psc as register

    parties: dict[str, Any] = {}
    if psc is not None:
        with psc.open(encoding="utf-8") as lines:
            found, parties = register.read(lines)
    elif bods is not None:
        found, parties = standard.read(bods.read_bytes())
    else:
        assert gleif is not None  # one of the three was given
        with gleif.open("rb") as file:
            found = level_2.read(file, leis)
    return [each.to_json() for each in found], parties


def _export(answer: dict[str, Any], path: Path, publisher: str) -> None:
    from countenance.standing.ownership import Recorded, Statement, bods
    from countenance.standing.ownership.statements import known

    if path.exists():
        raise click.BadParameter(f"{path} is there already: an export replaces nothing", param_hint="--export-bods")
    recorded = [
        Recorded(
            Statement.from_json({name: value for name, value in each.items() if name != "recorded_at"}),
            int(datetime.fromisoformat(each["recorded_at"]).timestamp() * 1_000_000),
        )
        for each in answer["statements"]
    ]
    now = datetime.now(UTC)
    counting = known(recorded, int(now.timestamp() * 1_000_000))
    said = bods.write(counting, answer["parties"], publisher=publisher, published=now.date())
    path.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _statements(file: Path) -> tuple[Any, Any]:
    try:
        said = json.loads(file.read_text("utf-8"))
        return said["statements"], said.get("parties", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise click.BadParameter(
            f"{file} is no file of statements ({type(error).__name__})", param_hint="--add"
        ) from None


def _share(said: dict[str, Any] | None) -> str:
    if said is None:
        return "-"
    low, high = said["low"] / 10_000, said["high"] / 10_000
    return f"{low:g} %" if low == high else f"{low:g} to {high:g} %"


@party.command("lookback", epilog=example("countenance party lookback 123456789012 --from 2022-01-01"))
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--from", "first", metavar="DAY", help="Where it begins; without it, where the account does.")
@click.option("--to", "last", metavar="DAY", help="Where it ends; without it, now.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the report to this file.")
@data_option
@json_option
def party_lookback(
    account_id: str, first: str | None, last: str | None, report: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Print what an account's standing was, as known then and as known now, and what it used meanwhile.

    The report's hash is an entry of the log: its receipt is in the report.
    """
    if report is not None and report.exists():
        raise click.BadParameter(f"{report} is there already: a report replaces nothing", param_hint="--report")
    answer = ask(data_dir, "party.lookback", account_id=account_id, **{"from": first, "to": last})
    if report is not None:
        report.write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n", "utf-8")
    rows = (
        [each["from"][:19], each["to"][:19], each["as_known_then"], each["as_known_now"], _used(each)]
        for each in answer["windows"]
    )
    lines = list(columns(["FROM", "TO", "AS KNOWN THEN", "AS KNOWN NOW", "ANSWERED"], rows))
    lines += ["", *(f"{each['case']} since {each['since'] or 'ever'}: {each['title']}" for each in answer["cases"])]
    emit(answer, lines, as_json=as_json)
    tell_unopened(answer, as_json=as_json)


def _used(each: dict[str, Any]) -> str:
    return f"{each['answered']} of {each['calls']}"


# -- cases


@click.group(short_help="What screenings found.", epilog=example("countenance case list"))
def case() -> None:
    """Cases: findings that two operators judge, until the entry, the party or the algorithm changes."""


def _cases(found: list[dict[str, Any]]) -> list[str]:
    rows = (
        [
            each["case"],
            each["account_id"],
            each["tier"],
            "open" if each["open"] else each["judgement"]["judgement"],
            each["title"],
        ]
        for each in found
    )
    return list(columns(["CASE", "ACCOUNT", "TIER", "STATE", "ABOUT"], rows))


@case.command("list", epilog=example("countenance case list"))
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@data_option
@json_option
def case_list(account_id: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Print the open cases, or all those of an account."""
    answer = ask(data_dir, "case.list", account_id=account_id)
    emit(answer, _cases(answer["cases"]), as_json=as_json)


@case.command("show", epilog=example("countenance case show 123456789012 3a0a12122f5f679a"))
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("case_id", metavar="CASE")
@click.option("--draw", type=click.Path(dir_okay=False, path_type=Path), help="Draw the chain of ownership as SVG.")
@data_option
@json_option
def case_show(account_id: str, case_id: str, draw: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Print a case with all that it rests on."""
    answer = ask(data_dir, "case.show", account_id=account_id, case=case_id)
    if draw is not None:
        from countenance.standing.ownership import Statement
        from countenance.standing.ownership.drawing import svg

        chain = [Statement.from_json(each) for each in answer["explained"].get("chain", ())]
        if not chain:
            raise click.BadParameter("this case is about no chain of ownership", param_hint="--draw")
        draw.write_text(svg(chain, listed={chain[0].owner}, title=answer["title"]), "utf-8")
    lines = [*_cases([answer]), "", *json.dumps(answer["explained"], indent=1, ensure_ascii=False).splitlines()]
    emit(answer, lines, as_json=as_json)


@case.command(
    "judge",
    epilog=example(
        "countenance case judge 123456789012 3a0a12122f5f679a --judgement cleared --reason 'another one, file 12'"
    ),
)
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("case_id", metavar="CASE")
@click.option(
    "--judgement", required=True, type=click.Choice(["cleared", "refused", "needs-information"]), help="What you say."
)
@click.option("--attach", multiple=True, type=_FILE, help="A document that it rests on; its hash goes on record.")
@reason_option
@data_option
@json_option
def case_judge(
    account_id: str,
    case_id: str,
    judgement: str,
    attach: tuple[Path, ...],
    reason: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Propose a judgement. Another operator decides."""
    digests = []
    for each in attach:
        with each.open("rb") as file:
            digests.append(file_digest(file, "sha256").hexdigest())
    answer = ask(
        data_dir,
        "case.judge",
        account_id=account_id,
        case=case_id,
        judgement=judgement,
        attachments=digests,
        reason=reason,
    )
    if not as_json:
        talk(f"{judgement}: {answer['details']['report']}")
    proposed(answer, as_json=as_json)
