"""`countenance policy` and `purpose`: what decides calls, since when, and what it would decide.

Knows the words of these verbs; what they do is decided behind `admin_client`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from countenance.cli.operators import ask, proposed, reason_option
from countenance.cli.options import data_option, example, json_option
from countenance.cli.output import Status, columns, emit, end, talk, tell_unopened

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHORT = 16
"""Characters of a set's hash that are printed in lists: enough to tell sets apart, and taken by every verb."""


@click.group(short_help="What decides calls.", epilog=example("countenance policy status"))
def policy() -> None:
    """Use policies: sets of Cedar policies that decide what an account may do. Two operators put a set in force."""


@policy.command("status", epilog=example("countenance policy status"))
@data_option
@json_option
def policy_status(data_dir: Path | None, as_json: bool) -> None:
    """Print which sets decided since when, and those that are kept, each pack as shipped or changed."""
    answer = ask(data_dir, "policy.status")
    rows = (
        [each["from"] or "the beginning", each["policy_set"][:_SHORT], " and ".join(each["by"]) or "-", each["reason"]]
        for each in answer["timeline"]
    )
    lines = [*columns(["FROM", "SET", "BY", "REASON"], rows), ""]
    lines += columns(
        ["SET", "PACKS"],
        (
            [
                each["policy_set"][:_SHORT],
                "damaged" if each["packs"] is None else ", ".join([*_worded(each["wording"]), *_own(each["own"])]),
            ]
            for each in answer["sets"]
        ),
    )
    emit(answer, lines, as_json=as_json)


@policy.command("at", epilog=example("countenance policy at 2026-11-23T14:05:00Z"))
@click.argument("moment", metavar="TIME")
@data_option
@json_option
def policy_at(moment: str, data_dir: Path | None, as_json: bool) -> None:
    """Print which set decided at a moment, who put it in force, and why."""
    answer = ask(data_dir, "policy.at", at=moment)
    each = answer["in_force"]
    since = each["from"] or "the beginning"
    by = " and ".join(each["by"]) or "nobody"
    emit(answer, [f"{each['policy_set']} since {since}, by {by}: {each['reason']}"], as_json=as_json)


@policy.command("show", epilog=example("countenance policy show 3a0a12122f5f679a"))
@click.argument("policy_set", metavar="[SET]", required=False)
@data_option
@json_option
def policy_show(policy_set: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Print a set's policies in Cedar, and whether its packs are as shipped with this program; without a name, those of
    the one in force."""
    answer = ask(data_dir, "policy.show", policy_set=policy_set)
    emit(answer, answer["cedar"].splitlines(), as_json=as_json)
    if not as_json:
        talk("; ".join([*_worded(answer["wording"]), *_own(answer["own"])]))


def _worded(wording: dict[str, str]) -> list[str]:
    """Packs and whether each is the program's of that name; the base only where it is not."""
    return [f"{name} ({how})" for name, how in wording.items() if name != "base" or how != "as shipped"]


def _own(names: list[str]) -> list[str]:
    return [f"{name} (own)" for name in names]


@policy.command(
    "draft", epilog=example("countenance policy draft standing moratorium public-safety --own house=house.cedar")
)
@click.argument("packs", metavar="PACK...", nargs=-1)
@click.option("--own", multiple=True, metavar="NAME=FILE", help="Further policies of your own, in Cedar.")
@data_option
@json_option
def policy_draft(packs: tuple[str, ...], own: tuple[str, ...], data_dir: Path | None, as_json: bool) -> None:
    """Make a set of packs and of your own policies, check it, and keep it. It decides nothing until it is in force.

    Packs: standing, moratorium, public-safety, ai-act, bipa, gdpr.
    """
    texts = {}
    for each in own:
        name, _, file = each.partition("=")
        if not file:
            raise click.BadParameter("give --own NAME=FILE")
        texts[name] = Path(file).read_text("utf-8")
    answer = ask(data_dir, "policy.draft", packs=list(packs), own=texts)
    emit(answer, [answer["policy_set"]], as_json=as_json)
    for warning in answer["warnings"]:
        talk(f"Beware: {warning}.")
    if not as_json:
        talk(f"Kept. countenance policy activate {answer['policy_set'][:_SHORT]} --reason '...' proposes it.")


@policy.command("validate", epilog=example("countenance policy validate house.cedar"))
@click.argument("file", type=_FILE)
@json_option
def policy_validate(file: Path, as_json: bool) -> None:
    """Check policies of your own against the schema. Needs no server."""
    from countenance.policy.policyset import BASE, composed

    made = composed((), {"own": file.read_text("utf-8")})
    names = [each.id for each in made.policies.values() if not each.id.startswith(f"{BASE}.")]
    emit({"policies": names}, names, as_json=as_json)


@policy.command("test", epilog=example("countenance policy test cases.json --set 3a0a12122f5f679a"))
@click.argument("file", type=_FILE)
@click.option("--set", "policy_set", help="A set by its hash; the one in force when left out.")
@data_option
@json_option
def policy_test(file: Path, policy_set: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Have test cases of a file decided. Exit status 1 when one is decided otherwise than it says."""
    answer = ask(data_dir, "policy.test", cases=file.read_text("utf-8"), policy_set=policy_set)
    lines = [
        f"{each['case']}: {'allowed' if each['allowed'] else 'denied'} by "
        f"{', '.join(each['policies']) or each['reason'] or 'nothing'}"
        for each in answer["failed"]
    ]
    emit(answer, lines, as_json=as_json)
    if not as_json:
        talk(f"{answer['cases']} cases, {len(answer['failed'])} failed.")
    if answer["failed"]:
        end(Status.NO)


@policy.command("activate", epilog=example("countenance policy activate 3a0a12122f5f679a --reason 'ticket 77'"))
@click.argument("policy_set", metavar="SET")
@click.option("--from", "start", metavar="TIME", help="When; now when left out.")
@reason_option
@data_option
@json_option
def policy_activate(policy_set: str, start: str | None, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose to put a set in force. Another operator decides."""
    answer = ask(data_dir, "policy.activate", policy_set=policy_set, reason=reason, **{"from": start})
    for warning in answer["warnings"]:
        talk(f"Beware: {warning}.")
    proposed(answer, as_json=as_json)


@policy.command("diff", epilog=example("countenance policy diff 3a0a12122f5f679a d15dad84d2e2e8c2"))
@click.argument("before", metavar="SET")
@click.argument("after", metavar="SET")
@data_option
@json_option
def policy_diff(before: str, after: str, data_dir: Path | None, as_json: bool) -> None:
    """Print how one set differs from another. Exit status 1 when it does."""
    answer = ask(data_dir, "policy.diff", before=before, after=after)
    emit(answer, answer["lines"], as_json=as_json)
    if answer["lines"]:
        end(Status.NO)


@policy.command("explain", epilog=example("countenance policy explain --request request.json"))
@click.option("--request", "file", required=True, type=_FILE, help="A request, as docs/concepts/policy.md shows it.")
@click.option("--set", "policy_set", help="A set by its hash; the one in force when left out.")
@data_option
@json_option
def policy_explain(file: Path, policy_set: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Decide a request and say by which policies. Exit status 1 for a denial."""
    answer = ask(data_dir, "policy.explain", request=file.read_text("utf-8"), policy_set=policy_set)
    lines = ["allowed" if answer["allowed"] else f"denied {answer['reason']}".rstrip()]
    lines += [f"{each['id']}: {each['satisfy']} ({each['citation']})" for each in answer["policies"]]
    emit(answer, lines, as_json=as_json)
    if not answer["allowed"]:
        end(Status.NO)


@policy.command("replay", epilog=example("countenance policy replay --days 30"))
@click.option("--days", type=click.IntRange(1, 36_600), default=30, show_default=True)
@data_option
@json_option
def policy_replay(days: int, data_dir: Path | None, as_json: bool) -> None:
    """Have recorded requests decided again, each by the set that decided it. Exit status 1 when one differs, 3 when
    leaves have no opening of theirs, so that calls may be missing."""
    _again(ask(data_dir, "policy.replay", days=days), as_json=as_json)


@policy.command("simulate", epilog=example("countenance policy simulate d15dad84d2e2e8c2 --days 30"))
@click.argument("policy_set", metavar="SET")
@click.option("--days", type=click.IntRange(1, 36_600), default=30, show_default=True)
@data_option
@json_option
def policy_simulate(policy_set: str, days: int, data_dir: Path | None, as_json: bool) -> None:
    """Have recorded requests decided by another set. Exit status 1 when calls would have come out otherwise, 3 when
    leaves have no opening of theirs, so that calls may be missing."""
    _again(ask(data_dir, "policy.simulate", policy_set=policy_set, days=days), as_json=as_json)


def _again(answer: dict[str, Any], *, as_json: bool) -> None:
    rows = (
        [
            each["at"],
            each["account_id"],
            each["operation"],
            "allowed" if each["was"]["allowed"] else "denied",
            "allowed" if each["would_be"]["allowed"] else "denied",
            ",".join(each["would_be"]["policies"]) or each["would_be"]["reason"],
        ]
        for each in answer["told"]
    )
    lines = columns(["AT", "ACCOUNT", "OPERATION", "WAS", "WOULD BE", "BY"], rows) if answer["told"] else []
    emit(answer, lines, as_json=as_json)
    if not as_json:
        talk(f"{answer['calls']} calls, {answer['changed']} otherwise.")
    tell_unopened(answer, as_json=as_json)
    if answer["changed"]:
        end(Status.NO)
    if answer["unopened"]:
        end(Status.UNDECIDED)


@click.group(short_help="What keys are issued for.", epilog=example("countenance purpose list"))
def purpose() -> None:
    """Purposes: the words that access keys are issued for, and that policies know."""


@purpose.command("list", epilog=example("countenance purpose list"))
@data_option
@json_option
def purpose_list(data_dir: Path | None, as_json: bool) -> None:
    """Print the vocabulary."""
    answer = ask(data_dir, "purpose.list")
    rows = ([each["purpose"], each["meaning"]] for each in answer["purposes"])
    emit(answer, columns(["PURPOSE", "MEANING"], rows), as_json=as_json)


@purpose.command("add", epilog=example("countenance purpose add visitor-lists 'who is in the building' --reason fire"))
@click.argument("word", metavar="WORD")
@click.argument("meaning")
@reason_option
@data_option
@json_option
def purpose_add(word: str, meaning: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose a word for the vocabulary. Another operator decides."""
    proposed(ask(data_dir, "purpose.add", purpose=word, meaning=meaning, reason=reason), as_json=as_json)


@purpose.command(
    "allow", epilog=example("countenance purpose allow 123456789012 missing-person --reason 'order of 3 May, file 7'")
)
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("word", metavar="WORD")
@reason_option
@data_option
@json_option
def purpose_allow(account_id: str, word: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose that an account may have keys for a purpose that policies exempt. Another operator decides."""
    answer = ask(data_dir, "purpose.allow", account_id=account_id, purpose=word, reason=reason)
    proposed(answer, as_json=as_json)
