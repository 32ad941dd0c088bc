"""The command line: what may be asked, in plain words, with one exit status for each kind of answer.

Knows arguments and files; the checks are elsewhere. Exit status: 0 yes, 1 no, 2 wrong usage, 3 could not decide.
Without a trust policy nothing is decided: the keys that signed are printed, so that they can be compared with those
the operator published elsewhere.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from countenance_audit import __version__, canonical, cli_lookback, cli_periods, receipt, vectors
from countenance_audit.answering import (
    NO,
    UNDECIDED,
    USAGE,
    WORDS,
    YES,
    Answer,
    Usage,
    describe,
    policy_of,
    read_file,
    signers,
    undecided,
)
from countenance_audit.errors import AuditError, Malformed, Unavailable
from countenance_audit.fetching import open_location
from countenance_audit.keeping import mirror
from countenance_audit.leaf import Opening, check_opening
from countenance_audit.merkle import leaf_hash
from countenance_audit.mirror import Log
from countenance_audit.policy import TrustPolicy
from countenance_audit.tiles import CHECKPOINT

_OPENSSL_S: Final = 30
"""Longest wait for openssl, in seconds: it reads three small files."""


def run(arguments: Sequence[str]) -> int:
    """Does what the arguments ask, prints the answer, and returns the exit status."""
    parser = _parser()
    try:
        parsed = parser.parse_args(arguments)
    except SystemExit as ending:
        return USAGE if ending.code else YES
    answer = Answer()
    command: Callable[[argparse.Namespace, Answer], None] = parsed.command
    try:
        command(parsed, answer)
    except AuditError as failure:
        if isinstance(failure, Usage):
            answer.status = USAGE
        else:
            answer.worst(UNDECIDED if isinstance(failure, Unavailable) else NO)
        answer.say(failure.message, *([f"hint: {failure.hint}"] if failure.hint else []))
        answer.facts |= {"error": failure.message, "hint": failure.hint}
    if parsed.json:
        body = {"answer": WORDS[answer.status], "status": answer.status, "notes": answer.lines, **answer.facts}
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{_plain(line)}\n" for line in (*answer.lines, f"=> {WORDS[answer.status]}")))
    return answer.status


def receipt_verify(parsed: argparse.Namespace, answer: Answer) -> None:
    """`receipt verify`: signature, bodies, opening and place in the log, as far as they are given."""
    text = read_file(parsed.file).decode("utf-8", "replace").strip()
    claimed = receipt.parse(text)
    answer.facts["receipt"] = claimed.to_json()
    policy = policy_of(parsed)
    if policy is None:
        undecided(answer, [f"{claimed.origin} with key {claimed.key}"])
        return
    found = receipt.verify(text, policy.key_of(claimed.origin, claimed.key))
    answer.say(f"signed by {found.origin} with key {found.key}, for leaf {found.index}")
    bodies = (read_file(name) if name else None for name in (parsed.request, parsed.response))
    compared = receipt.check_call(found, *bodies)
    answer.say(*(f"it is for this {name} body" for name in compared))
    if parsed.opening is None and parsed.log is None:
        answer.say("not checked: whether the leaf is in the log (give --opening or --log)")
        return
    _place(parsed, answer, found, policy)


def _place(parsed: argparse.Namespace, answer: Answer, found: receipt.Receipt, policy: TrustPolicy) -> None:
    """Whether the receipt's promise was kept, by the operator's answer or by the log itself."""
    opening, proof, note = _answer_file(parsed.opening) if parsed.opening else (None, None, None)
    if opening is not None and leaf_hash(opening.leaf()).hex() != found.leaf:
        answer.worst(NO)
        answer.say("the opening does not belong to the receipt's leaf")
    other = None
    if parsed.log is not None:
        log = Log(open_location(parsed.log), policy)
        checkpoint = log.checkpoint().checkpoint
        note = log.note
        if found.index < checkpoint.size:
            leaf, proof = log.leaf_at(found.index, checkpoint.size)
            other = leaf_hash(leaf)
    if note is None:
        answer.worst(UNDECIDED)
        answer.say("not checked: whether the leaf is in the log (no checkpoint was given)")
        return
    _booked(parsed, answer, opening)
    result = receipt.check_inclusion(found, opening, proof, note, policy, other_leaf=other)
    answer.say(*result.checked, *(f"not shown: {line}" for line in result.unchecked))
    answer.facts |= {"included": result.included, "evidence": result.evidence}
    if result.evidence is not None:
        answer.say(f"EVIDENCE ({result.evidence}): keep the receipt, the checkpoint, the proof and the opening")
    answer.worst({True: YES, False: NO, None: UNDECIDED}[result.decided])


def _booked(parsed: argparse.Namespace, answer: Answer, opening: Opening | None) -> None:
    """Whether the call is booked to whom the receipt's holder says he is. A receipt names neither account nor key, so
    this convinces the holder and nobody else."""
    for name, member, mine in (
        ("account", "account", parsed.account),
        ("access key", "access_key", parsed.access_key),
    ):
        if mine is None:
            continue
        if opening is None:
            answer.worst(UNDECIDED)
            answer.say(f"not checked: which {name} the call is booked to (no opening was given)")
        elif opening.accounting[member] != mine:
            answer.worst(NO)
            answer.say(f"the call is booked to {name} {opening.accounting[member]}, not to {mine}")
        else:
            answer.say(f"the call is booked to {name} {mine}")


def checkpoint_verify(parsed: argparse.Namespace, answer: Answer) -> None:
    """`checkpoint verify`: the log's signature and the quorum of witnesses."""
    data = read_file(parsed.file)
    policy = policy_of(parsed)
    if policy is None:
        undecided(answer, signers(data))
        return
    describe(policy.cosigned(data), answer)


def consistency(parsed: argparse.Namespace, answer: Answer) -> None:
    """`consistency`: whether the log only grew from one checkpoint to another."""
    old, new = read_file(parsed.old), read_file(parsed.new)
    policy = policy_of(parsed)
    if policy is None:
        undecided(answer, signers(old) + signers(new))
        return
    checkpoints = [policy.cosigned(note).checkpoint for note in (old, new)]
    Log(open_location(parsed.log), policy).check_consistency(*checkpoints)
    answer.facts |= {"old_size": checkpoints[0].size, "new_size": checkpoints[1].size}
    answer.say(f"the first {checkpoints[0].size} of {checkpoints[1].size} leaves are the same")


def mirror_log(parsed: argparse.Namespace, answer: Answer) -> None:
    """`mirror`: fetches, checks and keeps a log."""
    fetch = open_location(parsed.url)
    policy = policy_of(parsed)
    if policy is None:
        undecided(answer, signers(fetch(CHECKPOINT)))
        return
    result = mirror(fetch, Path(parsed.folder), policy)
    describe(result.cosigned, answer)
    answer.say(f"{result.cosigned.checkpoint.size - result.previous_size} leaves are new; all were checked")
    for finding in result.findings:
        where = "" if finding.index is None else f"leaf {finding.index}: "
        answer.say(f"{'WRONG' if finding.serious else 'note'}: {where}{finding.text}")
    if any(finding.serious for finding in result.findings):
        answer.worst(NO)
    answer.facts["findings"] = [
        {"kind": f.kind, "index": f.index, "text": f.text, "serious": f.serious} for f in result.findings
    ]


def timestamp_verify(parsed: argparse.Namespace, answer: Answer) -> None:
    """`timestamp verify`: an RFC 3161 timestamp over a checkpoint, by `openssl ts`."""
    note, _ = read_file(parsed.checkpoint), read_file(parsed.answer)
    read_file(parsed.roots)
    program = shutil.which("openssl")
    if program is None:
        answer.worst(UNDECIDED)
        answer.say("not checked: there is no openssl here (Debian: apt-get install openssl)")
        return
    files = ("-data", parsed.checkpoint, "-in", parsed.answer, "-CAfile", parsed.roots)
    words = [program, "ts", "-verify", *files]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_OPENSSL_S)  # noqa: S603
    holds = done.returncode == 0 and "Verification: OK" in done.stdout + done.stderr
    answer.facts["holds"] = holds
    if not holds:
        answer.worst(NO)
        answer.say("the timestamp does not hold for this checkpoint and these roots")
        return
    answer.say("the timestamp is over this checkpoint; one of the roots vouches for its authority")
    said = subprocess.run(  # noqa: S603
        [program, "ts", "-reply", "-in", parsed.answer, "-text"], capture_output=True, text=True, timeout=_OPENSSL_S
    )
    times = [line for line in said.stdout.splitlines() if line.startswith("Time stamp: ")]
    answer.say(*times)
    answer.facts |= {"time": times[0].removeprefix("Time stamp: ") if times else None}
    policy = policy_of(parsed)
    if policy is None:
        undecided(answer, signers(note))
        return
    describe(policy.cosigned(note), answer)


def leaf_show(parsed: argparse.Namespace, answer: Answer) -> None:
    """`leaf show`: what an opening says, and whether it belongs to a leaf."""
    opening, _, _ = _answer_file(parsed.opening)
    if opening is None:
        raise Malformed("The file holds no opening.")
    leaf = opening.leaf()
    answer.facts |= {"opening": opening.to_json(), "leaf": leaf.hex(), "leaf_hash": leaf_hash(leaf).hex()}
    answer.say(f"leaf {leaf.hex()}", f"leaf hash {leaf_hash(leaf).hex()}")
    if not parsed.json:
        answer.say(*json.dumps(opening.to_json(), indent=2, sort_keys=True).split("\n"))
    if parsed.leaf:
        check_opening(opening, _leaf_file(parsed.leaf))
        answer.say("the opening belongs to the leaf")


def run_vectors(parsed: argparse.Namespace, answer: Answer) -> None:
    """`vectors`: the committed test vectors."""
    outcomes = vectors.run(Path(parsed.folder) if parsed.folder else vectors.default_folder())
    wrong = [outcome for outcome in outcomes if outcome.wrong is not None]
    answer.facts |= {"vectors": len(outcomes), "wrong": [f"{o.file}: {o.name}: {o.wrong}" for o in wrong]}
    answer.say(f"{len(outcomes) - len(wrong)} of {len(outcomes)} vectors as expected", *answer.facts["wrong"])
    answer.worst(NO if wrong else YES)


def _answer_file(name: str) -> tuple[Opening | None, list[bytes] | None, bytes | None]:
    """An opening alone, or the answer to GET /receipts/<id>: {"opening", "proof", "checkpoint", ..}."""
    content = canonical.read(read_file(name).strip())
    if not isinstance(content, dict):
        raise Malformed("The file holds no JSON object.")
    if "accounting" in content:
        return Opening.from_json(content), None, None
    opening, proof, note = (content.get(member) for member in ("opening", "proof", "checkpoint"))
    if not isinstance(note, str | None) or not isinstance(proof, list | None):
        raise Malformed("The answer's proof is not an array, or its checkpoint is not a string.")
    try:
        hashes = None if proof is None else [bytes.fromhex(item) for item in proof]
    except (TypeError, ValueError):
        raise Malformed("The answer's proof is not an array of hexadecimal hashes.") from None
    return Opening.from_json(opening) if opening else None, hashes, note.encode() if note else None


def _leaf_file(name: str) -> bytes:
    """A leaf as it is, or in hexadecimal."""
    data = read_file(name)
    try:
        return bytes.fromhex(data.decode("ascii").strip())
    except ValueError:
        return data


def _plain(text: str) -> str:
    """Text that cannot steer a terminal: what is not printable is shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    trusting = argparse.ArgumentParser(add_help=False, parents=[common])
    trusting.add_argument("--trust", metavar="POLICY", help="your C2SP tlog-policy file; keys come from it only")
    parser = argparse.ArgumentParser(
        prog="countenance-audit", description="Checks what a Countenance server says about its own use."
    )
    parser.add_argument("--version", action="version", version=__version__)
    top = parser.add_subparsers(required=True, metavar="COMMAND")

    def under(name: str, what: str) -> Any:
        return top.add_parser(name, help=what).add_subparsers(required=True, metavar="COMMAND")

    one = under("receipt", "receipt verify: is a receipt genuine, was its promise kept").add_parser(
        "verify", parents=[trusting], help="is a receipt genuine, was it kept"
    )
    one.add_argument("file", help="the text of the header x-countenance-receipt")
    one.add_argument("--request", metavar="FILE", help="the request's body")
    one.add_argument("--response", metavar="FILE", help="the response's body")
    one.add_argument("--opening", metavar="FILE", help="the answer to GET /receipts/<id>, or an opening alone")
    one.add_argument("--log", metavar="URL|DIR", help="look in the log, or a copy of it, as well")
    one.add_argument("--account", metavar="ID", help="yours: the call must be booked to it")
    one.add_argument("--access-key", metavar="ID", help="yours: the call must be booked to it")
    one.set_defaults(command=receipt_verify)
    one = under("checkpoint", "checkpoint verify: who signed a checkpoint").add_parser(
        "verify", parents=[trusting], help="who signed a checkpoint"
    )
    one.add_argument("file")
    one.set_defaults(command=checkpoint_verify)
    one = top.add_parser("consistency", parents=[trusting], help="did the log only grow between two checkpoints")
    one.add_argument("old")
    one.add_argument("new")
    one.add_argument("--log", metavar="URL|DIR", required=True, help="where the log's tiles are")
    one.set_defaults(command=consistency)
    one = top.add_parser("mirror", parents=[trusting], help="fetch, check and keep a log")
    one.add_argument("url", metavar="URL")
    one.add_argument("folder", metavar="DIR")
    one.set_defaults(command=mirror_log)
    one = under("timestamp", "timestamp verify: when was a checkpoint there at the latest").add_parser(
        "verify", parents=[trusting], help="when was a checkpoint there at the latest"
    )
    one.add_argument("answer", help="the authority's answer: /log/timestamp/<size>")
    one.add_argument("checkpoint", help="what was stamped: /log/timestamp/<size>/checkpoint")
    one.add_argument("--roots", metavar="PEM", required=True, help="certificates that vouch for the authority")
    one.set_defaults(command=timestamp_verify)
    one = under("leaf", "leaf show: what an opening says").add_parser(
        "show", parents=[common], help="what an opening says"
    )
    one.add_argument("opening")
    one.add_argument("--leaf", metavar="FILE", help="the leaf it should belong to, as bytes or in hexadecimal")
    one.set_defaults(command=leaf_show)
    one = top.add_parser("vectors", parents=[common], help="run the committed test vectors")
    one.add_argument("folder", nargs="?", help="where they are, if not in a checkout")
    one.set_defaults(command=run_vectors)
    cli_periods.add_to(top, common, trusting)
    cli_lookback.add_to(top, trusting)
    return parser
