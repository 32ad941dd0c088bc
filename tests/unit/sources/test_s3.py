"""S3Source against an HTTP server of the test's own that plays well-behaved and ill-behaved endpoints."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from countenance.sources import ObjectNotAvailable, ObjectTooLarge, S3Source, SourceUnavailable

ACCOUNT = "123456789012"
MAX_BYTES = 2_000_000
SECRET = "c2VjcmV0LW9mLXRoZS10ZXN0"


@dataclass
class Endpoint:
    """What the server saw, and what it does next."""

    answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: send(handler, 200, b"image")
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def source(self, **changes: object) -> S3Source:
        settings: dict[str, object] = {
            "endpoint": self.url,
            "region": "eu-central-1",
            "access_key": "AKIAEXAMPLE",
            "secret_key": SECRET,
            "timeout_s": 0.4,
            "max_bytes": MAX_BYTES,
        }
        return S3Source(**(settings | changes))  # type: ignore[arg-type]


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def fail(status: int, code: str) -> Callable[[BaseHTTPRequestHandler], None]:
    body = f"<Error><Code>{code}</Code><Message>inner address 10.1.2.3</Message></Error>".encode()
    return lambda handler: send(handler, status, body)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            try:
                state.answer(self)
            except OSError:
                self.close_connection = True

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_object_comes_with_a_signed_request(endpoint: Endpoint) -> None:
    assert endpoint.source().fetch(ACCOUNT, "photos", "2026/ü b+c.jpg", None) == b"image"
    ((method, path, headers),) = endpoint.seen
    assert (method, path) == ("GET", "/photos/2026/%C3%BC%20b%2Bc.jpg")
    assert re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/\d{8}/eu-central-1/s3/aws4_request, "
        r"SignedHeaders=[a-z0-9;-]*host[a-z0-9;-]*, Signature=[0-9a-f]{64}",
        headers["authorization"],
    )
    assert SECRET not in str(endpoint.seen)


def test_the_version_asked_for_is_asked_for(endpoint: Endpoint) -> None:
    endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", "v/1&x=2")
    path = urlsplit(endpoint.seen[0][1])
    assert path.path == "/photos/a.jpg"
    assert parse_qs(path.query) == {"versionId": ["v/1&x=2"]}


def test_a_bucket_can_be_part_of_the_host(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    # Not every system resolves names below localhost (RFC 6761 lets it choose).
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, *rest, **named: resolve("127.0.0.1", *rest, **named))
    port = endpoint.url.rpartition(":")[2]
    source = endpoint.source(endpoint=f"http://localhost:{port}", addressing="virtual")
    source.fetch(ACCOUNT, "photos", "a.jpg", None)
    assert endpoint.seen[0][1] == "/a.jpg"
    assert endpoint.seen[0][2]["host"] == f"photos.localhost:{port}"


def test_the_environment_and_the_users_files_do_not_count(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile other]\nregion = xx\ns3 =\n  use_accelerate_endpoint = true\n")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIASOMEBODYS",
        "AWS_SECRET_ACCESS_KEY": "theirs",
        "AWS_SESSION_TOKEN": "token",
        "AWS_PROFILE": "other",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_DEFAULT_REGION": "us-west-1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "7",
        "AWS_USE_FIPS_ENDPOINT": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None) == b"image"
    headers = endpoint.seen[0][2]
    assert "AKIAEXAMPLE" in headers["authorization"]
    assert "eu-central-1" in headers["authorization"]
    assert "x-amz-security-token" not in headers


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "NoSuchKey"),
        (404, "NoSuchBucket"),
        (404, "NoSuchVersion"),
        (403, "AccessDenied"),
        (403, "InvalidObjectState"),
        (400, "InvalidArgument"),
        (400, "InvalidBucketName"),
        (405, "MethodNotAllowed"),
    ],
)
def test_an_object_the_endpoint_does_not_give_is_not_available(endpoint: Endpoint, status: int, code: str) -> None:
    endpoint.answer = fail(status, code)
    with pytest.raises(ObjectNotAvailable) as refused:
        endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None)
    assert refused.value.hint == f"the endpoint answered {status} {code}"
    assert "10.1.2.3" not in str(refused.value) + str(refused.value.hint)
    assert len(endpoint.seen) == 1, "a refusal must not be asked for twice"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (503, "SlowDown"),
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "RequestTimeTooSkewed"),
        (400, "AuthorizationHeaderMalformed"),
        (429, "TooManyRequests"),
    ],
)
def test_trouble_between_us_and_the_endpoint_is_not_blamed_on_the_object(
    endpoint: Endpoint, status: int, code: str
) -> None:
    endpoint.answer = fail(status, code)
    with pytest.raises(SourceUnavailable) as failed:
        endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None)
    assert "10.1.2.3" not in str(failed.value) + str(failed.value.hint)
    assert 1 <= len(endpoint.seen) <= 2, "retries are bounded"


def test_an_error_that_is_no_xml_leaks_nothing(endpoint: Endpoint) -> None:
    endpoint.answer = lambda handler: send(handler, 502, b"<html>proxy at 10.1.2.3 says no</html>")
    with pytest.raises(SourceUnavailable) as failed:
        endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None)
    assert "10.1.2.3" not in str(failed.value) + str(failed.value.hint)


def test_one_failure_is_tried_again(endpoint: Endpoint) -> None:
    def flaky(handler: BaseHTTPRequestHandler) -> None:
        if len(endpoint.seen) == 1:
            fail(500, "InternalError")(handler)
        else:
            send(handler, 200, b"image")

    endpoint.answer = flaky
    assert endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None) == b"image"
    assert len(endpoint.seen) == 2


def test_the_largest_object_is_had_and_an_announced_larger_one_is_not_read(endpoint: Endpoint) -> None:
    endpoint.answer = lambda handler: send(handler, 200, b"x" * MAX_BYTES)
    assert len(endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None)) == MAX_BYTES
    endpoint.answer = lambda handler: send(handler, 200, b"", length=10**15)
    with pytest.raises(ObjectTooLarge) as refused:
        endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None)
    assert refused.value.max_bytes == MAX_BYTES


def test_an_endless_object_of_unknown_length_is_cut_off(endpoint: Endpoint) -> None:
    sent = 0
    over = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        try:
            while sent < 200_000_000:
                handler.wfile.write(b"x" * 100_000)
                sent += 100_000
        finally:
            handler.close_connection = True
            over.set()

    endpoint.answer = endless
    with pytest.raises(ObjectTooLarge):
        endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None)
    assert over.wait(10)
    assert sent < 200_000_000, "the connection must be dropped, not drained"


def test_an_object_that_ends_early_is_not_taken_for_whole(endpoint: Endpoint) -> None:
    def truncated(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, b"half", length=8)
        handler.close_connection = True

    endpoint.answer = truncated
    with pytest.raises(SourceUnavailable):
        endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None)


def test_an_endpoint_that_falls_silent_is_given_up(endpoint: Endpoint) -> None:
    release = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, b"half", length=8)
        release.wait(10)

    endpoint.answer = silent
    with pytest.raises(SourceUnavailable):
        endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None)
    release.set()


def test_a_trickle_of_bytes_is_given_up_although_each_comes_in_time(endpoint: Endpoint) -> None:
    sent = 0

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        send(handler, 200, b"", length=1000)
        for _ in range(1000):
            time.sleep(0.02)
            handler.wfile.write(b"x")
            sent += 1

    endpoint.answer = trickle
    with pytest.raises(SourceUnavailable) as failed:
        endpoint.source(timeout_s=0.1).fetch(ACCOUNT, "photos", "a.jpg", None)
    assert failed.value.hint == "the object's bytes came too slowly"
    assert sent < 1000


def test_nobody_at_the_endpoint_is_an_outage(endpoint: Endpoint) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        source = endpoint.source(endpoint=f"http://127.0.0.1:{reserved.getsockname()[1]}")
        with pytest.raises(SourceUnavailable) as failed:
            source.fetch(ACCOUNT, "photos", "a.jpg", None)
    assert "127.0.0.1" not in str(failed.value) + str(failed.value.hint)


@pytest.mark.parametrize(
    ("bucket", "name"),
    [
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/x", "a.jpg"),
        ("photos--use1-az4--x-s3", "a.jpg"),
        ("photos--op-s3", "a.jpg"),
        ("..", "others/a.jpg"),
        ("photos", "../others/a.jpg"),
        ("photos", "x/../../others/a.jpg"),
        ("photos", "a\0.jpg"),
        ("photos", ""),
        ("photos", "ü" * 513),
        ("photos", "\udcff"),
        ("ph/otos", "a.jpg"),
        ("photos?versionId=1", "a.jpg"),
    ],
)
def test_names_that_reach_beyond_the_bucket_are_never_sent(endpoint: Endpoint, bucket: str, name: str) -> None:
    with pytest.raises(ObjectNotAvailable):
        endpoint.source().fetch(ACCOUNT, bucket, name, None)
    assert endpoint.seen == []


def test_a_redirect_to_elsewhere_is_not_followed(endpoint: Endpoint) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", "http://127.0.0.1:9/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    endpoint.answer = redirect
    with pytest.raises(SourceUnavailable):
        endpoint.source().fetch(ACCOUNT, "photos", "a.jpg", None)


def test_threads_share_one_source(endpoint: Endpoint) -> None:
    endpoint.answer = lambda handler: send(handler, 200, handler.path.encode())
    source = endpoint.source(timeout_s=5.0)
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(source.fetch(ACCOUNT, "photos", f"{n}.jpg", None)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [f"/photos/{n}.jpg".encode() for n in range(8)]
