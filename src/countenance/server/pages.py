"""One page of metrics out of those of several workers: each sample gets the label of its worker.

Knows Prometheus' text format as `prometheus_client` writes it; does not know what is measured. Whoever asks reaches one
worker or another; whichever it is asks the others on their sockets, and says of one that does not answer that it is
down.
"""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 2.0
"""For a worker's page; one takes milliseconds."""
_SAMPLE: Final = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (.*)$")


def fetched(path: Path) -> bytes | None:
    """The page of the worker that listens on a socket; None when it does not answer."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(PATIENCE_S)
            channel.connect(str(path))
            connection.sock = channel
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            return answer.read() if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def merged(pages: Mapping[int, bytes | None]) -> bytes:
    """Worker -> its page, None for one that is down: one page, the samples of each with the label `worker`."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for number, page in sorted(pages.items()):
        family = ""
        for line in (page or b"").decode().splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                if family not in heads:
                    heads[family], samples[family] = [], []
                is_first = not heads[family]
            if line.startswith("#"):
                if is_first or len(heads[family]) < 2:
                    heads[family].append(line)
                continue
            found = _SAMPLE.match(line)
            if found is not None:
                name, labels, value = found.groups()
                own = f'worker="{number}"'
                samples[family].append(f"{name}{{{labels + ',' if labels else ''}{own}}} {value}")
    lines = [
        "# HELP countenance_worker_up Whether a worker answers.",
        "# TYPE countenance_worker_up gauge",
        *(
            f'countenance_worker_up{{worker="{number}"}} {int(page is not None)}'
            for number, page in sorted(pages.items())
        ),
    ]
    for family, head in heads.items():
        lines += [*head, *samples[family]]
    return ("\n".join(lines) + "\n").encode()
