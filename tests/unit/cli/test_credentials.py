"""Which key and endpoint a verb uses, and the lines of `key env`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import Result

from countenance.cli.credentials import Access, CredentialsError, find, from_folder

Invoke = Callable[..., Result]

CREDENTIALS = "[default]\naws_access_key_id = AKCNFOLDER\naws_secret_access_key = se/cr+et=\n"
CONFIG = (
    "[default]\nregion = eu-west-2\nservices = countenance\n\n"
    "[services countenance]\nrekognition =\n  endpoint_url = http://127.0.0.1:8080\n"
)
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAENV",
    "AWS_SECRET_ACCESS_KEY": "env-secret",
    "AWS_ENDPOINT_URL_REKOGNITION": "http://env.example",
    "AWS_REGION": "us-east-1",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "credentials").write_text(CREDENTIALS)
    (folder / "config").write_text(CONFIG)
    return folder


def found(
    folder: Path,
    environ: Mapping[str, str] | None = None,
    endpoint_url: str | None = None,
    region: str | None = None,
    named: bool = False,
) -> Access:
    return find(folder, environ or {}, endpoint_url=endpoint_url, region=region, folder_is_named=named)


def test_the_folder_beats_the_environment_and_the_command_line_beats_both(folder: Path) -> None:
    access = found(folder, ENVIRONMENT)
    assert (access.access_key_id, access.secret_access_key) == ("AKCNFOLDER", "se/cr+et=")
    assert (access.endpoint_url, access.region) == ("http://127.0.0.1:8080", "eu-west-2")
    access = found(folder, ENVIRONMENT, "https://faces.example", "eu-north-1")
    assert (access.endpoint_url, access.region) == ("https://faces.example", "eu-north-1")
    assert access.access_key_id == "AKCNFOLDER"


def test_without_a_folder_the_environment_counts(tmp_path: Path) -> None:
    access = found(tmp_path, ENVIRONMENT)
    assert (access.access_key_id, access.endpoint_url) == ("AKIAENV", "http://env.example")
    assert access.region == "us-east-1"
    plain = {**ENVIRONMENT, "AWS_ENDPOINT_URL": "http://plain.example"}
    del plain["AWS_ENDPOINT_URL_REKOGNITION"]
    assert found(tmp_path, plain).endpoint_url == "http://plain.example"


def test_there_is_no_endpoint_by_default(tmp_path: Path) -> None:
    keys = {name: ENVIRONMENT[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    with pytest.raises(CredentialsError, match="address is not known"):
        found(tmp_path, keys)


def test_a_folder_that_was_named_must_have_the_key(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="is missing"):
        found(tmp_path, ENVIRONMENT, named=True)
    with pytest.raises(CredentialsError, match="AWS_ACCESS_KEY_ID is not set"):
        found(tmp_path)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://a b", "http://k:s@host", "http://host/path"])
def test_an_endpoint_is_an_address(folder: Path, url: str) -> None:
    with pytest.raises(CredentialsError, match="not the address"):
        found(folder, endpoint_url=url)


@pytest.mark.parametrize("text", ["nonsense", "[default]\n", "[other]\naws_access_key_id = a\n", "[default\n"])
def test_a_broken_credentials_file_is_told_without_its_content(folder: Path, text: str) -> None:
    (folder / "credentials").write_text(text)
    with pytest.raises(CredentialsError) as refused:
        found(folder, ENVIRONMENT)
    assert str(folder / "credentials") in str(refused.value)


def test_an_endpoint_of_the_profile_itself_counts_too(folder: Path) -> None:
    (folder / "config").write_text("[default]\nregion = x-1\nendpoint_url = http://profile.example\n")
    access = from_folder(folder)
    assert access is not None
    assert (access.endpoint_url, access.region) == ("http://profile.example", "x-1")


def test_the_secret_is_in_no_repr(folder: Path) -> None:
    assert "se/cr+et=" not in repr(found(folder))


def test_key_env_needs_no_server_and_survives_a_shell(invoke: Invoke, folder: Path) -> None:
    (folder / "credentials").write_text(CREDENTIALS.replace("se/cr+et=", "se'cr $(et)"))
    lines = invoke("key", "env", "--data", folder).stdout
    script = f"{lines}\nenv"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_SESSION_TOKEN": "amazons",
        "AWS_PROFILE": "other",
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    }
    seen = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
    after = dict(line.partition("=")[::2] for line in seen.splitlines() if line.startswith("AWS_"))
    assert after == {
        "AWS_ACCESS_KEY_ID": "AKCNFOLDER",
        "AWS_SECRET_ACCESS_KEY": "se'cr $(et)",
        "AWS_DEFAULT_REGION": "eu-west-2",
        "AWS_REGION": "eu-west-2",
        "AWS_ENDPOINT_URL_REKOGNITION": "http://127.0.0.1:8080",
    }
    answer = json.loads(invoke("key", "env", "--data", folder, "--json").stdout)
    assert answer["export"]["AWS_ACCESS_KEY_ID"] == "AKCNFOLDER"
    assert "AWS_SESSION_TOKEN" in answer["unset"]


def test_key_env_never_passes_on_a_key_of_the_environment(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    result = invoke("key", "env")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "env-secret" not in result.stderr


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999", "http://:8080", "http://host:0"])
def test_an_address_that_cannot_be_is_refused_before_anything_is_sent(folder: Path, url: str) -> None:
    with pytest.raises(CredentialsError, match="is not the address of a server"):
        found(folder, endpoint_url=url)


@pytest.mark.parametrize("region", ["bad region", "eu-west-2/x", "a" * 64])
def test_a_region_that_cannot_be_is_refused(folder: Path, region: str) -> None:
    with pytest.raises(CredentialsError, match="is not the name of a region"):
        found(folder, region=region)
