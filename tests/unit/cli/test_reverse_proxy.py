"""The configurations of docs/operations/reverse-proxy.md, run by the proxies they are for.

Behind the proxy stands a server of the test's own that checks each signature with `wire.sigv4`, as the real one
does: what breaks behind a proxy is the signature.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from countenance.cli.credentials import Access
from countenance.cli.remote import Remote, RemoteError
from countenance.wire import sigv4
from countenance.wire.faults import Fault
from countenance.wire.http import HttpRequest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "operations" / "reverse-proxy.md").read_text(encoding="utf-8")

ACCESS_KEY, SECRET = "AKCNPROXYTEST0000000", "secret-of-the-test"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Backend(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hosts: list[str] = []
        self.sizes: list[int] = []


class Handler(BaseHTTPRequestHandler):
    server: Backend

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        now = datetime.now(UTC)
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        path, _, query = self.path.partition("?")
        request = HttpRequest("POST", path, query, headers, body, now)
        self.server.hosts.append(self.headers["Host"])
        self.server.sizes.append(len(body))
        try:
            sigv4.verify(request, sigv4.parse(request), SECRET, now)
            self.answer(200, b'{"CollectionIds": [], "FaceModelVersions": [], "FaceDetails": []}')
        except Fault as fault:
            self.answer(fault.status, f'{{"__type": "{fault.code}", "Message": "no"}}'.encode())

    def do_GET(self) -> None:
        self.answer(200, b"alive\n")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        return


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def nginx(folder: Path, port: int, upstream: str, cert: Path, key: Path) -> list[str]:
    server = (
        block("nginx")
        .replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
        .replace("/etc/ssl/certs/faces.example.org.pem", str(cert))
        .replace("/etc/ssl/private/faces.example.org.key", str(key))
        .replace("127.0.0.1:8080", upstream)
    )
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started by root, nginx becomes another user, who may not write into the test's folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{server}}}\n"
    )
    return ["-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]


def caddy(folder: Path, port: int, upstream: str, cert: Path, key: Path) -> list[str]:
    site = (
        block("caddy")
        .replace("faces.example.org {", f"https://localhost:{port} {{\n\ttls {cert} {key}\n\tbind 127.0.0.1")
        .replace("127.0.0.1:8080", upstream)
    )
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
    (folder / "Caddyfile").write_text(options + site)
    return ["run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile"]


@pytest.fixture(params=[nginx, caddy])
def proxied(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Backend, str]]:
    configure: Callable[..., list[str]] = request.param
    program = shutil.which(configure.__name__)
    if program is None:
        pytest.skip(f"{configure.__name__} is not installed, so its example cannot be run")
    backend = Backend()
    thread = threading.Thread(target=backend.serve_forever, args=(0.02,))
    thread.start()
    cert, key = certificate(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(cert))
    monkeypatch.setenv("HOME", str(tmp_path))
    port = free_port()
    words = configure(tmp_path, port, f"127.0.0.1:{backend.server_address[1]}", cert, key)
    with (tmp_path / "output").open("wb") as output:
        proxy = subprocess.Popen([program, *words], stdout=output, stderr=output)
    try:
        for _ in range(200):
            assert proxy.poll() is None, (tmp_path / "output").read_text()
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield backend, f"https://localhost:{port}"
    finally:
        proxy.terminate()
        proxy.wait()
        backend.shutdown()
        thread.join()
        backend.server_close()


def remote(url: str, secret: str = SECRET) -> Remote:
    return Remote(Access(url, "eu-west-2", ACCESS_KEY, secret, "the test"), attempts=1)


def status_of(url: str, cert: Any) -> int:
    import ssl

    try:
        with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=cert)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_signatures_hold_through_the_example(proxied: tuple[Backend, str], tmp_path: Path) -> None:
    backend, url = proxied
    assert remote(url).call("list_collections")["CollectionIds"] == []
    assert backend.hosts == [url.removeprefix("https://")], "Host must arrive with its port"
    # The largest image that a request may carry, in base64.
    remote(url).call("detect_faces", Image={"Bytes": bytes(5_242_880)})
    assert backend.sizes[-1] > 6_900_000
    with pytest.raises(RemoteError) as refused:
        remote(url, "another secret").call("list_collections")
    assert refused.value.code == "InvalidSignatureException"
    cert = tmp_path / "cert.pem"
    assert status_of(f"{url}/healthz", cert) == 200
    assert status_of(f"{url}/metrics", cert) == 404
    assert status_of(f"{url}/readyz", cert) == 404
    assert status_of(f"{url}/", cert) in (403, 404, 405)


def test_the_nginx_example_keeps_the_host_as_sent() -> None:
    assert "proxy_set_header Host $http_host;" in block("nginx")
    assert "header_up" not in block("caddy")
