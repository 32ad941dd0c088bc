"""Downloads from a publisher on this machine: whole, broken off, changed meanwhile, too large, and elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from countenance.fetching import FetchFailed, check_address, fetch

WHOLE = bytes(range(256)) * 400


class Publisher(BaseHTTPRequestHandler):
    """Answers with `body`; breaks off after `stop` bytes; knows ranges if `etag` is not empty."""

    body, etag, stop, status, location, length = WHOLE, '"1"', -1, 200, "", True
    asked: ClassVar[list[dict[str, str]]] = []

    def do_GET(self) -> None:
        kind = type(self)
        kind.asked.append({name.lower(): value for name, value in self.headers.items()})
        if kind.location:
            self.send_response(302)
            self.send_header("Location", kind.location)
            self.end_headers()
            return
        start = 0
        wanted = self.headers.get("Range", "")
        if wanted and kind.etag and self.headers.get("If-Range") == kind.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(kind.body):
                self.send_response(416)
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(kind.body) - 1}/{len(kind.body)}")
        else:
            self.send_response(kind.status)
        if kind.etag:
            self.send_header("ETag", kind.etag)
        if kind.length:
            self.send_header("Content-Length", str(len(kind.body) - start))
        self.end_headers()
        end = len(kind.body) if kind.stop < 0 else min(len(kind.body), start + kind.stop)
        self.wfile.write(kind.body[start:end])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[tuple[str, type[Publisher]]]:
    kind = type("One", (Publisher,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/list.csv", kind
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_file_comes_whole_and_nothing_is_left(publisher: tuple[str, type[Publisher]], tmp_path: Path) -> None:
    url, _ = publisher
    told: list[tuple[int, int | None]] = []
    assert fetch(url, tmp_path, progress=lambda done, total: told.append((done, total))) == WHOLE
    assert told[-1] == (len(WHOLE), len(WHOLE))
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_broke_off_goes_on_where_it_was(publisher: tuple[str, type[Publisher]], tmp_path: Path) -> None:
    url, kind = publisher
    kind.stop = 1_000
    for _ in range(2):
        with pytest.raises(FetchFailed, match="broke off"):
            fetch(url, tmp_path)
    kind.stop = -1
    assert fetch(url, tmp_path) == WHOLE
    assert [each.get("range") for each in kind.asked] == [None, "bytes=1000-", "bytes=2000-"]
    assert kind.asked[-1]["if-range"] == '"1"'


@pytest.mark.parametrize("etag", ['"2"', "", 'W/"1"'])
def test_of_another_file_nothing_is_gone_on_with(
    publisher: tuple[str, type[Publisher]], tmp_path: Path, etag: str
) -> None:
    url, kind = publisher
    kind.stop = 1_000
    with pytest.raises(FetchFailed):
        fetch(url, tmp_path)
    kind.stop, kind.etag, kind.body = -1, etag, WHOLE[::-1]
    assert fetch(url, tmp_path) == WHOLE[::-1]


def test_one_that_has_become_shorter_than_what_came_begins_anew(
    publisher: tuple[str, type[Publisher]], tmp_path: Path
) -> None:
    url, kind = publisher
    kind.stop = 1_000
    with pytest.raises(FetchFailed):
        fetch(url, tmp_path)
    kind.stop, kind.body = -1, b"short"
    assert fetch(url, tmp_path) == b"short"


@pytest.mark.parametrize("length", [True, False])
def test_a_file_that_is_too_large_is_refused(
    publisher: tuple[str, type[Publisher]], tmp_path: Path, length: bool
) -> None:
    url, kind = publisher
    kind.length = length
    with pytest.raises(FetchFailed, match="more than 1000"):
        fetch(url, tmp_path, max_bytes=1_000)
    assert list(tmp_path.iterdir()) == []


def test_another_answer_than_the_file_is_told(publisher: tuple[str, type[Publisher]], tmp_path: Path) -> None:
    url, kind = publisher
    kind.status = 404
    with pytest.raises(FetchFailed, match="404"):
        fetch(url, tmp_path)
    with pytest.raises(FetchFailed, match="could not be fetched"):
        fetch("http://127.0.0.1:9/x", tmp_path, timeout_s=1)


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://example.org/x", "https://a:b@example.org/", "x", "https://["]
)
def test_lists_come_over_tls(url: str) -> None:
    with pytest.raises(FetchFailed, match="HTTPS"):
        check_address(url)
    assert check_address("https://example.org/x")
