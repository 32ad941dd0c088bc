"""The files under deploy/: that what they name is there and that they agree with each other and with the settings.

Whether containers start is not tried here: docs/operations/deployment.md says what was tried, and how.
"""

from __future__ import annotations

import configparser
import fnmatch
import importlib.util
import ipaddress
import re
import ssl
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from countenance.cli import main
from countenance.cli.output import Status
from countenance.config import Settings, SettingsError, describe, load

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETTINGS = {each.variable for each in describe()} | {"COUNTENANCE_CONFIG"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, comments dropped and lines joined."""
    text = "\n".join(line for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines() if line[:1] != "#")
    lines = [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def image_environment() -> dict[str, str]:
    (given,) = [rest for word, rest in instructions() if word == "ENV" and "COUNTENANCE" in rest]
    return dict(each.split("=", 1) for each in given.split())


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return document


def nodes() -> dict[str, dict[str, Any]]:
    return {name: each for name, each in compose()["services"].items() if "build" in each}


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / "countenance.service").read_text("utf-8"))
    return parser


def unit_environment() -> dict[str, str]:
    text = (DEPLOY / "countenance.service").read_text("utf-8")
    return dict(each.split("=", 1) for each in re.findall(r"^Environment=(.*)$", text, re.MULTILINE))


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def own(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("COUNTENANCE_")}


def pins(path: Path) -> dict[str, set[str]]:
    """NAME==VERSION with its marker, and its hashes."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=\S)", path.read_text("utf-8")):
        if not block.startswith("#"):
            head, *rest = re.split(r"\s*\\\n\s*", block.strip())
            found[head] = set(rest)
    return found


def test_what_the_image_copies_is_there_and_reaches_the_builder() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert ignored[0] == "*"
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from=" not in rest]
    sources = [source for each in copied for source in each]
    assert "src" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in let_in), source
    assert {each for each in let_in if each != "deploy/Dockerfile"} == set(sources)


def test_secrets_and_data_reach_no_layer() -> None:
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    for path in ("data/master.key", "deploy/secrets/master.key", ".venv/bin/python", ".git/config", "countenance.toml"):
        assert not any(path == each or path.startswith(f"{each}/") or fnmatch.fnmatch(path, each) for each in let_in)
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_everything_installed_into_the_image_is_held_to_a_hash_or_is_ours() -> None:
    installs = [
        each
        for word, rest in instructions()
        if word == "RUN"
        for each in rest.split("&&")
        if re.search(r"\bpip install\b", each)
    ]
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)
    assert not any(word in ("ADD",) or re.search(r"\b(curl|wget|apt-get)\b", rest) for word, rest in instructions())


def test_the_image_runs_as_nobody_in_particular() -> None:
    words = instructions()
    last_stage = words[max(n for n, (word, _) in enumerate(words) if word == "FROM") :]
    (user,) = [rest for word, rest in last_stage if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    (volume,) = [rest for word, rest in last_stage if word == "VOLUME"]
    assert volume == image_environment()["COUNTENANCE_DATA_DIR"]
    (check,) = [rest for word, rest in last_stage if word == "HEALTHCHECK"]
    assert any(word == "COPY" and rest.split()[-1] in check for word, rest in last_stage)
    (entry,) = [yaml.safe_load(rest) for word, rest in last_stage if word == "ENTRYPOINT"]
    (verb,) = [yaml.safe_load(rest) for word, rest in last_stage if word == "CMD"]
    assert entry[0] in PROJECT["project"]["scripts"]
    assert verb[0] in main.commands
    assert (f"{Settings().port}",) == tuple(rest for word, rest in last_stage if word == "EXPOSE")


def test_the_image_alone_refuses_to_serve_in_clear() -> None:
    given = own(image_environment())
    assert given.keys() <= SETTINGS
    with pytest.raises(SettingsError, match="there is no TLS"):
        load(given).settings.validate()
    load(given | {"COUNTENANCE_INSECURE_HTTP": "true"}).settings.validate()


def test_the_image_installs_what_the_tests_ran_with_and_no_more() -> None:
    everything, image = pins(ROOT / "requirements.lock"), pins(DEPLOY / "requirements.lock")
    assert image.keys() < everything.keys()
    for name, digests in image.items():
        assert digests
        assert digests == everything[name]
        assert all(each.startswith("--hash=sha256:") for each in digests)
    names = {re.split("==", each)[0] for each in image}
    wanted = {re.split(r"[>=\[; ]", each)[0] for each in PROJECT["project"]["dependencies"]} - {"countenance-audit"}
    assert wanted | {"setuptools", "psycopg-binary"} <= names
    assert not names & {"pytest", "mypy", "awscli", "boto3", "ruff"}


def test_compose_names_settings_and_secrets_that_are_there() -> None:
    script = (DEPLOY / "make-secrets.sh").read_text("utf-8")
    document = compose()
    for name, service in document["services"].items():
        assert own(service.get("environment", {})).keys() <= SETTINGS, name
        assert set(service.get("secrets", [])) <= document["secrets"].keys(), name
        assert not any(
            "password" in key.lower() and not key.endswith("_FILE") for key in service.get("environment", {})
        )
        for value in service.get("environment", {}).values():
            if str(value).startswith("/run/secrets/"):
                assert str(value).removeprefix("/run/secrets/") in service["secrets"], name
        url = urlsplit(service.get("environment", {}).get("COUNTENANCE_DATABASE", ""))
        assert url.password is None, name
        if url.query:
            assert parse_qs(url.query)["passfile"][0].removeprefix("/run/secrets/") in service["secrets"]
            assert url.hostname in document["services"]
            assert f"'{url.hostname}:5432:{url.path[1:]}:{url.username}:%s" in script
    for name, secret in document["secrets"].items():
        assert secret["file"] == f"./secrets/{name}"
        assert f"keep {name} " in script


def test_two_nodes_and_nothing_but_the_proxy_is_reached_from_outside() -> None:
    document = compose()
    assert len(nodes()) == 2
    volumes = [each["volumes"] for each in nodes().values()]
    assert volumes[0] != volumes[1]
    assert [name for name, each in document["services"].items() if "ports" in each] == ["proxy"]
    assert document["networks"]["inside"]["internal"] is True
    assert [name for name, each in document["services"].items() if "outside" in each["networks"]] == ["proxy"]
    for name, service in document["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
    for service in nodes().values():
        assert seconds(service["stop_grace_period"]) > Settings().shutdown_grace_s
        assert service["volumes"][0].endswith(f":{image_environment()['COUNTENANCE_DATA_DIR']}")
        load(own(image_environment()) | own(service["environment"])).settings.validate()
    assert int(document["services"]["postgres"]["image"].removeprefix("postgres:").split("-")[0]) >= 16


def test_only_the_proxy_is_believed_about_addresses() -> None:
    (subnet,) = [each["subnet"] for each in compose()["networks"]["inside"]["ipam"]["config"]]
    proxy = ipaddress.ip_address(compose()["services"]["proxy"]["networks"]["inside"]["ipv4_address"])
    assert proxy in ipaddress.ip_network(subnet)
    for service in nodes().values():
        assert ipaddress.ip_network(service["environment"]["COUNTENANCE_TRUSTED_PROXIES"]) == ipaddress.ip_network(
            proxy
        )


def test_the_proxy_goes_to_the_nodes_and_keeps_the_host() -> None:
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    assert re.findall(r"^\s+server (\S+?):(\d+)", text, re.MULTILINE) == [
        (name, str(Settings().port)) for name in nodes()
    ]
    blocks = re.findall(r"location [^{]*\{(.*?)\n        \}", text, re.DOTALL)
    passing = [block for block in blocks if "proxy_pass" in block]
    assert len(passing) == 2
    assert all("proxy_set_header Host $http_host;" in block for block in passing)
    assert "proxy_next_upstream" not in text
    secrets = set(re.findall(r"/run/secrets/([\w.]+)", text))
    assert secrets == set(compose()["services"]["proxy"]["secrets"])
    (size,) = re.findall(r"client_max_body_size (\d+)m;", text)
    assert int(size) * 1024**2 == Settings().max_body_bytes
    (listens,) = re.findall(r"listen (\d+) ssl;", text)
    assert compose()["services"]["proxy"]["ports"][0].endswith(f":{listens}")


def test_the_unit_starts_a_command_that_exists() -> None:
    service = unit()["Service"]
    program, *words = service["ExecStart"].split()
    assert Path(program).name in PROJECT["project"]["scripts"]
    assert main.get_command(None, words[0]) is not None  # type: ignore[arg-type]
    assert own(unit_environment()).keys() <= SETTINGS
    assert unit_environment()["COUNTENANCE_DATA_DIR"] == f"/var/lib/{service['StateDirectory']}"
    assert seconds(service["TimeoutStopSec"]) > Settings().shutdown_grace_s
    assert int(service["RestartPreventExitStatus"]) == Status.USAGE
    assert re.search(rf"^u {service['User']} ", (DEPLOY / "countenance.sysusers").read_text("utf-8"), re.MULTILINE)


def test_the_unit_promises_what_the_server_does() -> None:
    """Type=notify only when something tells systemd; no W^X, as OpenVINO writes machine code."""
    service = unit()["Service"]
    tells = any("NOTIFY_SOCKET" in path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert (service["Type"] == "notify") == tells
    assert "MemoryDenyWriteExecute" not in service
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service["UMask"] == "0077"
    assert service["StateDirectoryMode"] == "0700"


class Answering(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        return


@pytest.fixture
def answering() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answering,), {})) as server:
        yield server
        if any(each.name == "answering" for each in threading.enumerate()):
            server.shutdown()  # waits for ever for what was never started


def alive(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # http_proxy: nothing listens there, and the check must not ask it.
    return subprocess.run(
        [sys.executable, "-S", str(DEPLOY / "healthcheck.py"), *words],
        env={"http_proxy": "http://127.0.0.1:9", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start(server: ThreadingHTTPServer) -> str:
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True, name="answering").start()
    return str(server.server_address[1])


def test_the_health_check_asks_the_server(answering: ThreadingHTTPServer) -> None:
    port = start(answering)
    assert alive(COUNTENANCE_PORT=port).returncode == 0
    assert alive(f"http://127.0.0.1:{port}/").returncode == 0
    answering.RequestHandlerClass.status = 503  # type: ignore[attr-defined]
    refused = alive(COUNTENANCE_PORT=port)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "503" in refused.stderr


def test_the_health_check_says_when_nobody_listens() -> None:
    nobody = alive(COUNTENANCE_PORT="1")
    assert nobody.returncode == 1
    assert "not alive" in nobody.stderr
    assert "Traceback" not in alive("nonsense").stderr


def test_the_health_check_takes_a_certificate_made_out_to_the_outside_name(
    answering: ThreadingHTTPServer, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "faces.example.org")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "tls.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    answering.socket = context.wrap_socket(answering.socket, server_side=True)
    port = start(answering)
    assert alive(COUNTENANCE_PORT=port, COUNTENANCE_TLS_CERT="/etc/tls.pem").returncode == 0
    assert alive(COUNTENANCE_PORT=port).returncode == 1


def test_the_script_that_makes_secrets_is_a_shell_script() -> None:
    path = DEPLOY / "make-secrets.sh"
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", str(path)], check=False, capture_output=True).returncode == 0
    assert "umask 077" in path.read_text("utf-8")


def test_the_health_check_needs_nothing_of_ours() -> None:
    text = (DEPLOY / "healthcheck.py").read_text("utf-8")
    names = set(re.findall(r"^import ([\w]+)", text, re.MULTILINE))
    assert names <= sys.stdlib_module_names
    assert all(importlib.util.find_spec(name) is not None for name in names)
