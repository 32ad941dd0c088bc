"""Downloads a file from its publisher: over TLS, resumable, and of a bearable size.

Knows HTTP as a client; does not know what is in the file: the entries of a list, or the weights of a model. A download
that broke off goes on where it was, if the publisher still has the same file (its ETag or Last-Modified, sent back as
If-Range: RFC 9110, section 13.1.5); otherwise it begins anew. Proxies are those of the environment, but for an address
on this machine none.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from countenance.errors import Error

MAX_BYTES: Final = 256 << 20
"""Of one file: OFAC's full XML has some 120 MB, and grows; the others stay below 40 MB."""
TIMEOUT_S: Final = 60.0
"""Without a byte."""
DEADLINE_S: Final = 1_800.0
"""For all of it; what is there by then is kept for the next time."""
_CHUNK: Final = 1 << 16
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_PARTIAL, _OK, _RANGE = 206, 200, 416


class FetchFailed(Error):
    """The file could not be had."""


class _OnlyTls(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from TLS to plain HTTP."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.HTTPError(newurl, code, "a redirect that leaves TLS", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(url: str) -> str:
    """The address. Raises FetchFailed when it is not one of HTTPS, or of this machine."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        usable = usable and bool(parts.hostname) and parts.username is None
    except ValueError:
        usable = False
    if not usable:
        raise FetchFailed(f"{url[:200]} is no address of HTTPS.", hint="files come over TLS: https://...")
    return url


def fetch(
    url: str,
    folder: Path,
    *,
    max_bytes: int = MAX_BYTES,
    timeout_s: float = TIMEOUT_S,
    deadline_s: float = DEADLINE_S,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> bytes:
    """The bytes at an address; parameters and errors as of `fetch_file`."""
    part = fetch_file(url, folder, max_bytes=max_bytes, timeout_s=timeout_s, deadline_s=deadline_s, progress=progress)
    data = part.read_bytes()
    forget(part)
    return data


def fetch_file(
    url: str,
    folder: Path,
    *,
    max_bytes: int = MAX_BYTES,
    timeout_s: float = TIMEOUT_S,
    deadline_s: float = DEADLINE_S,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Path:
    """The file at an address, whole and in `folder`. Whoever takes it calls `forget`.

    Args:
        folder: where the part that came so far is kept until it is whole.
        progress: told how many bytes are there, and of how many if that is known.

    Raises:
        FetchFailed: with what came so far kept for the next time.
    """
    check_address(url)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = hashlib.sha256(url.encode()).hexdigest()[:32]
    part, told = folder / f"{name}.part", folder / f"{name}.json"
    handlers: list[urllib.request.BaseHandler] = [_OnlyTls()]
    if urlsplit(url).hostname in _LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    try:
        _receive(opener, url, part, told, max_bytes, timeout_s, time.monotonic() + deadline_s, progress)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchFailed(
            f"{url} answers {error.code} {str(error.reason)[:100]}.", hint="is the address right?"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = str(getattr(error, "reason", None) or error or type(error).__name__)[:200]
        raise FetchFailed(f"{url} could not be fetched: {cause}.", hint="what came so far is kept: try again") from None
    return part


def forget(part: Path) -> None:
    """Remove what was fetched, and what is known of it."""
    _forget(part, part.with_suffix(".json"))


def _receive(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    told: Path,
    max_bytes: int,
    timeout_s: float,
    deadline: float,
    progress: Callable[[int, int | None], None],
) -> None:
    mark, start = _known(part, told)
    headers = {"accept-encoding": "identity", "user-agent": "countenance"}
    if start:
        headers |= {"range": f"bytes={start}-", "if-range": mark}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 -- check_address
    try:
        answer = opener.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code != _RANGE or not start:
            raise
        error.close()
        _forget(part, told)  # it has become shorter
        answer = opener.open(urllib.request.Request(url, headers={"accept-encoding": "identity"}), timeout=timeout_s)  # noqa: S310
    with answer:
        if answer.status == _PARTIAL and start:
            said = answer.headers.get("content-range", "")
            if not said.startswith(f"bytes {start}-"):
                _forget(part, told)
                raise ValueError("it sent another part than was asked for")
        elif answer.status == _OK:
            start = 0
        else:
            raise ValueError(f"it answers {answer.status}")
        mark = answer.headers.get("etag") or answer.headers.get("last-modified") or ""
        if mark.startswith("W/"):
            mark = answer.headers.get("last-modified") or ""  # a weak ETag promises nothing about bytes
        told.write_text(json.dumps({"url": url, "mark": mark}), "utf-8")
        length = answer.headers.get("content-length")
        total = start + int(length) if length is not None else None
        if total is not None and total > max_bytes:
            _forget(part, told)
            raise ValueError(f"it has {total} bytes, more than {max_bytes}")
        done = start
        with part.open("r+b" if start else "wb") as out:
            out.seek(start)
            out.truncate()
            while chunk := answer.read1(_CHUNK):
                done += len(chunk)
                if done > max_bytes:
                    out.close()
                    _forget(part, told)
                    raise ValueError(f"it has more than {max_bytes} bytes")
                out.write(chunk)
                progress(done, total)
                if time.monotonic() > deadline:
                    raise TimeoutError("it takes too long")
        if total is not None and done != total:
            raise ValueError(f"it broke off after {done} of {total} bytes")


def _known(part: Path, told: Path) -> tuple[str, int]:
    """What marks the file that a part is of, and the part's length; "" and 0 when it cannot be gone on with."""
    try:
        mark = json.loads(told.read_text("utf-8"))["mark"]
        size = part.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0
    return (mark, size) if mark and isinstance(mark, str) else ("", 0)


def _forget(part: Path, told: Path) -> None:
    part.unlink(missing_ok=True)
    told.unlink(missing_ok=True)
