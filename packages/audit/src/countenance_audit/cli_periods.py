"""The commands about whole periods: monitor, audit, certificates, evidence bundles and the report.

Knows arguments and files; the checks are elsewhere. Statuses and answers as in `cli`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from countenance_audit import auditing, certificate, evidence, monitor, periodmap, rendering, vrf
from countenance_audit.answering import (
    NO,
    UNDECIDED,
    Answer,
    Usage,
    describe,
    policy_of,
    read_file,
    signers,
    undecided,
)
from countenance_audit.certificate import Certified
from countenance_audit.errors import Malformed, Unavailable
from countenance_audit.fetching import Fetch, open_location
from countenance_audit.leaf import Public
from countenance_audit.limits import UNDETECTABLE
from countenance_audit.mirror import Finding, Leaf, Log
from countenance_audit.monitor import FetchMap, map_path
from countenance_audit.note import SEED_BYTES, Signer
from countenance_audit.periods import Chain, Root
from countenance_audit.policy import Cosigned
from countenance_audit.tiles import CHECKPOINT
from countenance_audit.usage import DAY_US, moment

_MAX_STATED: Final = 300
"""Characters of a line about what the operator states; all of it is in the report and with --json."""
_MAX_PACK_BYTES: Final = 2 * 1024 * 1024 * 1024


def key_make(parsed: argparse.Namespace, answer: Answer) -> None:
    """`key make`: a key for a monitor or an auditor."""
    seed = os.urandom(SEED_BYTES)
    try:
        signer = Signer(parsed.name, seed)
        with os.fdopen(os.open(parsed.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(Signer.write(parsed.name, seed) + "\n")
    except OSError as failure:
        raise Usage(f"{parsed.file} cannot be written: {failure.strerror}.") from None
    answer.facts["key"] = str(signer.verifier)
    answer.say(f"the secret is in {parsed.file}; keep it", f"for trust policies: auditor NAME {signer.verifier}")


def monitor_log(parsed: argparse.Namespace, answer: Answer) -> None:
    """`monitor`: are all maps sorted, do they lead to their roots, are the roots one chain."""
    policy = policy_of(parsed)
    fetch = open_location(parsed.log)
    if policy is None:
        undecided(answer, signers(fetch(CHECKPOINT)))
        return
    log = Log(fetch, policy)
    cosigned = log.checkpoint()
    describe(cosigned, answer)
    found = monitor.monitor(log.leaves(cosigned.checkpoint), _maps(parsed.log))
    findings = (*log.findings, *found.findings)
    _tell(findings, answer)
    answer.facts |= {"maps": found.maps, "days": len(found.chain.heads)}
    answer.say(f"{found.maps} maps of {len(found.chain.heads)} days were rebuilt")
    if any(each.serious for each in findings):
        answer.worst(NO)
    elif parsed.key and found.chain.heads and _may_sign(cosigned, answer):
        said = monitor.statement(found.chain, cosigned.checkpoint, _now_us())
        _write(parsed.out, said.sign(_signer(parsed.key)))
        answer.say(f"the statement is in {parsed.out}: hand it to the operator, and to whoever relies on it")


def audit_period(parsed: argparse.Namespace, answer: Answer) -> None:
    """`period`: opens every leaf of a day, rebuilds its map and compares."""
    policy = policy_of(parsed)
    fetch = open_location(parsed.log)
    if policy is None:
        undecided(answer, signers(fetch(CHECKPOINT)))
        return
    signer = _signer(parsed.key) if parsed.key else None
    log = Log(fetch, policy)
    cosigned = log.checkpoint()
    describe(cosigned, answer)
    chain, leaves = Chain(), list[Leaf]()
    for leaf in log.leaves(cosigned.checkpoint):
        chain.add(leaf.index, leaf.content if isinstance(leaf.content, Public) else None)
        leaves.append(leaf)
    chain.end()
    pack = auditing.Pack.read(_unsealed(read_file(parsed.pack, _MAX_PACK_BYTES), signer))
    findings = [Finding(cheat, index, said, True) for index, cheat, said in chain.wrong]
    findings += [each for each in log.findings if each.serious]
    root = _root_of(chain, pack)
    more, _ = monitor.check_map(root, _maps(parsed.log))
    published = _maps(parsed.log)(root.day, root.revision)
    result = auditing.audit(root, chain, cosigned.checkpoint.origin, _part(leaves, chain, root), pack, published)
    findings += [*more, *result.findings]
    _tell(findings, answer)
    totals = result.totals
    answer.facts |= {
        "day": root.day,
        "revision": root.revision,
        "opened": result.opened,
        "identifiers": result.identifiers,
        "calls": totals.calls,
        "units": totals.units,
        "amount": totals.amount,
        "currency": totals.currency,
        "accounts": {each: {"calls": calls, "units": units} for each, (calls, units) in result.accounts.items()},
    }
    answer.say(
        f"{root.day}, revision {root.revision}: {result.opened} leaves opened, {result.identifiers} identifiers, "
        f"{totals.calls} calls, {totals.units} units, {totals.amount} micro-units {totals.currency}",
        *(f"account {each}: {calls} calls, {units} units" for each, (calls, units) in sorted(result.accounts.items())),
    )
    if any(each.serious for each in findings):
        answer.worst(NO)
        return
    answer.say("the published map is what the openings give, to the byte")
    if signer is not None and _may_sign(cosigned, answer):
        _write(parsed.out, auditing.statement(root, cosigned.checkpoint, _now_us()).sign(signer))
        answer.say(f"the statement is in {parsed.out}: hand it to the operator, and to whoever relies on it")


def certificate_verify(parsed: argparse.Namespace, answer: Answer) -> None:
    """`certificate verify`: what a certificate proves."""
    data = read_file(parsed.file)
    policy = policy_of(parsed)
    if policy is None:
        content, key, _ = certificate.read(data)
        undecided(answer, [f"{content['origin']} with key {key}", *signers(content["checkpoint"].encode())])
        return
    found = certificate.verify(data, policy, now_us=_at(parsed), max_age_us=_age(parsed))
    _certified(found, answer)
    _undetectable(answer)
    answer.facts["certificate"] = _facts(found)


def certificate_ics23(parsed: argparse.Namespace, answer: Answer) -> None:
    """`certificate ics23`: the proofs of a certificate for verifiers that know nothing of us."""
    content, _, _ = certificate.read(read_file(parsed.file))
    answer.facts["days"] = [
        _ics23(content, each, form, said)
        for each in content["days"]
        for form, said in zip(content["asked"], each["lookups"], strict=False)
    ]
    for each in answer.facts["days"]:
        answer.say(f"{each['day']} root {each['root']} key {each['key']}", f"{each['kind']} {each['proof']}")


def verify_bundle(parsed: argparse.Namespace, answer: Answer) -> None:
    """`verify`: everything in an evidence bundle, offline."""
    found = _bundle(parsed, answer)
    if found is None:
        return
    describe(found.cosigned, answer)
    answer.say(
        f"{found.leaves} leaves from {found.first} to {found.last} belong to the log; {len(found.entries)} entries "
        "were opened, and each opens its leaf"
    )
    answer.say("not checked: RFC 3161 timestamps, of which a bundle has none (`countenance-audit timestamp verify`)")
    _tell(found.findings, answer)
    if any(each.serious for each in found.findings):
        answer.worst(NO)
    for each in found.certificates:
        _certified(each, answer)
    answer.say("what the maps say of these identifiers is what the opened entries add up to", evidence.SELECTED)
    _undetectable(answer)
    answer.facts |= {
        "leaves": found.leaves,
        "entries": len(found.entries),
        "certificates": [_facts(each) for each in found.certificates],
    }


def report(parsed: argparse.Namespace, answer: Answer) -> None:
    """`report`: a page for people, from what was verified and nothing else."""
    found = _bundle(parsed, answer)
    if found is None:
        return
    if not all(each.satisfied for each in (found.cosigned, *(one.cosigned for one in found.certificates))):
        answer.worst(UNDECIDED)
        answer.say(certificate.UNWITNESSED)
    if any(each.serious for each in found.findings):
        answer.worst(NO)
        answer.say("the leaves of the period are not what they must be: the report says in what way")
    _write(parsed.out, rendering.page(found, _at(parsed)).encode())
    answer.say(f"the report is in {parsed.out}")


def templates(parsed: argparse.Namespace, answer: Answer) -> None:
    """`templates`: forms for what no program can state."""
    folder = Path(parsed.folder)
    for name, text in rendering.TEMPLATES.items():
        _write(str(folder / name), text.encode())
    answer.say(*(str(folder / name) for name in rendering.TEMPLATES))


def _bundle(parsed: argparse.Namespace, answer: Answer) -> evidence.Verified | None:
    data = read_file(parsed.file, _MAX_PACK_BYTES)
    policy = policy_of(parsed)
    if policy is None:
        undecided(answer, evidence.claimed_keys(data))
        return None
    return evidence.verify(data, policy, now_us=_at(parsed), max_age_us=_age(parsed))


def _certified(found: Certified, answer: Answer) -> None:
    who = f"{found.scheme}:{found.value}"
    if not found.cosigned.satisfied:
        answer.worst(UNDECIDED)
    if found.is_absence:
        answer.say(f"{who} DID NOT use the service from {found.first} to {found.last} ({found.worth})")
    else:
        days = ", ".join(each.root.day for each in found.used[:10])
        more = "" if len(found.used) <= 10 else f" and {len(found.used) - 10} more days"
        calls = sum(each.usage.calls for each in found.used if each.usage)
        units = sum(each.usage.units for each in found.used if each.usage)
        answer.say(f"{who} USED the service: {calls} calls, {units} units, on {days}{more} ({found.worth})")
        if found.is_weak:
            answer.say(f"found as {', '.join(found.found_as)}")
    answer.say(
        f"known as of {moment(found.knowledge_us)}, in a tree of {found.cosigned.checkpoint.size} leaves",
        *(f"cannot prove: {line}" for line in found.limits),
        *(f"stated by the operator: {name} {_plain(value)}" for name, value in found.claimed["coverage"].items()),
    )


def _undetectable(answer: Answer) -> None:
    """What no certificate shows, from this program's own list (docs/concepts/threat-model.md)."""
    answer.say("nobody could tell, from this or any other file:", *(f"  {each}" for each in UNDETECTABLE.values()))
    answer.facts["undetectable"] = list(UNDETECTABLE)


def _may_sign(cosigned: Cosigned, answer: Answer) -> bool:
    """Whether the reader's own witnesses saw the tree: what holds of a tree that only he was shown is not signed."""
    if not cosigned.satisfied:
        answer.say("nothing was signed: the quorum of the trust policy did not cosign this tree")
    return cosigned.satisfied


def _plain(value: Any) -> str:
    """A value of the operator's, on one line."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return text if len(text) <= _MAX_STATED else text[:_MAX_STATED] + " ..."


def _facts(found: Certified) -> dict[str, Any]:
    return {
        "scheme": found.scheme,
        "value": found.value,
        "asked": list(found.asked),
        "found_as": list(found.found_as),
        "from": found.first,
        "until": found.last,
        "claim": "absence" if found.is_absence else "use",
        "grade": found.grade,
        "weak": found.is_weak,
        "worth": found.worth,
        "monitored": found.is_monitored,
        "quorum": found.cosigned.satisfied,
        "known": moment(found.knowledge_us),
        "tree_size": found.cosigned.checkpoint.size,
        "days": {
            each.root.day: None if each.usage is None else each.usage.to_json() for each in found.days if each.usage
        },
        "limits": list(found.limits),
        "claimed": dict(found.claimed),
    }


def _ics23(content: dict[str, Any], day: dict[str, Any], form: str, said: dict[str, Any]) -> dict[str, str]:
    root = certificate.read_day_root(day)
    places = [periodmap.Place.from_json(each) for each in said["places"]]
    alpha = periodmap.alpha(content["origin"], root.day, content["identifier"]["scheme"], form)
    key = periodmap.key_of(vrf.verify(bytes.fromhex(root.vrf_key), alpha, bytes.fromhex(said["vrf"])))
    facts = {"day": root.day, "root": root.root, "key": key.hex()}
    if len(places) == 2:
        proof = periodmap.nonexistence_ics23(key, places, root.size)
        return facts | {"kind": "nonexistence", "proof": proof.hex()}
    return facts | {"kind": "existence", "value": places[0].value.hex(), "proof": places[0].ics23(root.size).hex()}


def _maps(location: str) -> FetchMap:
    fetch: Fetch = open_location(location, max_bytes=periodmap.MAX_FILE_BYTES)
    return lambda on, revision: fetch(map_path(on, revision))


def _root_of(chain: Chain, pack: auditing.Pack) -> Root:
    for each in chain.roots:
        if each.index == pack.root_index:
            return each
    raise Malformed(f"The log has no period root at leaf {pack.root_index}, which the pack is for.")


def _part(leaves: list[Leaf], chain: Chain, root: Root) -> Iterator[Leaf]:
    return islice(leaves, chain.begin_of(root), root.known)


def _unsealed(data: bytes, signer: Signer | None) -> bytes:
    if not data.startswith(auditing.SEALED):
        return data
    if signer is None:
        raise Unavailable("The pack is sealed to an auditor's key.", hint="give the key with --key")
    return auditing.unseal(data, signer.seed)


def _tell(findings: Any, answer: Answer) -> None:
    for each in findings:
        where = "" if each.index is None else f"leaf {each.index}: "
        answer.say(f"{'WRONG' if each.serious else 'note'}: {where}{each.text}")
    answer.facts["findings"] = [
        {"kind": each.kind, "index": each.index, "text": each.text, "serious": each.serious} for each in findings
    ]


def _signer(file: str) -> Signer:
    try:
        return Signer.parse(read_file(file).decode("ascii", "replace"))
    except Malformed as failure:
        raise Usage(f"{file} holds no signer key: {failure.message}", hint=failure.hint) from None


def _write(file: str | None, data: bytes) -> None:
    if file is None:
        sys.stdout.buffer.write(data)
        return
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_bytes(data)
    except OSError as failure:
        raise Usage(f"{file} cannot be written: {failure.strerror}.") from None


def _age(parsed: argparse.Namespace) -> int | None:
    return None if parsed.max_age_days == 0 else int(parsed.max_age_days) * DAY_US


def _at(parsed: argparse.Namespace) -> int:
    return _now_us() if parsed.at is None else int(parsed.at) * 1_000_000


def _now_us() -> int:
    return time.time_ns() // 1000


def add_to(top: Any, common: argparse.ArgumentParser, trusting: argparse.ArgumentParser) -> None:
    """Adds the commands to the parser of the program."""
    aged = argparse.ArgumentParser(add_help=False, parents=[trusting])
    aged.add_argument(
        "--max-age-days", type=_natural, default=7, metavar="N", help="refuse older knowledge; 0: any age (default: 7)"
    )
    aged.add_argument("--at", type=_natural, metavar="SECONDS", help="when it is relied on, since 1970; default: now")
    signing = argparse.ArgumentParser(add_help=False, parents=[trusting])
    signing.add_argument("--key", metavar="FILE", help="sign what was found right with this key (`key make`)")
    signing.add_argument("--out", metavar="FILE", help="where the statement goes (default: standard output)")

    def under(name: str, what: str) -> Any:
        return top.add_parser(name, help=what).add_subparsers(required=True, metavar="COMMAND")

    one = under("key", "key make: a key for a monitor or an auditor").add_parser(
        "make", parents=[common], help="a key for a monitor or an auditor"
    )
    one.add_argument("name", help="what it is called in trust policies, such as auditor.example")
    one.add_argument("file", help="where its secret goes; made with mode 0600")
    one.set_defaults(command=key_make)
    one = top.add_parser("monitor", parents=[signing], help="are all maps well-formed and one chain")
    one.add_argument("log", metavar="URL|DIR", help="the log, or a copy of it")
    one.set_defaults(command=monitor_log)
    one = top.add_parser("period", parents=[signing], help="open every leaf of a day and rebuild its map")
    one.add_argument("log", metavar="URL|DIR", help="the log, or a copy of it")
    one.add_argument("--pack", metavar="FILE", required=True, help="what the operator gave out for the day")
    one.set_defaults(command=audit_period)
    below = under("certificate", "certificate verify, certificate ics23")
    one = below.add_parser("verify", parents=[aged], help="what does a certificate prove")
    one.add_argument("file")
    one.set_defaults(command=certificate_verify)
    one = below.add_parser("ics23", parents=[common], help="its proofs as ICS-23 bytes")
    one.add_argument("file")
    one.set_defaults(command=certificate_ics23)
    one = top.add_parser("verify", parents=[aged], help="check an evidence bundle, offline")
    one.add_argument("file")
    one.set_defaults(command=verify_bundle)
    one = top.add_parser("report", parents=[aged], help="render a verified bundle as one HTML page")
    one.add_argument("file")
    one.add_argument("--out", metavar="FILE", required=True)
    one.set_defaults(command=report)
    one = top.add_parser("templates", parents=[common], help="forms for what no program can state")
    one.add_argument("folder", metavar="DIR")
    one.set_defaults(command=templates)


def _natural(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number")
    return int(text)
