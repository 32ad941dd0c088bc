"""The settings themselves, as fields with their bounds and their documentation, and what contradicts what.

Does not know where values come from (`loading`). `docs/reference/settings.md` is generated from the fields below.
"""

# ruff: noqa: RUF009 -- `setting` returns a dataclasses.field, as the rule wants; it cannot see through the call

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from countenance.config.kinds import (
    NAMES,
    PATH,
    SWITCH,
    TEXT,
    SettingsError,
    choice,
    hours,
    or_auto,
    seconds,
    setting,
    whole,
)

MIB: Final = 1024 * 1024
ATTRIBUTES: Final = (
    "age_range",
    "gender",
    "emotions",
    "smile",
    "eyes_open",
    "mouth_open",
    "eye_direction",
    "landmarks",
)
"""Everything that can be estimated: `recognition.attributes.NAMES`, which this package does not import."""
MOST_PARTS: Final = 256
"""`gallery.share.MOST_PARTS`, which this package does not import."""
MAX_EXPORT_BYTES: Final = 45 * MIB
"""The largest image whose base64 (4/3 of its length) fits an answer of the admin socket, which takes 64 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective settings. Build it with `load`; call `validate` before acting on it."""

    data_dir: Path = setting(
        Path("data"), PATH, "Folder that holds everything the server keeps. Exactly one process owns it."
    )
    database: str | None = setting(
        None,
        TEXT,
        "PostgreSQL database (16 or newer) that several nodes share, as `postgresql://user@host/name`, with whatever "
        "libpq takes behind it: `?passfile=/run/secrets/pgpass&sslmode=verify-full`. Without one, the embedded SQLite "
        "file in the data folder. docs/operations/postgresql.md.",
        secret=True,
    )
    search_shard: str | None = setting(
        None,
        TEXT,
        "Which part of every collection this node indexes, as N/OF: 1/2 is the first of two. It asks other nodes of "
        "the same `database` for the rest of each search. Without it, everything. docs/operations/sharding.md.",
    )
    node_url: str | None = setting(
        None,
        TEXT,
        "How other nodes of the same `database` reach this one: scheme, host and port of its own listener, such as "
        "https://10.0.0.5:8080. Without it, what `host` and `port` say, where that is one address.",
    )
    node_ca_file: Path | None = setting(
        None, PATH, "PEM file with the authorities that vouch for other nodes' certificates; the system's by default."
    )
    master_key_file: Path | None = setting(
        None,
        PATH,
        "File with the 32 bytes of the master key; `DIR/master.key` by default. Nodes that share a database share it.",
    )
    host: str = setting("127.0.0.1", TEXT, "Address to listen on.")
    port: int = setting(8080, whole(0, 65535), "TCP port to listen on; 0 takes any free one.")
    region: str = setting(
        "eu-west-2",
        TEXT,
        "Region written into ARNs and into `DIR/config`. Requests signed for any are accepted.",
    )
    tls_cert: Path | None = setting(None, PATH, "PEM file with the server's certificate chain.")
    tls_key: Path | None = setting(None, PATH, "PEM file with the certificate's private key.")
    insecure_http: bool = setting(
        False,
        SWITCH,
        "Allow plain HTTP on an address that other machines can reach. Photographs then cross the network "
        "readable; meant for a reverse proxy that ends TLS.",
    )
    cors_origins: tuple[str, ...] = setting(
        (), NAMES, "Origins whose pages may call the server from a browser, or `*`. None by default."
    )
    strict_formats: bool = setting(
        False,
        SWITCH,
        "Accept JPEG and PNG only, as Amazon Rekognition does; otherwise WebP, AVIF and HEIC too.",
    )
    runtime: str = setting(
        "auto",
        choice("auto", "onnxruntime", "openvino", "cuda"),
        "Inference runtime; auto picks what this CPU runs fastest. cuda is an NVIDIA GPU: it wants another package "
        "than the one that is installed, and without a GPU the server does not start. See docs/operations/gpu.md.",
    )
    cuda_device: int = setting(0, whole(0, 1023), "Which GPU `runtime = cuda` takes, as CUDA counts them.")
    cuda_memory_bytes: int = setting(
        2048 * MIB,
        whole(256 * MIB, 1024 * 1024 * MIB),
        "The most GPU memory that each of the two networks may hold for its work; what CUDA itself takes, some hundred "
        "MB, comes on top.",
    )
    model_pack: str | None = setting(
        None,
        or_auto(TEXT),
        "Model pack that finds faces and makes features; auto is the one that `countenance models use` chose, at first "
        "yunet-sface. A collection works with the pack that made it: docs/guides/model-packs.md.",
    )
    inference_workers: int | None = setting(
        None, or_auto(whole(1, 1024)), "Inferences that run at once; auto follows the number of cores."
    )
    inference_threads: int | None = setting(
        None, or_auto(whole(1, 1024)), "Threads inside one inference; auto follows the number of cores."
    )
    inference_queue: int = setting(
        64, whole(0, 100_000), "Calls that may wait for inference; one more is answered ThrottlingException."
    )
    flip: bool | None = setting(
        None,
        or_auto(SWITCH),
        "Average the features of each face with those of its mirror image: more accurate, and twice the "
        "time for features. auto is the model pack's own default. Features made with and without it do not "
        "compare, so changing it changes the model version.",
    )
    attributes: tuple[str, ...] = setting(
        ATTRIBUTES,
        NAMES,
        "What may be estimated of a face beyond where it is, of "
        + ", ".join(ATTRIBUTES)
        + ". What is not named is left out of every answer, whoever asks; an empty list switches everything off "
        "(`COUNTENANCE_ATTRIBUTES=`). `landmarks` are the 25 of ALL beyond the five of DEFAULT.",
    )
    max_body_bytes: int = setting(
        16 * MIB,
        whole(64 * 1024, 1024 * MIB),
        "Largest request body. The default holds CompareFaces with two images of 5 MiB in base64 (14 MB).",
    )
    max_image_pixels: int = setting(
        64_000_000,
        whole(6400, 1_000_000_000),
        "Largest image by width times height, checked before decoding. Decoding takes 3 bytes a pixel.",
    )
    body_timeout_s: float = setting(30.0, seconds(0.1, 3600), "Time a client has to send a request's body.")
    header_timeout_s: float = setting(
        10.0,
        seconds(0.1, 3600),
        "Time a client has to send a request's headers: from connecting, later ones from their first byte.",
    )
    max_connections: int = setting(
        1024, whole(1, 1_000_000), "Connections open at once, of all `workers` together; one more is answered 503."
    )
    workers: int = setting(
        1,
        whole(1, 256),
        "Processes that answer calls, over one data folder and one port. Each has its own models and indexes in memory "
        "and its share of the cores: docs/operations/workers.md.",
    )
    worker_threads: int = setting(
        16,
        whole(1, 1024),
        "Calls worked on at once, those that wait for inference or S3 included; of each of the `workers`.",
    )
    shutdown_grace_s: float = setting(
        30.0, seconds(0, 3600), "Time that calls in flight have to finish when the server is told to stop."
    )
    s3_endpoint: str | None = setting(
        None,
        TEXT,
        "URL of an S3-compatible endpoint. Without one, buckets are the folders under `DIR/buckets/`.",
    )
    s3_region: str = setting("us-east-1", TEXT, "Region that requests to the S3 endpoint are signed for.")
    s3_access_key: str | None = setting(None, TEXT, "Access key id for the S3 endpoint.")
    s3_secret_key: str | None = setting(
        None,
        TEXT,
        "Secret access key for the S3 endpoint. `s3_secret_key_file` keeps it out of the environment.",
        secret=True,
    )
    s3_secret_key_file: Path | None = setting(None, PATH, "File whose only content is the S3 secret access key.")
    s3_addressing: str = setting(
        "auto", choice("auto", "path", "virtual"), "Where the bucket's name goes in the S3 URL."
    )
    s3_timeout_s: float = setting(
        10.0, seconds(0.1, 600), "Time to connect to S3, and time without a byte from it, before giving up."
    )
    max_s3_object_bytes: int = setting(
        15 * MIB,
        whole(1024, 1024 * MIB),
        "Largest image taken from a bucket. Amazon Rekognition's limit is 15 MB.",
    )
    ledger_origin: str | None = setting(
        None,
        TEXT,
        "Name of the log, for good, such as `faces.example.org/log`; a C2SP origin without spaces or `+`. Without it "
        "one is made up on first use.",
    )
    ledger_witnesses: Path | None = setting(
        None,
        PATH,
        "File with the log's witnesses: lines `witness NAME KEY URL` of a C2SP tlog-policy. Each checkpoint is brought "
        "to them; its quorum is what `/readyz` warns about the lack of.",
    )
    ledger_quorum_hours: float = setting(
        24.0, hours(0.01, 8760), "Hours without a quorum of the witnesses after which `/readyz` warns."
    )
    ledger_floor_years: int = setting(
        10,
        whole(1, 100),
        "Years for which the accounting sections of entries are kept whatever is asked.",
    )
    ledger_timestamp_url: str | None = setting(
        None, TEXT, "RFC 3161 timestamp authority that stamps checkpoints. It sees a hash and nothing else."
    )
    ledger_timestamp_roots: Path | None = setting(
        None, PATH, "Certificates (PEM) that vouch for the timestamp authority; needed with its address."
    )
    ledger_timestamp_every_s: float = setting(
        3600.0, seconds(60, 604_800), "Time between two timestamps, when there is anything new to stamp."
    )
    ledger_mirrors: tuple[str, ...] = setting(
        (),
        NAMES,
        "Mirrors of the log, as http(s) addresses or folders: at each start the log is compared with the checkpoints "
        "that they keep, and a shorter or another log is refused.",
    )
    quotas: tuple[str, ...] = setting(
        (),
        NAMES,
        "How many calls a second an account may make, operation by operation; others are ThrottlingException, which "
        "SDKs try again. `aws`: what Amazon gives in its large regions. OPERATION=RATE and ACCOUNT:OPERATION=RATE, "
        "with * for every operation and `unlimited` for a rate, go before it: "
        "aws,123456789012:*=200,DetectFaces=unlimited. In the place of an operation and a rate also how many there may "
        "be, beyond which CreateCollection, IndexFaces and CreateUser are ServiceQuotaExceededException: collections "
        "(of an account), faces and users (of a collection); `aws` gives 20 million faces and 10 million users.",
    )
    keep_crops: bool = setting(
        False,
        SWITCH,
        "Keep, encrypted under the collection's key, the aligned crop of 112 x 112 pixels of every face that is "
        "enrolled (some 17 KB each), so that `countenance collection migrate` can carry a collection over to another "
        "model. They are pictures of people: they go with their face, and `countenance collection forget-crops` erases "
        "them earlier.",
    )
    index_quantised_from: int | None = setting(
        None,
        or_auto(whole(1, 1_000_000_000)),
        "Faces from which on a collection's searches scan one byte per feature instead of two, and then settle the few "
        "that matter with the features themselves: twice as fast, the same answers, half as much memory again. auto is "
        "what was measured: 500,000 faces of 128 features, 125,000 of 512.",
    )
    index_files_from: int = setting(
        200_000,
        whole(0, 1_000_000_000),
        "Faces from which on the index of a quantised collection is kept in files under `DIR/index`, sealed under the "
        "collection's key, so that a start opens it instead of reading every face from the database; 0 keeps none. The "
        "files are copies: they may be removed while no server runs, and are in no backup.",
    )
    samples: str = setting(
        "off",
        choice("off", "matches"),
        "Whether images are kept, encrypted. `matches`: those of SearchFacesByImage that led to a match, as Article "
        "12(3)(c) of Regulation (EU) 2024/1689 asks of remote biometric identification; a search whose image cannot be "
        "kept is not answered.",
    )
    sample_retention_days: int = setting(
        184,
        whole(1, 36_500),
        "Days after which a kept image is erased, but for accounts under a legal hold. The default is the longest that "
        "six calendar months can be: Articles 19(1) and 26(6) of Regulation (EU) 2024/1689 ask for six months at "
        "least, unless other law says otherwise.",
    )
    sample_max_bytes: int = setting(
        64 * 1024 * MIB,
        whole(MIB, 1 << 50),
        "The most that all kept images together may take. When it is reached, searches that match are answered "
        "InternalServerError until there is room.",
    )
    lists: tuple[str, ...] = setting(
        (),
        NAMES,
        "Sanctions lists that `countenance list update` and the server fetch, each as FORM=URL: uk-csv=https://... . A "
        "list of several files has an address for each, with | between them (ofac-csv: primary, aliases, addresses). "
        "FORM:NAME=URL gives the list another name. The server fetches them once a day.",
    )
    list_max_age_days: int = setting(
        7, whole(1, 365), "Days after which a list has to be looked at again; then warnings say so."
    )
    list_grace_days: int = setting(
        3,
        whole(0, 365),
        "Days after that before accounts that were screened with an old list are cleared no more, until it is updated.",
    )
    screening_interval_days: int = setting(
        30,
        whole(1, 3_650),
        "Days that a screening counts. After half of them the server screens again by itself.",
    )
    rules: Path | None = setting(
        None,
        PATH,
        "More red flags and rules of nexus, as TOML in the form of the program's own; one of the same id takes its "
        "place. See docs/standing/rules.md.",
    )
    places: Path | None = setting(
        None,
        PATH,
        "Which country which addresses of the internet are in: lines NETWORK,COUNTRY, or the statistics of a regional "
        "registry. With it, each call's entry has the country it came from, and calls from countries that an account "
        "does not say it is in lead to a screening. Addresses themselves are kept nowhere.",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        NAMES,
        "Networks of reverse proxies, such as 127.0.0.1/32, whose X-Forwarded-For is believed.",
    )
    owner_party: Path | None = setting(
        None,
        PATH,
        "JSON file that says whom the owner's account belongs to, as for `countenance account declare --party`. It is "
        "declared at the first start that has it; changes are declared with that command. Without it the server runs, "
        "and every entry of the owner's account says that nobody is declared.",
    )
    metrics_public: bool = setting(
        False, SWITCH, "Answer `GET /metrics` to other machines; otherwise only to this one."
    )
    log_level: str = setting(
        "info", choice("debug", "info", "warning", "error"), "Least severity that is written to stderr."
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
        for network in self.trusted_proxies:
            if not is_network(network):
                yield f"trusted_proxies holds {network!r}", "an address or a network: 127.0.0.1 or 10.0.0.0/8"
        for name in self.attributes:
            if name not in ATTRIBUTES:
                yield f"attributes holds {name!r}", "of " + ", ".join(ATTRIBUTES)
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/?#@\s]+", origin):
                yield f"cors_origins holds {origin!r}", "an origin is scheme://host:port, without a path"
        if self.samples != "off" and self.max_s3_object_bytes > MAX_EXPORT_BYTES:
            yield (
                f"samples are kept, and max_s3_object_bytes is above {MAX_EXPORT_BYTES}",
                "an image of that size could not be exported: set it lower, or samples to off",
            )
        if self.database is not None and not re.match(r"postgres(ql)?://.", self.database):
            yield "database is no address of PostgreSQL", "postgresql://user@host/name; without it, SQLite is used"
        yield from self._node_problems()
        yield from self._s3_problems()

    def _node_problems(self) -> Iterator[tuple[str, str]]:
        if self.search_shard is not None:
            found = re.fullmatch(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})", self.search_shard)
            if found is None or not int(found[1]) <= int(found[2]) <= MOST_PARTS:
                yield f"search_shard {self.search_shard[:20]!r} is no part", f"1/2, 2/2; at most {MOST_PARTS} parts"
            if self.database is None:
                yield "search_shard is given without database", "parts are for nodes that share a PostgreSQL"
            if self.workers > 1:
                yield "search_shard is given with workers", "other nodes ask a node of one process: start more nodes"
            if self.node_url is None and _is_any(self.host):
                yield f"host {self.host} is no address that other nodes could call", "set node_url"
        if self.node_url is not None:
            if not _is_plain_url(self.node_url):
                yield "node_url is not a plain URL", "scheme, host and port only: https://10.0.0.5:8080"
            elif self.database is None:
                yield "node_url is given without database", "it is for nodes that share a PostgreSQL"
            elif not self.insecure_http and self.node_url.startswith("http:") and not _is_loopback_url(self.node_url):
                yield (
                    "node_url is plain HTTP, and other machines use it",
                    "https, or --insecure-http where the network between the nodes is encrypted",
                )
        if self.node_ca_file is not None:
            try:
                ssl.create_default_context(cafile=self.node_ca_file)
            except (ssl.SSLError, OSError) as error:
                yield f"node_ca_file {self.node_ca_file} cannot be used: {type(error).__name__}", "certificates in PEM"

    def _s3_problems(self) -> Iterator[tuple[str, str]]:
        if self.s3_secret_key is not None and self.s3_secret_key_file is not None:
            yield "s3_secret_key and s3_secret_key_file are both given", "keep one"
        has_secret = self.s3_secret_key is not None or self.s3_secret_key_file is not None
        if self.s3_endpoint is None:
            if self.s3_access_key is not None or has_secret:
                yield "S3 keys are given without s3_endpoint", "set s3_endpoint as well"
            return
        if not _is_plain_url(self.s3_endpoint):
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


def _is_plain_url(text: str) -> bool:
    """Whether it is scheme, host and perhaps port of HTTP, and nothing else."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    return usable and not (url.path.strip("/") or url.query or url.fragment or "@" in url.netloc)


def _is_loopback_url(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _is_any(host: str) -> bool:
    """Whether it is every address of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_network(text: str) -> bool:
    """Whether it is an address, or a network in CIDR notation."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


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
