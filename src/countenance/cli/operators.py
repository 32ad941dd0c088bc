"""`countenance operator`, `login`, `logout` and `proposal`: who works here, and what two of them decide.

Knows the words of these verbs; what they do is decided behind `admin_client`. Passwords are asked for, never given as
arguments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from countenance.cli import admin_client, session
from countenance.cli.options import data_option, example, json_option, settings_for, yes_option
from countenance.cli.output import columns, emit, talk
from countenance.errors import Error


def ask(data_dir: Path | None, verb: str, **params: object) -> dict[str, Any]:
    """Carry a verb out for whoever is logged in."""
    given = {name: value for name, value in params.items() if value is not None}
    return admin_client.administer(settings_for(data_dir), verb, given)


def proposed(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print a proposal, and what comes next."""
    emit(answer, [answer["proposal"]], as_json=as_json)
    if not as_json:
        talk(f"Proposed. Another operator decides: countenance proposal approve {answer['proposal']}")


reason_option = click.option("--reason", required=True, help="Why; it stays in the records.")


@click.group(short_help="Who works here.", epilog=example("countenance operator list"))
def operator() -> None:
    """Operators: the people who run this server. What matters is decided by two of them."""


roles_option = click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(["admin", "compliance", "reviewer", "auditor"]),
    help="What they are trusted with.",
)


@operator.command("create", epilog=example("countenance operator create a.jones --role admin --reason 'first day'"))
@click.argument("handle", metavar="NAME")
@roles_option
@reason_option
@data_option
@json_option
def operator_create(handle: str, roles: tuple[str, ...], reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Make an operator. The first two admins are made on the host; after that, two admins decide.

    The code is shown this once: give it to the person, who sets a password with `countenance operator enrol`.
    """
    answer = ask(data_dir, "operator.create", operator=handle, roles=list(roles), reason=reason)
    emit(answer, [answer["code"]], as_json=as_json)
    if not as_json and answer["proposal"]:
        talk(f"Proposed. Another admin decides: countenance proposal approve {answer['proposal']}")
    if not as_json:
        talk(f"The code is shown this once. {handle} sets a password: countenance operator enrol {handle}")


@operator.command("list", epilog=example("countenance operator list --json"))
@data_option
@json_option
def operator_list(data_dir: Path | None, as_json: bool) -> None:
    """Print every operator there ever was."""
    answer = ask(data_dir, "operator.list")
    rows = (
        [
            each["operator"],
            ",".join(each["roles"]),
            "active" if each["active"] else "suspended",
            "yes" if each["can_log_in"] else "no",
        ]
        for each in answer["operators"]
    )
    emit(answer, columns(["OPERATOR", "ROLES", "STATE", "ENROLLED"], rows), as_json=as_json)


@operator.command("enrol", epilog=example("countenance operator enrol a.jones"))
@click.argument("handle", metavar="NAME")
@data_option
@json_option
def operator_enrol(handle: str, data_dir: Path | None, as_json: bool) -> None:
    """Set the password of a new operator and get the second factor. Asks for the code and the password.

    What is printed goes into an authenticator app (RFC 6238), and is shown this once.
    """
    code = click.prompt("Code", err=True)
    password = click.prompt("New password", hide_input=True, confirmation_prompt="Once more", err=True)
    answer = ask(data_dir, "operator.enrol", operator=handle, code=code, password=password)
    emit(answer, [answer["otpauth"]], as_json=as_json)
    if not as_json:
        talk(f"Put this into an authenticator app, then: countenance login {handle}")


@operator.command("suspend", epilog=example("countenance operator suspend a.jones --reason 'has left'"))
@click.argument("handle", metavar="NAME")
@reason_option
@data_option
@json_option
def operator_suspend(handle: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose that an operator decides nothing any more."""
    proposed(ask(data_dir, "operator.suspend", operator=handle, reason=reason), as_json=as_json)


@operator.command("resume", epilog=example("countenance operator resume a.jones --reason 'is back'"))
@click.argument("handle", metavar="NAME")
@reason_option
@data_option
@json_option
def operator_resume(handle: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose that a suspended operator takes part again. Two others decide."""
    proposed(ask(data_dir, "operator.resume", operator=handle, reason=reason), as_json=as_json)


@operator.command("roles", epilog=example("countenance operator roles a.jones --role auditor --reason 'new post'"))
@click.argument("handle", metavar="NAME")
@roles_option
@reason_option
@data_option
@json_option
def operator_roles(handle: str, roles: tuple[str, ...], reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose what an operator is trusted with from now on, in place of what was. Two others decide."""
    proposed(ask(data_dir, "operator.roles", operator=handle, roles=list(roles), reason=reason), as_json=as_json)


@operator.command("reset", epilog=example("countenance operator reset a.jones --reason 'lost the phone'"))
@click.argument("handle", metavar="NAME")
@reason_option
@data_option
@json_option
def operator_reset(handle: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose that an operator sets a new password and second factor. Two others decide.

    The code is shown this once: when the other admin has approved, the person enrols with it again.
    """
    answer = ask(data_dir, "operator.reset", operator=handle, reason=reason)
    emit(answer, [answer["code"]], as_json=as_json)
    if not as_json:
        talk(f"Proposed. Another admin decides: countenance proposal approve {answer['proposal']}")
        talk(f"After that: countenance operator enrol {handle}, with the code, which is shown this once.")


@operator.command("refound", epilog=example("countenance operator refound --reason 'both phones burnt' --yes"))
@reason_option
@yes_option
@data_option
@json_option
def operator_refound(reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Begin anew with nobody in office, where no two admins can decide any more.

    The first time this announces it: every admin can withdraw the proposal for three days. The next time after them, or
    at once while acts of operators are missing from the log, all operators are suspended and the host makes two admins.
    """
    answer = ask(data_dir, "operator.refound", reason=reason)
    if answer["state"] == "open":
        words = f"proposed; if no admin withdraws it, give this command again after {answer['possible_from']}"
    else:
        words = "nobody is in office; the host makes two admins: countenance operator create"
    emit(answer, [words], as_json=as_json)


@click.command("login", short_help="Work as an operator.", epilog=example("countenance login a.jones"))
@click.argument("handle", metavar="NAME")
@data_option
@json_option
def login(handle: str, data_dir: Path | None, as_json: bool) -> None:
    """Log in as an operator, for half an hour. Asks for the password and a one-time password.

    Without a login, work on this host is recorded as the host's, and the host is never one of two persons.
    """
    password = click.prompt("Password", hide_input=True, err=True)
    one_time = click.prompt("One-time password", err=True)
    folder = settings_for(data_dir).data_dir
    session.forget(folder)
    answer = ask(data_dir, "session.login", operator=handle, password=password, one_time=one_time)
    session.keep(folder, answer.pop("session"))
    emit(answer, [f"{handle} is logged in"], as_json=as_json)


@click.command("logout", short_help="Work as the host again.", epilog=example("countenance logout"))
@data_option
@json_option
def logout(data_dir: Path | None, as_json: bool) -> None:
    """End every session of whoever is logged in here, on this machine and elsewhere."""
    folder = settings_for(data_dir).data_dir
    was = session.read(folder) is not None
    try:
        if was:
            ask(data_dir, "session.logout")
    except Error as error:
        talk(f"Only forgotten here: {error.message}")
    finally:
        session.forget(folder)
    emit({"was_logged_in": was}, ["logged out" if was else "nobody was logged in"], as_json=as_json)


@click.group(short_help="Calls that two operators allow.", epilog=example("countenance approval list"))
def approval() -> None:
    """Approvals: denied calls that a policy lets two operators allow, one by one."""


@approval.command("list", epilog=example("countenance approval list"))
@data_option
@json_option
def approval_list(data_dir: Path | None, as_json: bool) -> None:
    """Print denied calls that could be approved, the latest last."""
    answer = ask(data_dir, "approval.list")
    rows = (
        [each["approval"], each["account_id"], each["operation"], each["collection_id"] or None, each["image"] or None]
        for each in answer["approvals"]
    )
    emit(answer, columns(["APPROVAL", "ACCOUNT", "OPERATION", "COLLECTION", "IMAGE"], rows), as_json=as_json)


@approval.command("give", epilog=example("countenance approval give 1f2e3d4c5b6a7980 --reason 'warrant 7/2026'"))
@click.argument("approval_id", metavar="APPROVAL")
@reason_option
@data_option
@json_option
def approval_give(approval_id: str, reason: str, data_dir: Path | None, as_json: bool) -> None:
    """Propose to allow a denied call. When another operator approves, the same call succeeds for an hour."""
    proposed(ask(data_dir, "approval.give", approval=approval_id, reason=reason), as_json=as_json)


@click.group(short_help="What waits for a second person.", epilog=example("countenance proposal list"))
def proposal() -> None:
    """Proposals: what one operator wants, and another one decides."""


@proposal.command("list", epilog=example("countenance proposal list"))
@click.option("--all", "show_all", is_flag=True, help="Also those that are done, withdrawn or too old.")
@data_option
@json_option
def proposal_list(show_all: bool, data_dir: Path | None, as_json: bool) -> None:
    """Print what waits for a second operator."""
    answer = ask(data_dir, "proposal.list")
    answer["proposals"] = [each for each in answer["proposals"] if show_all or each["state"] == "open"]
    rows = (
        [
            each["proposal"],
            each["kind"],
            each["account_id"],
            each["by"],
            each["state"],
            " ".join(f"{name}={value}" for name, value in sorted(each["details"].items())),
        ]
        for each in answer["proposals"]
    )
    emit(answer, columns(["PROPOSAL", "KIND", "ACCOUNT", "BY", "STATE", "WHAT"], rows), as_json=as_json)


@proposal.command("approve", epilog=example("countenance proposal approve 1f2e3d4c5b6a --yes"))
@click.argument("proposal_id", metavar="PROPOSAL")
@yes_option
@data_option
@json_option
def proposal_approve(proposal_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Approve what another operator proposed. It is in force at once."""
    answer = ask(data_dir, "proposal.approve", proposal=proposal_id)
    emit(answer, [f"{answer['kind']} is in force"], as_json=as_json)


@proposal.command("withdraw", epilog=example("countenance proposal withdraw 1f2e3d4c5b6a"))
@click.argument("proposal_id", metavar="PROPOSAL")
@data_option
@json_option
def proposal_withdraw(proposal_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Take a proposal back."""
    emit(ask(data_dir, "proposal.withdraw", proposal=proposal_id), [f"{proposal_id} is withdrawn"], as_json=as_json)
