"""Settings: where values come from, which are refused, and that a secret is never shown."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from countenance.config import (
    Settings,
    SettingsError,
    describe,
    is_loopback,
    load,
)
from countenance.config.settings import ATTRIBUTES


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_need_nothing() -> None:
    loaded = load({})
    loaded.settings.validate()
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == {each.name for each in dataclasses.fields(Settings)}


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default() -> None:
    Path("countenance.toml").write_text("port = 1\nhost = '127.0.0.2'\nregion = 'eu-north-1'\n")
    loaded = load({"COUNTENANCE_PORT": "2", "COUNTENANCE_HOST": "127.0.0.3"}, {"port": 3, "host": None})
    assert (loaded.settings.port, loaded.settings.host) == (3, "127.0.0.3")
    assert loaded.settings.region == "eu-north-1"
    assert loaded.origins["port"] == "command line"
    assert loaded.origins["host"] == "environment COUNTENANCE_HOST"
    assert loaded.origins["region"] == "countenance.toml"
    assert loaded.origins["runtime"] == "default"


def test_the_settings_file_can_be_named_and_must_then_exist(tmp_path: Path) -> None:
    Path("countenance.toml").write_text("port = 1\n")
    other = tmp_path / "etc" / "server.toml"
    with pytest.raises(SettingsError, match="cannot be read"):
        load({"COUNTENANCE_CONFIG": str(other)})
    other.parent.mkdir()
    other.write_text("port = 2\ndata_dir = 'store'\ntls_key = '/abs/key.pem'\n")
    settings = load({"COUNTENANCE_CONFIG": str(other)}).settings
    assert settings.port == 2
    assert settings.data_dir == other.parent / "store", "a path in a file is relative to the file"
    assert settings.tls_key == Path("/abs/key.pem")
    assert load({}, toml_path=other).settings.port == 2


def test_every_setting_can_come_from_the_environment_and_from_a_file() -> None:
    samples: dict[str, tuple[str, str, object]] = {
        "data_dir": ("store", '"store"', Path("store")),
        "insecure_http": ("yes", "true", True),
        "flip": ("off", "false", False),
        "cors_origins": ("https://a.example, https://b.example", '["https://a.example", "https://b.example"]',
                         ("https://a.example", "https://b.example")),
        "inference_workers": ("3", "3", 3),
        "body_timeout_s": ("2.5", "2.5", 2.5),
        "runtime": ("openvino", '"openvino"', "openvino"),
        "s3_endpoint": ("http://s3.example:9000", '"http://s3.example:9000"', "http://s3.example:9000"),
    }  # fmt: skip
    for name, (text, toml, value) in samples.items():
        assert getattr(load({f"COUNTENANCE_{name.upper()}": text}).settings, name) == value
        Path("one.toml").write_text(f"{name} = {toml}\n")
        assert getattr(load({}, toml_path=Path("one.toml").absolute()).settings, name) in (
            value,
            Path("store").absolute(),
        )


def test_auto_is_none_and_an_empty_variable_means_not_set() -> None:
    settings = load({"COUNTENANCE_FLIP": "auto", "COUNTENANCE_INFERENCE_WORKERS": "auto"}).settings
    assert (settings.flip, settings.inference_workers) == (None, None)
    assert load({"COUNTENANCE_S3_ENDPOINT": ""}).settings.s3_endpoint is None
    with pytest.raises(SettingsError):
        load({"COUNTENANCE_PORT": ""})


def test_attributes_are_all_on_unless_the_list_says_which() -> None:
    assert load({}).settings.attributes == ATTRIBUTES
    assert load({"COUNTENANCE_ATTRIBUTES": ""}).settings.attributes == ()
    assert load({"COUNTENANCE_ATTRIBUTES": "smile, landmarks"}).settings.attributes == ("smile", "landmarks")
    with pytest.raises(SettingsError, match="attributes holds 'age'") as caught:
        load({"COUNTENANCE_ATTRIBUTES": "age"}).settings.validate()
    assert "age_range" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("COUNTENANCE_PROT", "did you mean COUNTENANCE_PORT?"),
        ("COUNTENANCE_MAX_BODY_BYTE", "did you mean COUNTENANCE_MAX_BODY_BYTES?"),
        ("COUNTENANCE_port", "did you mean COUNTENANCE_PORT?"),
        ("COUNTENANCE_ZZZZ", "`countenance config show` lists every setting"),
        ("COUNTENANCE_", "`countenance config show` lists every setting"),
    ],
)
def test_an_unknown_variable_is_an_error(variable: str, hint: str) -> None:
    with pytest.raises(SettingsError, match="is not a setting") as refused:
        load({variable: "1"})
    assert refused.value.hint == hint
    assert variable in refused.value.message


def test_variables_of_others_and_of_the_test_suite_are_left_alone() -> None:
    assert load({"COUNTENANCE_TEST_DATA": "/somewhere", "PORT": "1", "AWS_PROFILE": "x"}).settings == Settings()


def test_an_unknown_key_in_the_file_is_an_error() -> None:
    for text in ("prot = 1", "[server]\nport = 1", "Port = 1", '"port " = 1'):
        Path("countenance.toml").write_text(text)
        with pytest.raises(SettingsError, match="is not a setting"):
            load({})


@pytest.mark.parametrize("text", ["port = ", "port = 1\nport = 2", "\ufeffport = 1", "port"])
def test_a_file_that_is_not_toml_is_an_error(text: str) -> None:
    Path("countenance.toml").write_text(text)
    with pytest.raises(SettingsError, match="not TOML"):
        load({})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "65536"), ("port", "-1"), ("port", "8080.0"), ("port", "0x50"), ("port", "٣"),
        ("port", "9" * 5000), ("runtime", "Auto"), ("runtime", "tensorrt"), ("insecure_http", "maybe"),
        ("insecure_http", ""), ("body_timeout_s", "nan"), ("body_timeout_s", "inf"), ("body_timeout_s", "0"),
        ("body_timeout_s", "soon"), ("max_body_bytes", "10"), ("inference_workers", "0"),
        ("log_level", "trace"), ("port", " 80"), ("host", ""), ("s3_addressing", "dns"), ("flip", "maybe"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_an_error(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} from environment COUNTENANCE_{name.upper()} cannot be"):
        load({f"COUNTENANCE_{name.upper()}": text})


@pytest.mark.parametrize(
    "text",
    ['port = "8080"', "port = true", "insecure_http = 1", 'insecure_http = "yes"', "host = 1", "data_dir = 5",
     'cors_origins = "https://a.example"', "cors_origins = [1]", 'body_timeout_s = "3"', "port = 1979-05-27",
     "runtime = []", 'data_dir = "a\\u0000b"'],
)  # fmt: skip
def test_a_file_says_what_it_means_in_the_right_type(text: str) -> None:
    Path("countenance.toml").write_text(text)
    with pytest.raises(SettingsError, match="cannot be") as refused:
        load({})
    assert str(refused.value.hint).startswith("it must be ")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_loopback_needs_no_tls(host: str) -> None:
    assert is_loopback(host)
    load({"COUNTENANCE_HOST": host}).settings.validate()


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.0.2.1", "example.org", "localhost.example.org", "127.1", "::ffff:192.0.2.1"],
)
def test_beyond_loopback_plain_http_must_be_asked_for(host: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no TLS") as refused:
        load({"COUNTENANCE_HOST": host}).settings.validate()
    assert "--insecure-http" in str(refused.value.hint)
    load({"COUNTENANCE_HOST": host}, {"insecure_http": True}).settings.validate()
    cert, key = key_pair(tmp_path)
    load({"COUNTENANCE_HOST": host}, {"tls_cert": cert, "tls_key": key}).settings.validate()


def key_pair(folder: Path, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    sealed = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    folder.mkdir(exist_ok=True)
    (folder / "cert.pem").write_bytes(cert.public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, kind, sealed))
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_and_a_key_must_belong_together_and_need_no_passphrase(tmp_path: Path) -> None:
    cert, key = key_pair(tmp_path / "one")
    _other, other_key = key_pair(tmp_path / "two")
    _sealed, sealed_key = key_pair(tmp_path / "three", b"passphrase")
    load({}, {"tls_cert": cert, "tls_key": key}).settings.validate()
    for wrong in (other_key, sealed_key, cert, tmp_path):
        with pytest.raises(SettingsError, match="cannot be used together") as refused:
            load({}, {"tls_cert": cert, "tls_key": wrong}).settings.validate()
        assert "without a passphrase" in str(refused.value.hint)


def test_an_address_is_written_without_brackets() -> None:
    with pytest.raises(SettingsError, match="brackets"):
        load({"COUNTENANCE_HOST": "[::1]"}, {"insecure_http": True}).settings.validate()


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"TLS_CERT": "pem"}, "one without the other"),
        ({"TLS_KEY": "pem"}, "one without the other"),
        ({"TLS_CERT": "missing", "TLS_KEY": "pem"}, "tls_cert missing cannot be read"),
        ({"REGION": "eu west"}, "cannot be part of an ARN"),
        ({"REGION": "eu:west"}, "cannot be part of an ARN"),
        ({"REGION": "eu-west-2\n"}, "cannot be part of an ARN"),
        ({"CORS_ORIGINS": "https://a.example/"}, "cors_origins"),
        ({"CORS_ORIGINS": "a.example"}, "cors_origins"),
        ({"S3_ACCESS_KEY": "a"}, "without s3_endpoint"),
        ({"S3_SECRET_KEY": "a"}, "without s3_endpoint"),
        ({"S3_ENDPOINT": "http://s3.example"}, "without its keys"),
        ({"S3_ENDPOINT": "http://s3.example", "S3_ACCESS_KEY": "a"}, "without its keys"),
        ({"S3_ENDPOINT": "http://u:p@s3.example", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}, "plain URL"),
        ({"S3_ENDPOINT": "s3.example:9000", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}, "plain URL"),
        ({"S3_ENDPOINT": "ftp://s3.example", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}, "plain URL"),
        ({"S3_ENDPOINT": "http://s3.example:x", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}, "plain URL"),
        ({"S3_ENDPOINT": "http://s3.example/x", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}, "plain URL"),
        ({"S3_ENDPOINT": "http://s3.example", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b",
          "S3_SECRET_KEY_FILE": "pem"}, "both given"),
        ({"S3_ENDPOINT": "http://s3.example", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY_FILE": "missing"},
         "cannot be read"),
        ({"S3_ENDPOINT": "http://s3.example", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY_FILE": "empty"},
         "is empty"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], problem: str) -> None:
    Path("pem").write_text("-")
    Path("empty").touch()
    settings = load({f"COUNTENANCE_{name}": value for name, value in environ.items()}).settings
    with pytest.raises(SettingsError, match=problem):
        settings.validate()


def test_the_s3_secret_is_read_from_its_file_and_shown_nowhere() -> None:
    Path("secret").write_text("hush-hush\n")
    keys = {"COUNTENANCE_S3_ENDPOINT": "https://s3.example", "COUNTENANCE_S3_ACCESS_KEY": "AKIA"}
    settings = load(keys | {"COUNTENANCE_S3_SECRET_KEY_FILE": "secret"}).settings
    settings.validate()
    assert settings.s3_secret() == "hush-hush"
    settings = load(keys | {"COUNTENANCE_S3_SECRET_KEY": "hush-hush"}).settings
    settings.validate()
    assert settings.s3_secret() == "hush-hush"
    assert "hush" not in repr(settings) + str(settings)
    Path("countenance.toml").write_text("s3_secret_key = 12345678\n")
    with pytest.raises(SettingsError) as refused:
        load({})
    assert "12345678" not in str(refused.value) + str(refused.value.hint)


def test_every_setting_is_described() -> None:
    described = describe()
    assert [each.name for each in described] == [each.name for each in dataclasses.fields(Settings)]
    assert all(each.doc.endswith(".") and len(each.doc) > 20 for each in described)
    assert [each.name for each in described if each.secret] == ["database", "s3_secret_key"]
