"""The report: a page for people, of what a bundle was shown to prove; and forms for what no program can state.

Knows HTML; verifies nothing and reads nothing but what `evidence.verify` gave. Every value is escaped, nothing is
fetched, and the page has no script.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from countenance_audit import __version__
from countenance_audit.certificate import Certified
from countenance_audit.evidence import SELECTED, Entry, Verified
from countenance_audit.limits import UNDETECTABLE
from countenance_audit.usage import COUNTED, moment

MAX_ROWS: Final = 2_000
"""Calls printed one by one; all of them are counted."""
_STYLE: Final = (
    "body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#111}table{border-collapse:"
    "collapse;margin:1em 0;width:100%}th,td{border:1px solid #999;padding:.25em .6em;text-align:left;"
    "vertical-align:top;overflow-wrap:anywhere}th{background:#eee}.n{text-align:right}"
    ".yes{border-left:.4em solid #a40000;padding-left:.8em}.no{border-left:.4em solid #1a6d1a;padding-left:.8em}"
    "code{font-size:90%}@media print{body{margin:0}}"
)


def page(found: Verified, at_us: int) -> str:
    """The report as one HTML page.

    Args:
        at_us: when it was verified, microseconds since 1970.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Evidence from {_safe(found.origin)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Use of {_safe(found.origin)}, {_safe(found.first)} to {_safe(found.last)}</h1>",
        "<p>Everything on this page was verified by countenance-audit "
        f"{_safe(__version__)} at {_safe(moment(at_us))}, but for what is marked as stated by the operator.</p>",
        "<h2>Findings</h2>",
        *(_certified(each) for each in found.certificates),
        "<p>Nobody could tell, from this or any other file:</p>",
        f"<ul>{''.join(f'<li>{_safe(line)}</li>' for line in UNDETECTABLE.values())}</ul>",
        "<h2>What this rests on</h2>",
        _table(["", ""], _facts(found), 2),
        "<h2>Interruptions and what is wrong</h2>",
        "<p>From the public leaves of the whole period, and the times of the entries that are open here.</p>",
        _table(["Leaf", "What", ""], _findings(found), 3),
        "<h2>Timeline</h2>",
        f"<p>{_safe(SELECTED[0].upper() + SELECTED[1:])}.</p>",
        *_timeline(found),
        "<h2>Stated by the operator, not verified</h2>",
        *(_claimed(each) for each in found.certificates),
        "</body></html>",
        "",
    ]
    return "\n".join(parts)


def _certified(found: Certified) -> str:
    who = f"<code>{_safe(found.scheme)}:{_safe(found.value)}</code>"
    if found.is_absence:
        kind, said = (
            "no",
            f"{who} <strong>did not use</strong> the service, grade <strong>{_safe(found.worth)}</strong>",
        )
    else:
        calls = sum(each.usage.calls for each in found.used if each.usage)
        units = sum(each.usage.units for each in found.used if each.usage)
        kind = "yes"
        said = (
            f"{who} <strong>used</strong> the service on {len(found.used)} of {len(found.days)} days: {calls} calls, "
            f"{units} units, grade <strong>{_safe(found.worth)}</strong>"
        )
    days = [
        [
            each.root.day,
            str(each.root.revision),
            *(str(n) for n in (each.usage.calls, each.usage.units, each.usage.amount)),
        ]
        for each in found.used
        if each.usage
    ]
    table = _table(["Day", "Revision", "Calls", "Units", "Micro-units"], days, 1) if days else ""
    limits = "".join(f"<li>{_safe(line)}</li>" for line in found.limits)
    return (
        f'<div class="{kind}"><p>{said}. Known as of {_safe(moment(found.knowledge_us))}.</p>{table}'
        f"<p>It cannot prove more than this:</p><ul>{limits}</ul></div>"
    )


def _facts(found: Verified) -> list[list[str]]:
    tree = found.cosigned.checkpoint
    witnesses = ", ".join(f"{name} at {moment(at * 1_000_000)}" for name, at in found.cosigned.witnesses.items())
    return [
        ["Log", found.origin],
        ["Key", str(found.cosigned.key)],
        ["Checkpoint", f"{tree.size} leaves, root {tree.root.hex()}"],
        ["Cosigned by", witnesses or "nobody that the trust policy names"],
        ["Quorum of the trust policy", "met" if found.cosigned.satisfied else "NOT MET"],
        ["Leaves of the period", str(found.leaves)],
        ["Entries opened", str(len(found.entries))],
        ["Texts by hash", ", ".join(sorted(found.texts)) or "none"],
        ["Bundle made", f"{moment(found.made_us)} (stated by the operator)"],
    ]


def _findings(found: Verified) -> list[list[str]]:
    return [
        ["" if each.index is None else str(each.index), each.text, "WRONG" if each.serious else "to be judged"]
        for each in found.findings
    ]


def _timeline(found: Verified) -> list[str]:
    acts = [each for each in found.entries if each.accounting["kind"] == "act"]
    calls = [each for each in found.entries if each.accounting["kind"] in COUNTED]
    public = [[str(at), moment(each.time), each.kind, _short(dict(each.content))] for at, each in found.public]
    more = f"<p>{len(calls) - MAX_ROWS} more calls are in the bundle.</p>" if len(calls) > MAX_ROWS else ""
    return [
        "<h3>Public entries</h3>",
        _table(["Leaf", "Time", "Kind", "Content"], public, 4),
        "<h3>Acts</h3>",
        _table(["Leaf", "Time", "Act", "Account", "Details"], [_act(each) for each in acts], 5),
        "<h3>Calls</h3>",
        _table(
            ["Leaf", "Time", "Account", "Operation", "Purpose", "Answer", "Decided by", "Units"],
            [_call(each) for each in calls[:MAX_ROWS]],
            7,
        ),
        more,
    ]


def _act(each: Entry) -> list[str]:
    said = each.accounting
    details = {name: value for name, value in said["details"].items() if name != "seal"}
    return [str(each.index), moment(said["end"]), said["operation"], said["account"], _short(details)]


def _call(each: Entry) -> list[str]:
    said = each.accounting
    decision = said["decision"] or {"policies": []}
    return [
        str(each.index),
        moment(said["end"]),
        said["account"],
        said["operation"],
        said["purpose"],
        said["code"],
        ", ".join(decision["policies"]),
        str(said["units"]),
    ]


def _claimed(found: Certified) -> str:
    return f"<h3><code>{_safe(found.scheme)}:{_safe(found.value)}</code></h3>" + _table(
        ["", ""], [[name, _short(value)] for name, value in sorted(found.claimed.items())], 2
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    if not rows:
        return "<p>None.</p>"
    top = "".join(f"<th>{_safe(each)}</th>" for each in head) if any(head) else ""
    body = "".join(
        "<tr>"
        + "".join(f"<td{'' if at < left else ' class=n'}>{_safe(cell)}</td>" for at, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)[:2_000]


def _safe(text: str) -> str:
    """Escaped, and without what would steer a reader's eye: controls and bidirectional marks are shown as escapes."""
    return escape("".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text))


TEMPLATES: Final = {
    "custodian-declaration.txt": """DECLARATION OF THE CUSTODIAN OF RECORDS

1. I, ______________________ (name), am ______________________ (position) at ______________________ (organisation).
2. I am the custodian of the records of the face recognition service whose log is named ______________________.
3. The bundle with the SHA-256 ________________________________________________________________ was made on
   ______________ from these records by the command `countenance evidence export`.
4. The records were made at or near the time of what they record, by the service itself, in the course of its regular
   operation, and making them is a regular practice of that operation.
5. During the period the service ran on these machines: ______________________; other instances, and copies of its data,
   were: ______________________ (or: none that I know of).
6. Interruptions of the service, restores from backups and changes of keys in the period: ______________________.
7. I have no knowledge of use of the service that is not in these records, except: ______________________.

I declare under penalty of perjury that the foregoing is true and correct.

Place, date: ______________________    Signature: ______________________
""",
    "method.txt": """METHOD

1. The bundle was received from ______________________ on ______________ by ______________________; its SHA-256 is
   ________________________________________________________________.
2. The trust policy was written by ______________________. The log's key in it was obtained from ______________________,
   the witnesses' keys from ______________________, the auditor's key from ______________________.
3. countenance-audit version ________ was obtained from ______________________; its SHA-256 is ______________________.
4. On a machine without connection to the operator the command `countenance-audit verify BUNDLE --trust POLICY` was run;
   its output and exit status are attached.
5. The report was rendered by `countenance-audit report` from the same bundle and policy.
""",
    "limits.txt": """LIMITS

What was found is about one log. The verification prints, for each identifier, what it cannot prove. In particular:

- whether the grade is `asserted` (the operator could have left somebody out) or `audited` (an auditor opened every
  entry of each day): ______________________
- whether a monitor checked order and uniqueness of the maps: ______________________
- spans without witnesses, without heartbeat, or during which the service was stopped: ______________________
- identifiers that were asked for, and those that were not: ______________________
- who may have stood behind an account undeclared and undiscovered is not in the records.
""",
    "chain-of-custody.txt": """CHAIN OF CUSTODY

Item: evidence bundle, SHA-256 ________________________________________________________________, ________ bytes

| Date and time (UTC) | Released by (name, signature) | Received by (name, signature) | Purpose | SHA-256 compared |
|---|---|---|---|---|
|   |   |   |   |   |
|   |   |   |   |   |
""",
}
"""File name -> form."""
