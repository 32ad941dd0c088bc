"""The command about reports of the look back. Knows arguments and files; what such a report is, is in `lookback`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from countenance_audit import lookback
from countenance_audit.answering import NO, Answer, describe, policy_of, read_file, signers, undecided
from countenance_audit.fetching import open_location
from countenance_audit.merkle import leaf_hash, verify_inclusion
from countenance_audit.mirror import Log


def lookback_verify(parsed: argparse.Namespace, answer: Answer) -> None:
    """`lookback verify`: whether a report of the look back is, word for word, what was put on record."""
    report = lookback.read(read_file(parsed.file))
    policy = policy_of(parsed)
    if policy is None:
        undecided(answer, signers(report.note))
        return
    leaf = report.opening.leaf()
    if parsed.log is not None:
        log = Log(open_location(parsed.log), policy)
        cosigned = log.checkpoint()
        size = cosigned.checkpoint.size
        if report.index >= size or log.leaf_at(report.index, size)[0] != leaf:
            answer.worst(NO)
            answer.say(f"the log has no leaf at {report.index} that the report's entry opens")
            return
    else:
        cosigned = policy.cosigned(report.note)
        checkpoint = cosigned.checkpoint
        verify_inclusion(report.index, checkpoint.size, leaf_hash(leaf), report.proof, checkpoint.root)
    describe(cosigned, answer)
    recorded = datetime.fromtimestamp(report.recorded_us / 1_000_000, UTC).isoformat()
    answer.facts |= {"account": report.account, "recorded": recorded, "windows": [dict(w) for w in report.windows]}
    answer.say(f"the report is on record at leaf {report.index}, by the operator's clock at {recorded}")
    for each in report.windows:
        answer.say(
            f"{each['from'][:19]} to {each['to'][:19]}: known then {each['as_known_then']}, known now"
            f" {each['as_known_now']}, {each['answered']} of {each['calls']} calls answered"
        )
    answer.say("not shown: that no call was left out (certificates and bundles are for that), and who was listed when")


def add_to(top: Any, trusting: argparse.ArgumentParser) -> None:
    """Adds the command.

    Args:
        top: the commands of the program.
        trusting: parent of commands that take a trust policy.
    """
    group = top.add_parser("lookback", help="lookback verify: is a look back what was put on record")
    one = group.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "verify", parents=[trusting], help="is a look back what was put on record"
    )
    one.add_argument("file", help="as countenance party lookback --report writes it")
    one.add_argument(
        "--log", metavar="URL|DIR", help="look in the log, or a copy of it, instead of at the report's proof"
    )
    one.set_defaults(command=lookback_verify)
