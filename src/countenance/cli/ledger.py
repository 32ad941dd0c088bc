"""`countenance ledger`: the log's key and state, whether it is sound, and receipts held against it.

Knows these verbs' words; verification is that of `countenance-audit`, which an outsider installs without this server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from countenance.cli import admin_client
from countenance.cli.copies import copies_of, copies_options, successor_of, told_of
from countenance.cli.options import data_option, example, json_option, settings_for, yes_option
from countenance.cli.output import Status, emit, end, talk
from countenance.cli.remote import remote_options
from countenance.errors import Error


def _ask(data_dir: Path | None, verb: str) -> dict[str, Any]:
    return admin_client.administer(settings_for(data_dir), verb, {})


@click.group(short_help="The record of every use.", epilog=example("countenance ledger status"))
def ledger() -> None:
    """The ledger: every call of a known key and every change is a leaf of one log."""


@ledger.command("status", epilog=example("countenance ledger status --json"))
@data_option
@json_option
def ledger_status(data_dir: Path | None, as_json: bool) -> None:
    """Print the log's name, verifier key, size and latest checkpoint."""
    answer = _ask(data_dir, "ledger.status")
    lines = [f"{name}: {answer[name]}" for name in ("origin", "key", "size", "checkpoint_size")]
    if answer["timestamp"]:
        lines.append(f"timestamp: over {answer['timestamp']['size']} leaves at {answer['timestamp']['at']}")
    lines += [f"WARNING: {each}" for each in answer["warnings"]]
    emit(answer, [*lines, "", *answer["checkpoint"].splitlines()], as_json=as_json)


@ledger.command("key", epilog=example("countenance ledger key"))
@data_option
@json_option
def ledger_key(data_dir: Path | None, as_json: bool) -> None:
    """Print the log's verifier key as a line of a trust policy: give it to those who will check you."""
    status = _ask(data_dir, "ledger.status")
    signing = [each for each in status["keys"] if each["state"] in ("signing", "closing")]
    emit({"key": status["key"], "keys": status["keys"]}, [f"log {each['key']}" for each in signing], as_json=as_json)


@ledger.command("rotate", epilog=example("countenance ledger rotate --yes"))
@click.option("--lost", is_flag=True, help="The key until now was lost or stolen: it signs nothing more.")
@yes_option
@data_option
@json_option
def ledger_rotate(lost: bool, data_dir: Path | None, as_json: bool) -> None:
    """Make the log's next key. A public leaf names it, and whoever checks you needs its line.

    The older key goes on signing checkpoints beside it, so that those who know only that one can follow, until
    `countenance ledger retire`. After --lost nobody but you vouches for the new key: publish it where people know you.
    """
    answer = admin_client.administer(settings_for(data_dir), "ledger.rotate", {"lost": lost})
    emit(answer, [f"log {answer['key']}"], as_json=as_json)
    if not as_json:
        talk("Give this line to your witnesses and to those who check you; they keep the older line beside it.")


@ledger.command("retire", epilog=example("countenance ledger retire 1f2e3d4c --yes"))
@click.argument("key_id", metavar="KEY_ID")
@yes_option
@data_option
@json_option
def ledger_retire(key_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Have an older key of the log sign nothing more. Its id is the part between the plus signs of its line."""
    answer = admin_client.administer(settings_for(data_dir), "ledger.retire", {"key_id": key_id})
    emit(answer, [f"{key_id} signs nothing more"], as_json=as_json)


@ledger.command("fsck", epilog=example("countenance ledger fsck && echo sound"))
@data_option
@json_option
def ledger_fsck(data_dir: Path | None, as_json: bool) -> None:
    """Look at every leaf, opening, tile and checkpoint, and whether the samples that entries speak of are there.

    Exit status 0 when all is sound, 1 when something is missing or wrong.
    """
    answer = _ask(data_dir, "ledger.fsck")
    emit(answer, answer["problems"], as_json=as_json)
    if not as_json:
        talk(
            f"{answer['leaves']} leaves, {answer['openings']} openings, {answer['references']} references by the log, "
            f"{len(answer['problems'])} problems."
        )
    if answer["problems"]:
        end(Status.NO)


@ledger.command(
    "recover",
    epilog=example("countenance ledger recover --from /srv/mirror --reason 'disk failed' --yes"),
)
@copies_options
@click.option("--reason", required=True, help="What happened; it is published.")
@yes_option
@data_option
@json_option
def ledger_recover(
    copies: dict[str, Any], new_origin: str | None, reason: str, data_dir: Path | None, as_json: bool
) -> None:
    """Mend a log that is behind what was signed of it, after an older database was put in its place.

    Leaves that the database lacks are put back from copies; signed checkpoints decide whether they are the right ones.
    Openings come back only from other databases and kept receipts, and what the lost entries did to collections does
    not. A public entry says what was put back and what was lost. The server must be stopped.
    """
    from countenance.assembly import recover

    mended = recover(settings_for(data_dir), copies_of(copies), reason=reason, successor=successor_of(new_origin))
    answer, lines = told_of(mended)
    emit(answer, lines, as_json=as_json)


@ledger.command("statement", epilog=example("countenance ledger statement 123456789012 2026-11 --form focus"))
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("month", metavar="YYYY-MM")
@click.option("--form", type=click.Choice(["table", "json", "html", "focus"]), default="table", show_default=True)
@data_option
@json_option
def ledger_statement(account_id: str, month: str, form: str, data_dir: Path | None, as_json: bool) -> None:
    """Print what an account used in a UTC month: calls, units, amounts and the leaves they come from.

    FOCUS is the FinOps Foundation's CSV, version 1.2. The statement is compared with the openings it is made of; exit
    status 1 when they differ.
    """
    params = {"account_id": account_id, "month": month, "form": form}
    answer = admin_client.administer(settings_for(data_dir), "ledger.statement", params)
    emit(answer, answer["statement"].rstrip("\n").split("\n"), as_json=as_json)
    for each in answer["problems"]:
        talk(each)
    if answer["problems"]:
        end(Status.NO)


@ledger.command(
    "erase", epilog=example("countenance ledger erase 123456789012 --before 2026-01-01 --ground 'Art. 17 GDPR' --yes")
)
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--before", required=True, metavar="YYYY-MM-DD", help="Entries that ended before this day, UTC.")
@click.option("--ground", required=True, help="The legal ground; it is published.")
@yes_option
@data_option
@json_option
def ledger_erase(account_id: str, before: str, ground: str, data_dir: Path | None, as_json: bool) -> None:
    """Erase image hashes, FaceIds and names from an account's entries, and the samples kept of those calls.

    Leaves, accounting and totals stay and can be verified as before. A public leaf names the ground and the count.
    """
    params = {"account_id": account_id, "before": before, "ground": ground}
    answer = admin_client.administer(settings_for(data_dir), "ledger.erase", params)
    emit(answer, [f"{answer['erased']} person sections and {answer['samples']} samples erased"], as_json=as_json)


@ledger.command("expire", epilog=example("countenance ledger expire 123456789012 --before 2016-01-01 --yes"))
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--before", required=True, metavar="YYYY-MM-DD", help="Entries that ended before this day, UTC.")
@yes_option
@data_option
@json_option
def ledger_expire(account_id: str, before: str, data_dir: Path | None, as_json: bool) -> None:
    """Erase all that an account's entries say, once they are older than accounting has to be kept.

    The floor is ten years unless the setting ledger_floor_years says otherwise. Leaves stay, a public one names the
    count, and an auditor will list each as not opened. A legal hold forbids it.
    """
    params = {"account_id": account_id, "before": before}
    answer = admin_client.administer(settings_for(data_dir), "ledger.expire", params)
    emit(answer, [f"{answer['erased']} openings erased"], as_json=as_json)


@ledger.command("hold", epilog=example("countenance ledger hold 123456789012 --reason 'case 17/26'"))
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--reason", required=True, help="Why; told to whoever tries to erase.")
@data_option
@json_option
def ledger_hold(account_id: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Forbid erasures of an account's entries and samples (a legal hold); retention spares them as well."""
    params = {"account_id": account_id, "reason": reason}
    emit(admin_client.administer(settings_for(data_dir), "ledger.hold", params), [], as_json=as_json)


@ledger.command("release", epilog=example("countenance ledger release 123456789012 --yes"))
@click.argument("account_id", metavar="ACCOUNT")
@yes_option
@data_option
@json_option
def ledger_release(account_id: str, data_dir: Path | None, as_json: bool) -> None:
    """End a legal hold."""
    answer = admin_client.administer(settings_for(data_dir), "ledger.release", {"account_id": account_id})
    emit(answer, [], as_json=as_json)


@ledger.group(
    short_help="What calls were promised.",
    epilog=example("countenance ledger receipt verify receipt.txt --trust policy.txt"),
)
def receipt() -> None:
    """Receipts: the header x-countenance-receipt of every answer."""


@receipt.command(
    "verify", epilog=example("countenance ledger receipt verify receipt.txt --trust policy.txt --response answer.json")
)
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--trust",
    required=True,
    metavar="POLICY",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Whose signatures count: a C2SP tlog-policy file; `countenance ledger key` prints its first line.",
)
@click.option("--request", "request_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="BODY")
@click.option(
    "--response", "response_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="BODY"
)
@remote_options
@json_option
def receipt_verify(
    file: Path,
    trust: Path,
    request_file: Path | None,
    response_file: Path | None,
    data_dir: Path | None,
    endpoint_url: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Compare a receipt with the call it is for, and with what the server shows of its log.

    FILE holds the receipt's text. --request and --response are the exact bodies of the call. Exit status 0 when the
    promise was kept, 1 when it was broken, 3 when neither is shown (a policy that asks for witnesses needs them).
    """
    from countenance_audit import receipt as receipts
    from countenance_audit.errors import AuditError, Rejected
    from countenance_audit.leaf import Opening
    from countenance_audit.policy import TrustPolicy

    from countenance.cli.receipts import fetch

    try:
        policy = TrustPolicy.parse(trust.read_text("utf-8"))
        text = file.read_text("utf-8").strip()
        claimed = receipts.parse(text)
        promise = receipts.verify(text, policy.key_of(claimed.origin, claimed.key))
    except (AuditError, UnicodeDecodeError) as error:
        raise Error(f"The receipt cannot be checked: {error}") from None
    try:
        compared = receipts.check_call(
            promise,
            request_file.read_bytes() if request_file else None,
            response_file.read_bytes() if response_file else None,
        )
    except Rejected as error:
        emit({"kept": False, "why": str(error)}, [str(error)], as_json=as_json)
        end(Status.NO)
    kept = json.loads(fetch(promise.id, data_dir, endpoint_url, region))
    try:
        shown = receipts.check_inclusion(
            promise,
            Opening.from_json(kept["opening"]),
            None if kept["proof"] is None else [bytes.fromhex(each) for each in kept["proof"]],
            kept["checkpoint"].encode(),
            policy,
        )
    except AuditError as error:
        raise Error(f"What the server shows of its log cannot be checked: {error}") from None
    checked = [*(f"the {name} body is the call's" for name in compared), *shown.checked]
    answer = {
        "kept": shown.decided,
        "included": shown.included,
        "checked": checked,
        "unchecked": list(shown.unchecked),
        "evidence": shown.evidence,
    }
    lines = [f"checked: {each}" for each in checked] + [f"not checked: {each}" for each in shown.unchecked]
    emit(answer, lines, as_json=as_json)
    if shown.decided is None:
        end(Status.UNDECIDED)
    if not shown.decided:
        end(Status.NO)
