"""An RFC 3161 timestamp over a checkpoint holds by `openssl ts`, and does not when anything was tampered with.

Both sides are openssl: a throw-away authority here, and the verification in `timestamp`. The server's own client is
tested beside this (`test_timestamp_client`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from countenance_audit import checkpoint, merkle
from countenance_audit.checkpoint import Checkpoint
from countenance_audit.note import Signer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.conformance.outsiders import timestamp
from tests.conformance.outsiders.presence import absent

LOG = Signer("faces.example/log", b"l" * 32)
WITNESS = Signer("witness.example/w", b"w" * 32)
LIFETIME = timedelta(days=1)

CONFIG = """\
[tsa]
default_tsa = tsa_config
[tsa_config]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.32473.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""
"""1.3.6.1.4.1.32473 is the arc for examples in documentation (RFC 5612)."""


@dataclass(frozen=True)
class Authority:
    """A throw-away timestamp authority: its own root, one signing certificate."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root.pem"

    def reply(self, query_file: Path, reply_file: Path) -> None:
        done = timestamp.openssl(
            *("ts", "-reply", "-config", self.folder / "tsa.cnf", "-section", "tsa_config"),
            *("-queryfile", query_file, "-out", reply_file),
        )
        assert done.returncode == 0, done.stderr


def authority_in(folder: Path) -> Authority:
    root_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    root = certificate(root_key, "root", root_key, "root").add_extension(x509.BasicConstraints(True, 0), critical=True)
    signer = (
        certificate(key, "timestamps", root_key, "root")
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        # Critical and alone, as RFC 3161 section 2.3 asks.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    )
    for name, made in (("root", root), ("tsa", signer)):
        signed = made.sign(root_key, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "tsa.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder))
    return Authority(folder)


def certificate(
    key: rsa.RSAPrivateKey, name: str, issuer_key: rsa.RSAPrivateKey, issuer: str
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFETIME)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """Two that do not know each other."""
    if timestamp.is_missing():
        absent(f"openssl is missing: {timestamp.PACKAGES}")
    first, second = (authority_in(tmp_path_factory.mktemp("authority")) for _ in range(2))
    return first, second


@dataclass(frozen=True)
class Stamped:
    """A checkpoint, the query for it, and the reply."""

    checkpoint: Path
    query: Path
    reply: Path
    authority: Authority


@pytest.fixture
def stamped(authorities: tuple[Authority, Authority], tmp_path: Path) -> Stamped:
    made = Stamped(tmp_path / "checkpoint", tmp_path / "query.tsq", tmp_path / "reply.tsr", authorities[0])
    root = merkle.root_of([merkle.leaf_hash(bytes([number])) for number in range(5)])
    made.checkpoint.write_bytes(checkpoint.sign(Checkpoint(LOG.name, 5, root), LOG))
    timestamp.query(made.checkpoint, made.query)
    made.authority.reply(made.query, made.reply)
    return made


def test_a_timestamp_over_a_checkpoint_holds(stamped: Stamped) -> None:
    assert timestamp.verify(stamped.checkpoint, stamped.reply, stamped.authority.root)
    assert timestamp.verify_answer(stamped.query, stamped.reply, stamped.authority.root)
    assert checkpoint.open_checkpoint(stamped.checkpoint.read_bytes(), LOG.verifier).size == 5


def test_the_time_can_be_read(stamped: Stamped) -> None:
    assert abs(datetime.now(UTC) - timestamp.stamped_at(stamped.reply)) < LIFETIME


@pytest.mark.parametrize("part", ["size", "root", "signature", "cosignature"])
def test_a_tampered_checkpoint_is_refused(stamped: Stamped, part: str) -> None:
    note = stamped.checkpoint.read_bytes()
    root = note.split(b"\n")[2]
    tampered = {
        "size": note.replace(b"\n5\n", b"\n6\n"),
        "root": note.replace(root, root.swapcase()),
        "signature": note[:-3] + bytes([note[-3] ^ 1]) + note[-2:],
        "cosignature": note + checkpoint.cosign(note, WITNESS, 1_790_000_000).encode(),
    }[part]
    assert tampered != note
    stamped.checkpoint.write_bytes(tampered)
    assert not timestamp.verify(stamped.checkpoint, stamped.reply, stamped.authority.root)


def test_another_authority_is_refused(stamped: Stamped, authorities: tuple[Authority, Authority]) -> None:
    """The certificate within the reply vouches for nothing."""
    assert not timestamp.verify(stamped.checkpoint, stamped.reply, authorities[1].root)


def test_a_reply_to_another_query_is_refused(stamped: Stamped, tmp_path: Path) -> None:
    again = tmp_path / "again.tsq"
    timestamp.query(stamped.checkpoint, again)  # the same checkpoint, another nonce
    assert not timestamp.verify_answer(again, stamped.reply, stamped.authority.root)


def test_an_altered_reply_is_refused(stamped: Stamped) -> None:
    reply = stamped.reply.read_bytes()
    stamped.reply.write_bytes(reply[:-1] + bytes([reply[-1] ^ 1]))  # the last byte of the authority's signature
    assert not timestamp.verify(stamped.checkpoint, stamped.reply, stamped.authority.root)
