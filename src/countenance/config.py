"""Every setting of the server: its name, meaning, bounds, default, and where its value came from.

Knows the four places a value can come from, in rising order: built-in default, `countenance.toml`,
environment `COUNTENANCE_*`, command line. Anything it does not recognise is an error: a misspelt limit
that is silently ignored is a limit that is not there. Nothing below `assembly` imports this module;
objects get values as arguments. `docs/reference/settings.md` is generated from the fields below.
"""

# ruff: noqa: RUF009 -- `_setting` returns a dataclasses.field, as the rule wants; it cannot see through the call

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import ssl
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from countenance.errors import Error

ENVIRONMENT_PREFIX: Final = "COUNTENANCE_"
SETTINGS_FILE: Final = "countenance.toml"
SETTINGS_FILE_VARIABLE: Final = "COUNTENANCE_CONFIG"
OTHER_VARIABLES: Final = frozenset({SETTINGS_FILE_VARIABLE, "COUNTENANCE_TEST_DATA"})
"""Variables with our prefix that are not settings: the settings file's path, and where the test suite looks
for photographs."""

MIB: Final = 1024 * 1024
MAX_EXPORT_BYTES: Final = 45 * MIB
"""The largest image whose base64 (4/3 of its length) fits an answer of the admin socket, which takes 64 MiB."""


class SettingsError(Error):
    """A setting is unknown, has a value it cannot have, or contradicts another one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one sort of value is read. `read` raises ValueError with what was expected."""

    expects: str
    read: Callable[[object, bool], object]
    """Takes the value and whether it came as text (environment) or typed (TOML, command line)."""


def _text(raw: object, _as_text: bool) -> str:
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise ValueError
    return raw


def _path(raw: object, _as_text: bool) -> Path:
    if isinstance(raw, Path):
        return raw
    return Path(_text(raw, True)).expanduser()


def _switch(raw: object, as_text: bool) -> bool:
    if isinstance(raw, bool):
        return raw
    if as_text and isinstance(raw, str):
        if raw.lower() in ("true", "yes", "on", "1"):
            return True
        if raw.lower() in ("false", "no", "off", "0"):
            return False
    raise ValueError


def _names(raw: object, as_text: bool) -> tuple[str, ...]:
    if as_text and isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if isinstance(raw, list | tuple) and all(isinstance(part, str) and part for part in raw):
        return tuple(raw)
    raise ValueError


def _whole(low: int, high: int) -> Kind:
    def read(raw: object, as_text: bool) -> int:
        if as_text and isinstance(raw, str) and re.fullmatch(r"[0-9]{1,18}", raw):
            raw = int(raw)
        if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
            raise ValueError
        return raw

    return Kind(f"a whole number from {low} to {high}", read)


def _seconds(low: float, high: float) -> Kind:
    def read(raw: object, as_text: bool) -> float:
        value = float(raw) if as_text and isinstance(raw, str) else raw
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        if not math.isfinite(value) or not low <= value <= high:
            raise ValueError
        return float(value)

    return Kind(f"seconds, from {low:g} to {high:g}", read)


def _choice(*names: str) -> Kind:
    def read(raw: object, _as_text: bool) -> str:
        if raw not in names:
            raise ValueError
        return str(raw)

    return Kind("one of " + ", ".join(names), read)


def _or_auto(kind: Kind) -> Kind:
    def read(raw: object, as_text: bool) -> object:
        return None if raw == "auto" else kind.read(raw, as_text)

    return Kind(f"{kind.expects}, or auto", read)


TEXT: Final = Kind("text", _text)
PATH: Final = Kind("a path", _path)
SWITCH: Final = Kind("true or false", _switch)
NAMES: Final = Kind("a list of texts (separated by commas in the environment)", _names)


def _setting(default: Any, kind: Kind, doc: str, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"kind": kind, "doc": doc, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective settings. Build it with `load`; call `validate` before acting on it."""

    data_dir: Path = _setting(
        Path("data"), PATH, "Folder that holds everything the server keeps. Exactly one process owns it."
    )
    host: str = _setting("127.0.0.1", TEXT, "Address to listen on.")
    port: int = _setting(8080, _whole(0, 65535), "TCP port to listen on; 0 takes any free one.")
    region: str = _setting(
        "eu-west-2",
        TEXT,
        "Region written into ARNs and into `DIR/config`. Requests signed for any are accepted.",
    )
    tls_cert: Path | None = _setting(None, PATH, "PEM file with the server's certificate chain.")
    tls_key: Path | None = _setting(None, PATH, "PEM file with the certificate's private key.")
    insecure_http: bool = _setting(
        False,
        SWITCH,
        "Allow plain HTTP on an address that other machines can reach. Photographs then cross the network "
        "readable; meant for a reverse proxy that ends TLS.",
    )
    cors_origins: tuple[str, ...] = _setting(
        (), NAMES, "Origins whose pages may call the server from a browser, or `*`. None by default."
    )
    strict_formats: bool = _setting(
        False,
        SWITCH,
        "Accept JPEG and PNG only, as Amazon Rekognition does; otherwise WebP, AVIF and HEIC too.",
    )
    runtime: str = _setting(
        "auto",
        _choice("auto", "onnxruntime", "openvino"),
        "Inference runtime; auto picks what this CPU runs fastest.",
    )
    inference_workers: int | None = _setting(
        None, _or_auto(_whole(1, 1024)), "Inferences that run at once; auto follows the number of cores."
    )
    inference_threads: int | None = _setting(
        None, _or_auto(_whole(1, 1024)), "Threads inside one inference; auto follows the number of cores."
    )
    inference_queue: int = _setting(
        64, _whole(0, 100_000), "Calls that may wait for inference; one more is answered ThrottlingException."
    )
    flip: bool | None = _setting(
        None,
        _or_auto(SWITCH),
        "Average the features of each face with those of its mirror image: a little more accurate, about "
        "twice the time. auto is the model pack's own default. Features made with and without it do not "
        "compare, so changing it changes the model version.",
    )
    max_body_bytes: int = _setting(
        16 * MIB,
        _whole(64 * 1024, 1024 * MIB),
        "Largest request body. The default holds CompareFaces with two images of 5 MiB in base64 (14 MB).",
    )
    max_image_pixels: int = _setting(
        64_000_000,
        _whole(6400, 1_000_000_000),
        "Largest image by width times height, checked before decoding. Decoding takes 3 bytes a pixel.",
    )
    body_timeout_s: float = _setting(30.0, _seconds(0.1, 3600), "Time a client has to send a request's body.")
    header_timeout_s: float = _setting(
        10.0,
        _seconds(0.1, 3600),
        "Time a client has to send a request's headers: from connecting, later ones from their first byte.",
    )
    max_connections: int = _setting(1024, _whole(1, 1_000_000), "Connections open at once; one more is answered 503.")
    worker_threads: int = _setting(
        16, _whole(1, 1024), "Calls worked on at once, those that wait for inference or S3 included."
    )
    shutdown_grace_s: float = _setting(
        30.0, _seconds(0, 3600), "Time that calls in flight have to finish when the server is told to stop."
    )
    s3_endpoint: str | None = _setting(
        None,
        TEXT,
        "URL of an S3-compatible endpoint. Without one, buckets are the folders under `DIR/buckets/`.",
    )
    s3_region: str = _setting("us-east-1", TEXT, "Region that requests to the S3 endpoint are signed for.")
    s3_access_key: str | None = _setting(None, TEXT, "Access key id for the S3 endpoint.")
    s3_secret_key: str | None = _setting(
        None,
        TEXT,
        "Secret access key for the S3 endpoint. `s3_secret_key_file` keeps it out of the environment.",
        secret=True,
    )
    s3_secret_key_file: Path | None = _setting(None, PATH, "File whose only content is the S3 secret access key.")
    s3_addressing: str = _setting(
        "auto", _choice("auto", "path", "virtual"), "Where the bucket's name goes in the S3 URL."
    )
    s3_timeout_s: float = _setting(
        10.0, _seconds(0.1, 600), "Time to connect to S3, and time without a byte from it, before giving up."
    )
    max_s3_object_bytes: int = _setting(
        15 * MIB,
        _whole(1024, 1024 * MIB),
        "Largest image taken from a bucket. Amazon Rekognition's limit is 15 MB.",
    )
    ledger_origin: str | None = _setting(
        None,
        TEXT,
        "Name of the log, for good, such as `faces.example.org/log`; a C2SP origin without spaces or `+`. Without it "
        "one is made up on first use.",
    )
    ledger_witnesses: Path | None = _setting(
        None,
        PATH,
        "File with the log's witnesses: lines `witness NAME KEY URL` of a C2SP tlog-policy. Each checkpoint is brought "
        "to them; its quorum is what `/readyz` warns about the lack of.",
    )
    ledger_quorum_hours: float = _setting(
        24.0, _seconds(0.01, 8760), "Hours without a quorum of the witnesses after which `/readyz` warns."
    )
    ledger_floor_years: int = _setting(
        10,
        _whole(1, 100),
        "Years for which the accounting sections of entries are kept whatever is asked.",
    )
    ledger_timestamp_url: str | None = _setting(
        None, TEXT, "RFC 3161 timestamp authority that stamps checkpoints. It sees a hash and nothing else."
    )
    ledger_timestamp_roots: Path | None = _setting(
        None, PATH, "Certificates (PEM) that vouch for the timestamp authority; needed with its address."
    )
    ledger_timestamp_every_s: float = _setting(
        3600.0, _seconds(60, 604_800), "Time between two timestamps, when there is anything new to stamp."
    )
    ledger_mirrors: tuple[str, ...] = _setting(
        (),
        NAMES,
        "Mirrors of the log, as http(s) addresses or folders: at each start the log is compared with the checkpoints "
        "that they keep, and a shorter or another log is refused.",
    )
    samples: str = _setting(
        "off",
        _choice("off", "matches"),
        "Whether images are kept, encrypted. `matches`: those of SearchFacesByImage that led to a match, as Article "
        "12(3)(c) of Regulation (EU) 2024/1689 asks of remote biometric identification; a search whose image cannot be "
        "kept is not answered.",
    )
    sample_retention_days: int = _setting(
        184,
        _whole(1, 36_500),
        "Days after which a kept image is erased, but for accounts under a legal hold. The default is the longest that "
        "six calendar months can be: Articles 19(1) and 26(6) of Regulation (EU) 2024/1689 ask for six months at "
        "least, unless other law says otherwise.",
    )
    sample_max_bytes: int = _setting(
        64 * 1024 * MIB,
        _whole(MIB, 1 << 50),
        "The most that all kept images together may take. When it is reached, searches that match are answered "
        "InternalServerError until there is room.",
    )
    owner_party: Path | None = _setting(
        None,
        PATH,
        "JSON file that says whom the owner's account belongs to, as for `countenance account declare --party`. It is "
        "declared at the first start that has it; changes are declared with that command. Without it the server runs, "
        "and every entry of the owner's account says that nobody is declared.",
    )
    metrics_public: bool = _setting(
        False, SWITCH, "Answer `GET /metrics` to other machines; otherwise only to this one."
    )
    log_level: str = _setting(
        "info", _choice("debug", "info", "warning", "error"), "Least severity that is written to stderr."
    )

    def validate(self) -> None:
        """Refuse what cannot be meant, before anything is opened.

        Raises:
            SettingsError: settings contradict each other, or name files that are not there.
        """
        for problem, hint in self._problems():
            raise SettingsError(problem, hint=hint)

    def public(self) -> dict[str, str]:
        """Every setting but the secret ones as text, for the hash of them that the log publishes at a start."""
        return {each.name: str(getattr(self, each.name)) for each in fields(self) if not each.metadata["secret"]}

    def s3_secret(self) -> str | None:
        """The S3 secret access key, from wherever it is kept. Never print it."""
        if self.s3_secret_key_file is None:
            return self.s3_secret_key
        try:
            secret = self.s3_secret_key_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"s3_secret_key_file {self.s3_secret_key_file} cannot be read", hint=type(error).__name__
            ) from None
        if not secret:
            raise SettingsError(f"s3_secret_key_file {self.s3_secret_key_file} is empty")
        return secret

    def _problems(self) -> Iterator[tuple[str, str]]:
        if (self.tls_cert is None) != (self.tls_key is None):
            yield "tls_cert and tls_key are given one without the other", "give both, or neither"
        for name in ("tls_cert", "tls_key"):
            path = getattr(self, name)
            if path is not None and not os.access(path, os.R_OK):
                yield f"{name} {path} cannot be read", "check the path and its permissions"
        if self.tls_cert is not None and self.tls_key is not None:
            yield from _certificate_problems(self.tls_cert, self.tls_key)
        if "[" in self.host:
            yield f"host {self.host} has brackets", "an IPv6 address is written without them: ::1"
        if self.tls_cert is None and not self.insecure_http and not is_loopback(self.host):
            yield (
                f"host {self.host} can be reached from other machines and there is no TLS",
                "give --tls-cert and --tls-key, or --insecure-http when a proxy in front ends TLS",
            )
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.region):
            yield f"region {self.region!r} cannot be part of an ARN", "letters, digits, hyphens: eu-west-2"
        if (self.ledger_timestamp_url is None) != (self.ledger_timestamp_roots is None):
            yield "ledger_timestamp_url and ledger_timestamp_roots belong together", "set both or neither"
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/?#@\s]+", origin):
                yield f"cors_origins holds {origin!r}", "an origin is scheme://host:port, without a path"
        if self.samples != "off" and self.max_s3_object_bytes > MAX_EXPORT_BYTES:
            yield (
                f"samples are kept, and max_s3_object_bytes is above {MAX_EXPORT_BYTES}",
                "an image of that size could not be exported: set it lower, or samples to off",
            )
        yield from self._s3_problems()

    def _s3_problems(self) -> Iterator[tuple[str, str]]:
        if self.s3_secret_key is not None and self.s3_secret_key_file is not None:
            yield "s3_secret_key and s3_secret_key_file are both given", "keep one"
        has_secret = self.s3_secret_key is not None or self.s3_secret_key_file is not None
        if self.s3_endpoint is None:
            if self.s3_access_key is not None or has_secret:
                yield "S3 keys are given without s3_endpoint", "set s3_endpoint as well"
            return
        try:
            url = urlsplit(self.s3_endpoint)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            usable = False
        if not usable or url.path.strip("/") or url.query or url.fragment or "@" in url.netloc:
            yield "s3_endpoint is not a plain URL", "scheme, host and port only: https://s3.example.org:9000"
        if self.s3_access_key is None or not has_secret:
            yield "s3_endpoint is given without its keys", "set s3_access_key and s3_secret_key_file"
        self.s3_secret()


def _certificate_problems(cert: Path, key: Path) -> Iterator[tuple[str, str]]:
    try:
        # An encrypted key would otherwise be asked for on the terminal, which a service does not have.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        yield (
            f"tls_cert {cert} and tls_key {key} cannot be used together: {reason}",
            "both in PEM, the key without a passphrase and made for the certificate",
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each of them by name the place its value came from."""

    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Description:
    """What documentation and `config show` say about one setting."""

    name: str
    variable: str
    expects: str
    default: object
    doc: str
    secret: bool


def describe() -> list[Description]:
    """Every setting, in the order of `Settings`."""
    return [
        Description(
            name=each.name,
            variable=ENVIRONMENT_PREFIX + each.name.upper(),
            expects=each.metadata["kind"].expects,
            default=None if each.default is MISSING else each.default,
            doc=each.metadata["doc"],
            secret=each.metadata["secret"],
        )
        for each in fields(Settings)
    ]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to `host`; of names only localhost is trusted."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def load(
    environ: Mapping[str, str], flags: Mapping[str, object] | None = None, toml_path: Path | None = None
) -> Loaded:
    """Read every place a setting can come from and keep, for each, the strongest value.

    Args:
        environ: the process environment.
        flags: values given on the command line, by setting name; None means not given.
        toml_path: the settings file; by default `$COUNTENANCE_CONFIG`, else `countenance.toml` in the
            working directory when there is one. Relative paths inside it are relative to its folder.

    Raises:
        SettingsError: an unknown key or variable, a value of the wrong kind, or an unreadable file.
    """
    values: dict[str, object] = {}
    origins = {each.name: "default" for each in fields(Settings)}

    def take(name: str, raw: object, origin: str, *, as_text: bool, base: Path | None = None) -> None:
        value = _read(name, raw, origin, as_text=as_text)
        if base is not None and isinstance(value, Path):
            value = base / value
        values[name], origins[name] = value, origin

    path = _settings_file(environ, toml_path)
    if path is not None:
        for key, raw in _read_toml(path).items():
            _require_known(key, key, str(path))
            take(key, raw, str(path), as_text=False, base=path.parent)
    for variable, raw in environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in OTHER_VARIABLES:
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            _require_known(name, variable, "the environment")
            take(name, raw, f"environment {variable}", as_text=True)
    for name, raw in (flags or {}).items():
        if raw is not None:
            _require_known(name, name, "the command line")
            take(name, raw, "command line", as_text=False)
    return Loaded(Settings(**values), origins)  # type: ignore[arg-type]


def _settings_file(environ: Mapping[str, str], toml_path: Path | None) -> Path | None:
    if toml_path is None and environ.get(SETTINGS_FILE_VARIABLE):
        toml_path = Path(environ[SETTINGS_FILE_VARIABLE])
    if toml_path is not None:
        return toml_path
    default = Path(SETTINGS_FILE)
    return default if default.exists() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None


def _require_known(name: str, written: str, place: str) -> None:
    known = [each.name for each in fields(Settings)]
    if name in known and (written == name or written == ENVIRONMENT_PREFIX + name.upper()):
        return
    near = difflib.get_close_matches(name.lower(), known, n=1)
    if near and written.startswith(ENVIRONMENT_PREFIX):
        near = [ENVIRONMENT_PREFIX + near[0].upper()]
    hint = f"did you mean {near[0]}?" if near else "`countenance config show` lists every setting"
    raise SettingsError(f"{written} in {place} is not a setting", hint=hint)


def _read(name: str, raw: object, origin: str, *, as_text: bool) -> object:
    (each,) = (each for each in fields(Settings) if each.name == name)
    if raw == "" and as_text and each.default is None:
        return None  # compose files write `VARIABLE=` for "not set"
    kind: Kind = each.metadata["kind"]
    try:
        return kind.read(raw, as_text)
    except (ValueError, TypeError):
        shown = "that value" if each.metadata["secret"] else repr(raw)[:80]
        raise SettingsError(f"{name} from {origin} cannot be {shown}", hint=f"it must be {kind.expects}") from None
